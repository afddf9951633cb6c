"""From the command line to options, and from errors to exit codes.

Exit codes: 0 done, 1 failed, 2 bad flags, 130 interrupted.
"""

import argparse
import dataclasses
import inspect
import logging
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from epsam.config.error_messages import is_for_the_user, one_line
from epsam.config.flag_messages import similar_flag, split_by_flag
from epsam.config.flags import (
    THIS_PROJECT,
    current_value,
    flag_name,
    format_default,
    format_range,
    range_errors,
    read_stored,
    stored_name,
)
from epsam.config.method_presets import DEFAULT, stage_preset
from epsam.config.presets import METHODS
from epsam.core.early_interrupt import INTERRUPTED
from epsam.core.errors import EpsamError
from epsam.core.failures import record_failure
from epsam.core.files import remove_leftovers
from epsam.core.locking import exclusive_lock
from epsam.core.signals import ignore_stop_signals, interrupt_on_stop_signals
from epsam.core.terminal import run_or_ask

log = logging.getLogger(__name__)

Options = TypeVar("Options")


def run_stage(
    stage: str,
    kind: type[Options],
    main: Callable[[Options], None],
    owns: Callable[[Options], Path] | None = None,
) -> None:
    """Parse the command line into `kind`, run `main`, and end the process with an exit code.

    owns: the folder that no other process may use meanwhile.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    interrupt_on_stop_signals()
    options = parse(stage, kind, sys.argv[1:])

    try:
        with _exclusive_folder(owns(options), stage, options) if owns else nullcontext():
            run_or_ask(main, options)
    except KeyboardInterrupt:
        # One more of them must not cut off the last line.
        ignore_stop_signals()
        _print_last_line(INTERRUPTED)
        raise SystemExit(130) from None
    except (EpsamError, OSError, RuntimeError) as error:
        if getattr(options, "debug", False) or not is_for_the_user(error):
            raise
        _print_last_line(f"error: {one_line(error, options)}")
        raise SystemExit(1) from None


@contextmanager
def _exclusive_folder(folder: Path, stage: str, options: Any) -> Iterator[None]:
    with exclusive_lock(folder, "give this one another name with RUN or --run"):
        remove_leftovers(folder)
        # Inside of the lock: a stage that may not begin has not failed.
        with record_failure(folder, stage, lambda error: one_line(error, options)):
            yield


class _BadFlagError(Exception):
    """What argparse says of a flag that it cannot read."""


class _Parser(argparse.ArgumentParser):
    """A parser that raises instead of ending the process at the first bad flag."""

    def error(self, message: str) -> NoReturn:
        raise _BadFlagError(message)


def parse(stage: str, kind: type[Options], arguments: list[str]) -> Options:
    """Options of a stage: defaults < presets of the method and the dataset < flags.

    Bad flags end the process with exit code 2, after a line for each of them.
    """
    options, errors = try_parse(stage, kind, arguments)
    if options is None:
        end_with_flag_errors(errors)
    return options


def try_parse(
    stage: str, kind: type[Options], arguments: list[str]
) -> tuple[Options | None, list[str]]:
    """The options of a stage, or None and a line for each bad flag."""
    current = _in_current_spelling(kind, arguments)
    errors = _list_flag_errors(stage, kind, current)
    return (None, errors) if errors else (_read_options(stage, kind, current), [])


def end_with_flag_errors(errors: Sequence[str]) -> NoReturn:
    """Print a line for each bad flag, and end the process with exit code 2."""
    for line in errors:
        print(line, file=sys.stderr)
    raise SystemExit(2)


def _list_flag_errors(stage: str, kind: type[Any], arguments: list[str]) -> list[str]:
    """A line for each flag of a stage that cannot be read or is out of its range."""
    parser = _build_parser(stage, kind)
    flags = [flag for flag in parser._option_string_actions if flag.startswith("--")]
    errors: list[str] = []
    readable: list[str] = []
    # One flag with its values at a time, since argparse stops at the first error.
    for flag_and_values in split_by_flag(arguments):
        try:
            parser.parse_args(flag_and_values)
            readable += flag_and_values
        except _BadFlagError as error:
            hint = similar_flag(flag_and_values[0], flags)
            errors.append(f"{stage}.py: error: {error}{hint}")
    for line in range_errors(_read_options(stage, kind, readable)):
        errors.append(f"{stage}.py: error: {line}")
    return errors


def _read_options(stage: str, kind: type[Options], arguments: list[str]) -> Options:
    """The options of flags that can be read, whatever their range."""
    parser = _build_parser(stage, kind)
    flags = vars(parser.parse_args(arguments))

    defaults = {field.name: field.default for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    dataset_type = flags.get("dataset_type", defaults.get("dataset_type", ""))
    presets = stage_preset(
        dataset_type, stage, flags.get("recipe", ""), flags.get("method_preset", DEFAULT)
    )
    presets |= METHODS[flags.get("method", "paper")]

    return kind(**(read_stored(kind, presets) | flags))


def _in_current_spelling(kind: type[Any], arguments: list[str]) -> list[str]:
    """The arguments with old names of flags and values replaced, and a log line for each."""
    # Replaced before parsing, so that help and error messages show the current spelling only.
    by_name = {}
    for field in dataclasses.fields(kind):
        by_name[flag_name(field)] = by_name[f"--{stored_name(field)}"] = field

    current: list[str] = []
    value_of = None  # the flag whose value comes next
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name in by_name:
            field = by_name[name]
            _log_renaming(name, flag_name(field))
            value = _rename_value(field, value)
            current.append(f"{flag_name(field)}{equals}{value}")
            value_of = None if equals else field
        else:
            current.append(_rename_value(value_of, argument) if value_of else argument)
            value_of = None
    return current


def _rename_value(field: dataclasses.Field[Any], value: str) -> str:
    current = str(current_value(field, value))
    _log_renaming(f"{flag_name(field)} {value}", f"{flag_name(field)} {current}")
    return current


def _log_renaming(old: str, current: str) -> None:
    if old != current:
        log.warning("%s is now %s; the old spelling goes with the next version", old, current)


def _build_parser(stage: str, kind: type[Any]) -> _Parser:
    """A parser with one argument group for each dataclass that `kind` is composed of."""
    # No abbreviations: a flag that a later version adds could change what they mean. No defaults:
    # presets fill in what the command line leaves out.
    parser = _Parser(
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


def _print_last_line(message: str) -> None:
    # The scripts keep stdout in a log while progress bars go to the terminal: the last line then
    # has to go the log's way.
    logged = sys.stderr.isatty() and not sys.stdout.isatty()
    print(message, file=sys.stdout if logged else sys.stderr, flush=True)
