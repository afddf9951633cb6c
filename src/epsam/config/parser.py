"""A stage's parser: an argument group for each dataclass that its options are composed of."""

import argparse
import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from epsam.config.flags import THIS_PROJECT, flag_name, format_default, format_range


class BadFlagError(Exception):
    """What argparse says of a flag that it cannot read."""


class FlagParser(argparse.ArgumentParser):
    """A parser that raises instead of ending the process at the first bad flag."""

    def error(self, message: str) -> NoReturn:
        raise BadFlagError(message)


def build_parser(stage: str, kind: type[Any]) -> FlagParser:
    """A parser with one argument group for each dataclass that `kind` is composed of."""
    # No abbreviations: a flag that a later version adds could change what they mean. No defaults:
    # presets fill in what the command line leaves out.
    parser = FlagParser(
        prog=f"{stage}.py",
        description=kind.__doc__,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    types = typing.get_type_hints(kind)
    for title, fields in _fields_by_group(kind).items():
        group = parser.add_argument_group(title)
        for field in fields:
            _add_flag(group, field, types[field.name])
    return parser


def _fields_by_group(kind: type[Any]) -> dict[str, list[dataclasses.Field[Any]]]:
    """The fields of `kind` by heading: the first line of the docstring of the class that declares
    them.
    """
    remaining = {field.name: field for field in dataclasses.fields(kind)}
    groups: dict[str, list[dataclasses.Field[Any]]] = {}
    for declaring in kind.__mro__:
        names = [name for name in inspect.get_annotations(declaring) if name in remaining]
        if not names:
            continue
        # The docstring of the stage's own options is the description of the whole help.
        doc = (declaring.__doc__ or "").splitlines()[0].rstrip(".")
        title = "Options of this stage" if declaring is kind else doc
        groups.setdefault(title, []).extend(remaining.pop(name) for name in names)
    return groups


def _add_flag(group: argparse._ArgumentGroup, field: dataclasses.Field[Any], type_: Any) -> None:
    name, text, choices = flag_name(field), _help_text(field), field.metadata["choices"]
    if type_ is bool:
        group.add_argument(name, dest=field.name, action=argparse.BooleanOptionalAction, help=text)
    elif typing.get_origin(type_) is tuple:
        read = _tuple_reader(type_, field.metadata["named"])
        group.add_argument(name, dest=field.name, type=read, metavar="A,B,…", help=text)
    elif choices and field.metadata["or_prefix"]:
        read_choice = _choice_reader(choices, field.metadata["or_prefix"])
        group.add_argument(name, dest=field.name, type=read_choice, metavar="NAME", help=text)
    elif choices:
        group.add_argument(
            name,
            dest=field.name,
            type=type_,
            choices=[type_(choice) for choice in choices],
            help=text,
        )
    else:
        group.add_argument(
            name, dest=field.name, type=type_, metavar=type_.__name__.upper(), help=text
        )


def _help_text(field: dataclasses.Field[Any]) -> str:
    info = field.metadata
    notes = [f"default: {format_default(field.default)}"]
    limits = format_range(info["at_least"], info["at_most"])
    if limits:
        notes.append(limits)
    # The source is said where it tells something: not for a flag of this project that only says
    # where or how conveniently a stage runs.
    if info["affects_result"] or info["source"] != THIS_PROJECT:
        notes.append(info["source"])
    return f"{info['help']} ({'; '.join(notes)})".replace("%", "%%")


def _choice_reader(choices: Sequence[str], prefix: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices and not (text.startswith(prefix) and text != prefix):
            raise argparse.ArgumentTypeError(
                f"invalid choice: {text!r} (choose from {', '.join(choices)}, {prefix}…)"
            )
        return text

    return read


def _tuple_reader(
    type_: Any, named: Mapping[str, tuple[Any, ...]]
) -> Callable[[str], tuple[Any, ...]]:
    members = typing.get_args(type_)
    open_ended = members[-1] is Ellipsis
    lengths = sorted({len(value) for value in named.values()})

    def read(text: str) -> tuple[Any, ...]:
        if text in named:
            return named[text]
        parts = [part.strip() for part in text.split(",") if part.strip()]
        if named and len(parts) not in lengths:
            counts = " or ".join(map(str, lengths))
            raise argparse.ArgumentTypeError(
                f"{' or '.join(named)}, or {counts} numbers with commas between them expected, "
                f"found {text!r}"
            )
        if not open_ended and len(parts) != len(members):
            raise argparse.ArgumentTypeError(
                f"{len(members)} values with commas between them expected, found {text!r}"
            )
        kinds = [members[0]] * len(parts) if open_ended else members
        try:
            return tuple(kind(part) for kind, part in zip(kinds, parts, strict=True))
        except ValueError as error:
            # argparse prints the text of this error, but not that of a ValueError.
            raise argparse.ArgumentTypeError(str(error)) from error

    return read
