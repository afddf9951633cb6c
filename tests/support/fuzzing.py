"""Damaged files, drawn by Hypothesis: an attempt to read one may fail only with a clear error, soon
and in little room.

The same contents are drawn each time. `EPSAM_FUZZ=50 python -m pytest -k fuzz` draws fifty times as
many.
"""

import faulthandler
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

LONGEST_S = 10
MOST_BYTES = 2 << 30
TIMES = int(os.environ.get("EPSAM_FUZZ", "1"))

PIECES = [
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x80\0\0\0",
    b"\0",
    b"\n",
    b'"',
    b",,,",
    b"1e999",
    b"nan",
    b"-1",
    b"<!DOCTYPE x [",
    b"&a;",
    b"\xef\xbb\xbf",
    b"]]>",
    "\u202e".encode(),
]


@dataclass
class Outcome:
    """What became of the contents: how many were read, and the messages about the others."""

    read: int = 0
    messages: list[str] = field(default_factory=list)


def fuzz(
    contents: some.SearchStrategy[bytes], examples: int, attempt: Callable[[bytes], str]
) -> Outcome:
    """Give `attempt`, which returns the error's message or nothing, that many contents.

    It ends this process if one takes longer than LONGEST_S; more than MOST_BYTES beyond what is
    held now is refused by the system and becomes a MemoryError.
    """
    outcome = Outcome()

    @settings(
        max_examples=examples * TIMES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(contents)
    def run(content: bytes) -> None:
        faulthandler.dump_traceback_later(LONGEST_S, exit=True)
        try:
            message = attempt(content)
        finally:
            faulthandler.cancel_dump_traceback_later()
        assert "\n" not in message
        outcome.read += not message
        outcome.messages += [message] if message else []

    with little_room():
        run()
    print(
        f"fuzz: {outcome.read + len(outcome.messages)} contents, {outcome.read} read, "
        f"{len(outcome.messages)} refused"
    )
    return outcome


@contextmanager
def little_room() -> Iterator[None]:
    """Within the block this process can take no more than MOST_BYTES of address space beyond what
    it has.
    """
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as stream:
        held = int(stream.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MOST_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def damaged(good: bytes) -> some.SearchStrategy[bytes]:
    """A good file with one to four changes: cut short, bytes changed, pieces lost, doubled,
    overwritten or put in; now and then one changed byte alone, or something else altogether.
    """
    # Half of the places are near the start, where headers are.
    place = some.one_of(some.integers(0, 200), some.integers(0, len(good)))
    piece = some.one_of(some.sampled_from(PIECES), some.binary(min_size=1, max_size=8))
    change = some.one_of(
        some.builds(lambda at: lambda text: text[:at], place),
        some.builds(change_byte, place, some.integers(1, 255)),
        some.builds(
            lambda at, size: lambda text: text[:at] + text[at + size :], place, some.integers(1, 30)
        ),
        some.builds(
            lambda at, size, times: (
                lambda text: text[:at] + text[at : at + size] * times + text[at:]
            ),
            place,
            some.integers(1, 60),
            some.integers(1, 4),
        ),
        some.builds(
            lambda at, new: lambda text: text[:at] + new + text[at + len(new) :], place, piece
        ),
        some.builds(lambda at, new: lambda text: text[:at] + new + text[at:], place, piece),
    )

    def apply_all(changes: list[Callable[[bytes], bytes]]) -> bytes:
        content = good
        for apply in changes:
            content = apply(content)
        return content

    several = some.lists(change, min_size=1, max_size=4).map(apply_all)

    # Several changes seldom leave a readable file. Whether one of a hundred did hung on the source
    # code, from which Hypothesis takes numbers; one changed byte among the pixels does little harm.
    # Hypothesis prefers the ends of a range: the hash of a number lies anywhere.
    anywhere = some.integers(0, 2**32 - 1).map(
        lambda number: (number * 2_654_435_761 % 2**32) * len(good) >> 32
    )
    one_byte = some.builds(change_byte, anywhere, some.integers(1, 255)).map(
        lambda apply: apply(good)
    )
    # `one_of` merges equal strategies, so repeating one there gives it no weight.
    kinds = [several, several, several, one_byte, some.binary(max_size=100)]
    return some.sampled_from(range(len(kinds))).flatmap(kinds.__getitem__)


def change_byte(at: int, bits: int) -> Callable[[bytes], bytes]:
    """Flip these bits of the byte at `at`; nothing beyond the end."""
    return lambda text: (
        text[:at] + bytes(byte ^ bits for byte in text[at : at + 1]) + text[at + 1 :]
    )


def tables(columns: tuple[str, ...]) -> some.SearchStrategy[bytes]:
    """CSV with these columns and cells of any text, as a spreadsheet or a slip of the hand might
    leave it.
    """
    cell = some.one_of(
        some.sampled_from(["", "1", "-1", "0.5", "nan", "1e999", "train", "a_1", '"', " ", "²"]),
        some.text(max_size=8),
    )
    line = some.lists(cell, min_size=len(columns), max_size=len(columns) + 1)
    return some.lists(line, max_size=5).map(
        lambda lines: "\n".join(",".join(cells) for cells in [list(columns), *lines]).encode(
            "utf-8", "surrogatepass"
        )
    )
