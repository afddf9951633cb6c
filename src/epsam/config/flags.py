"""What a flag is: a field of an options dataclass that knows its help, its source, its range and
whether it matters.
"""

import math
from collections.abc import Iterator
from dataclasses import field, fields
from typing import Any


def flag(
    default: Any,
    text: str,
    *,
    source: str = "this project",
    choices: tuple[str, ...] = (),
    affects_result: bool = True,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Any:
    """A dataclass field that is also a command-line flag; `source` says where the default comes
    from.

    `affects_result`: False if it says where, how far or how conveniently a stage runs, not what it
    computes. `at_least`, `at_most`: the range of a number, or of each number of a tuple, ends
    included; a tuple with a range holds one number at least. Infinity and NaN are never taken.
    """
    return field(
        default=default,
        metadata={
            "help": text,
            "source": source,
            "choices": choices,
            "affects_result": affects_result,
            "at_least": at_least,
            "at_most": at_most,
        },
    )


def fraction(default: Any, text: str, **others: Any) -> Any:
    """A flag from 0 to 1."""
    return flag(default, text, at_least=0, at_most=1, **others)


def result_options(options: Any) -> dict[str, Any]:
    """The options, by name, that decide what a stage computes."""
    return {
        each.name: getattr(options, each.name)
        for each in fields(options)
        if each.metadata["affects_result"]
    }


def format_range(at_least: float | None, at_most: float | None) -> str:
    """A range in words; empty if there is none."""
    if at_least is not None and at_most is not None:
        return f"{at_least:g} to {at_most:g}"
    return (
        f"{at_least:g} or more"
        if at_least is not None
        else f"{at_most:g} or less"
        if at_most is not None
        else ""
    )


def range_errors(options: Any) -> Iterator[str]:
    """A line for each option that is not in its range."""
    for each in fields(options):
        value = getattr(options, each.name)
        least, most = each.metadata["at_least"], each.metadata["at_most"]
        wanted = format_range(least, most)
        if value == () and wanted:
            yield f"argument --{each.name}: no number given, expected one at least, {wanted}"
        for number in value if isinstance(value, tuple) else (value,):
            finite = not isinstance(number, float) or math.isfinite(number)
            if not (
                finite and (least is None or number >= least) and (most is None or number <= most)
            ):
                yield f"argument --{each.name}: {number} is out of range, expected {wanted or 'a finite number'}"
