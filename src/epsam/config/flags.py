"""How a flag is declared: a field of an options dataclass, with its help, source and range.

A flag that was renamed keeps its old spelling beside the new one (`OldSpelling`). The command line
takes both. Whatever is written to disk (options.json, record.json, checkpoint metadata, rule.json,
fingerprints of finished stages) keeps the old spelling, so that runs of earlier versions stay
readable and are still recognised as finished.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from types import MappingProxyType
from typing import Any

THIS_PROJECT = "this project"
"""Source of a default that is neither the paper's nor the published code's."""

RESULT_PARTS = ("candidates", "selection", "cams", "masks", "training", "inference")
"""Parts of results that are made again on their own: scored tiles and the choice among them, CAMs
and the masks from them, trained weights, segmented images and slides.
"""


@dataclass(frozen=True)
class OldSpelling:
    """Earlier name of a flag, and earlier names of its values: {value: earlier name}."""

    name: str = ""
    values: Mapping[str, str] = field(default_factory=dict)


_NEVER_RENAMED = OldSpelling()
_NO_NAMES: Mapping[str, tuple[Any, ...]] = MappingProxyType({})


def flag(
    default: Any,
    text: str,
    *,
    affects_result: bool,
    affects_only: tuple[str, ...] = (),
    names_weights: bool = False,
    since: str = "",
    source: str = THIS_PROJECT,
    choices: tuple[str, ...] = (),
    or_prefix: str = "",
    at_least: float | None = None,
    at_most: float | None = None,
    old: OldSpelling = _NEVER_RENAMED,
    named: Mapping[str, tuple[Any, ...]] = _NO_NAMES,
) -> Any:
    """A dataclass field that is also a command-line flag.

    text: the help. source: where the default comes from: a section of the paper, "published code",
    or "this project". or_prefix: how values begin that are taken beside the choices.
    affects_result: False if the flag only says where, how far or how conveniently a stage runs.
    affects_only: the parts of a result that it affects, of `RESULT_PARTS`; empty: all of them.
    names_weights: the flag only says which weights are read, so that a key that has their content
    may leave it out. since: the first version with the flag; a result of an older version counts
    as computed with its default. at_least, at_most: the range of a number, or of each number of a
    tuple, ends included; a tuple with a range holds at least one number. Infinity and NaN are
    never accepted. named: values of a tuple that also have a name; a value has as many parts as one
    of them.
    """
    return field(
        default=default,
        metadata={
            "help": text,
            "source": source,
            "choices": choices,
            "or_prefix": or_prefix,
            "affects_result": affects_result,
            "affects_only": affects_only,
            "names_weights": names_weights,
            "since": since,
            "at_least": at_least,
            "at_most": at_most,
            "old": old,
            "named": named,
        },
    )


def fraction(default: Any, text: str, **settings: Any) -> Any:
    """A flag from 0 to 1."""
    return flag(default, text, at_least=0, at_most=1, **settings)


def stored_options(options: Any) -> dict[str, Any]:
    """All options as they are written to disk: in their old spelling, where there is one."""
    stored = {}
    for item in fields(options):
        stored[stored_name(item)] = stored_value(item, getattr(options, item.name))
    return stored


def result_options(options: Any) -> dict[str, Any]:
    """The options that decide what a stage computes, as they are written to disk."""
    stored = {}
    for item in fields(options):
        if item.metadata["affects_result"]:
            stored[stored_name(item)] = stored_value(item, getattr(options, item.name))
    return stored


def options_of_older_versions(options: Any) -> dict[str, Any]:
    """`result_options` without those that older versions had not yet, where they have their
    defaults.
    """
    stored = result_options(options)
    for item in fields(options):
        if item.metadata["since"] and getattr(options, item.name) == item.default:
            stored.pop(stored_name(item), None)
    return stored


def options_added_since(kind: type[Any]) -> list[str]:
    """The options that the first version had not yet, by the name that is written to disk."""
    return [stored_name(item) for item in fields(kind) if item.metadata["since"]]


def part_options(options: Any, part: str, group: type[Any] | None = None) -> dict[str, Any]:
    """Of the result options, those that affect one of `RESULT_PARTS`, without those that only name
    weights: the caller's key has the content of the weights.

    group: the dataclass whose fields are considered; None: that of `options`.
    """
    # An option affects every part unless its declaration says otherwise: what a new one leaves
    # unsaid makes a part again, never takes a stale one for current.
    stored = {}
    for item in fields(group or options):
        info = item.metadata
        affects_part = not info["affects_only"] or part in info["affects_only"]
        if info["affects_result"] and affects_part and not info["names_weights"]:
            stored[stored_name(item)] = stored_value(item, getattr(options, item.name))
    return stored


def default_options(kind: type[Any]) -> dict[str, Any]:
    """The default of each option, as it is written to disk."""
    return {stored_name(item): stored_value(item, item.default) for item in fields(kind)}


def stored_name(item: Field[Any]) -> str:
    """The name under which a flag's value is written to disk."""
    return _old_spelling(item).name or flag_name(item).removeprefix("--")


def stored_value(item: Field[Any], value: Any) -> Any:
    """A flag's value as it is written to disk."""
    return _old_spelling(item).values.get(value, value) if isinstance(value, str) else value


def current_value(item: Field[Any], value: Any) -> Any:
    """A flag's value in its current spelling, from either."""
    for current, old in _old_spelling(item).values.items():
        if value == old:
            return current
    return value


def read_stored(group: type[Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """What `stored` holds for the fields of the dataclass `group`, in the current spelling.

    Names and values may have either spelling; what is no field of the group is left out.
    """
    values = {}
    for item in fields(group):
        for name in (item.name, stored_name(item)):
            if name in stored:
                value = current_value(item, stored[name])
                # JSON has lists alone, and a list is no tuple's default.
                is_tuple = isinstance(item.default, tuple) and isinstance(value, list)
                values[item.name] = tuple(value) if is_tuple else value
                break
    return values


def _old_spelling(item: Field[Any]) -> OldSpelling:
    # A plain field of a dataclass, without `flag`, has no metadata.
    old: OldSpelling = item.metadata.get("old", _NEVER_RENAMED)
    return old


def flag_name(item: Field[Any]) -> str:
    """The flag of a field; the field of --as is `as_`, since `as` is a word of Python."""
    return f"--{item.name.rstrip('_')}"


def flag_rows(stage: str, group: type[Any]) -> Iterator[tuple[str, str, str, str]]:
    """(stage, flag, default, source) for each flag of a stage that has a source worth naming."""
    for item in fields(group):
        source = item.metadata["source"]
        if item.metadata["affects_result"] or source != THIS_PROJECT:
            yield stage, flag_name(item), format_default(item.default), source


def format_default(value: Any) -> str:
    """A default as a user would type it; "empty" for no text or list."""
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value) or "empty"
    return "empty" if value == "" else str(value)


def format_range(at_least: float | None, at_most: float | None) -> str:
    """A range in words; empty if there is none."""
    if at_least is not None and at_most is not None:
        return f"{at_least:g} to {at_most:g}"
    if at_least is not None:
        return f"{at_least:g} or more"
    if at_most is not None:
        return f"{at_most:g} or less"
    return ""


def range_errors(options: Any) -> Iterator[str]:
    """A line for each option that is not in its range."""
    for item in fields(options):
        value = getattr(options, item.name)
        least, most = item.metadata["at_least"], item.metadata["at_most"]
        expected = format_range(least, most)

        if value == () and expected:
            yield f"argument {flag_name(item)}: no number given, expected one at least, {expected}"

        for number in value if isinstance(value, tuple) else (value,):
            if not _in_range(number, least, most):
                yield (
                    f"argument {flag_name(item)}: {number} is out of range, "
                    f"expected {expected or 'a finite number'}"
                )


def _in_range(value: Any, least: float | None, most: float | None) -> bool:
    if isinstance(value, float) and not math.isfinite(value):
        return False
    if least is not None and value < least:
        return False
    return most is None or value <= most
