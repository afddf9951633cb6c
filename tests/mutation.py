"""Damaged files for fuzzing, without a fuzzing library: changes of good ones, drawn from a seed."""

import random
from collections.abc import Iterator


def mutations(good: bytes, count: int, seed: int) -> Iterator[bytes]:
    """`count` contents with one to four changes each: cut short, bytes changed, pieces lost, doubled or overwritten."""
    rng = random.Random(seed)
    for _ in range(count):
        content = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            rng.choice((_cut, _flip, _lose, _double, _overwrite))(content, rng)
        yield bytes(content)


def _place(content: bytearray, rng: random.Random) -> int:
    # Half the time near the start, where headers are.
    return rng.randrange(max(1, min(len(content), 200 if rng.random() < 0.5 else len(content))))


def _cut(content: bytearray, rng: random.Random) -> None:
    if rng.random() < 0.3:
        del content[_place(content, rng):]


def _flip(content: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 8)):
        if content:
            content[_place(content, rng)] = rng.randrange(256)


def _lose(content: bytearray, rng: random.Random) -> None:
    start = _place(content, rng)
    del content[start : start + rng.randint(1, 30)]


def _double(content: bytearray, rng: random.Random) -> None:
    start = _place(content, rng)
    content[start:start] = content[start : start + rng.randint(1, 60)] * rng.randint(1, 4)


def _overwrite(content: bytearray, rng: random.Random) -> None:
    start = _place(content, rng)
    pieces = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0", b"\0", b"\n", b'"', b",,,",
              b"1e999", b"nan", b"-1", b"<!DOCTYPE x [", b"&a;", b"\xef\xbb\xbf", b"]]>", "\u202e".encode())
    piece = rng.choice(pieces)
    content[start : start + len(piece)] = piece
