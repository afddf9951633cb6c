"""A command line flag by flag, and the flag that a misspelt one probably meant."""

import difflib
from collections.abc import Sequence


def split_by_flag(arguments: Sequence[str]) -> list[list[str]]:
    """Each flag with the values after it; values before the first flag stand alone."""
    parts: list[list[str]] = []
    for argument in arguments:
        # argparse, too, takes what holds a blank for a value.
        if argument.startswith("-") and " " not in argument and not _is_number(argument):
            parts.append([argument])
        elif parts:
            parts[-1].append(argument)
        else:
            parts.append([argument])
    return parts


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def similar_flag(argument: str, flags: Sequence[str]) -> str:
    """A question about the flag that was probably meant; empty if there is none or it is right."""
    name = argument.partition("=")[0]
    if name in flags:
        return ""
    similar = difflib.get_close_matches(name, flags, n=1, cutoff=0.7)
    return f"; did you mean {similar[0]}?" if similar else "; --help lists all flags"
