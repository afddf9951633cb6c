"""From flags to options, and from errors to exit codes: 0 done, 1 failed, 2 bad flags, 130
interrupted.
"""

import argparse
import dataclasses
import logging
import signal
import sys
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from epsam.config.flags import format_range, range_errors
from epsam.config.presets import METHODS, preset
from epsam.core.errors import EpsamError
from epsam.core.files import DISK_FULL, remove_leftovers
from epsam.core.locking import exclusive_lock
from epsam.core.signals import raise_keyboard_interrupt

Options = TypeVar("Options")


def run_stage(
    stage: str,
    kind: type[Options],
    main: Callable[[Options], None],
    owns: Callable[[Options], Path] | None = None,
) -> None:
    """Parse the command line into `kind`, run `main`, and end the process with the contract's exit
    code.

    `owns` tells the folder that no other process may work in meanwhile.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    signal.signal(signal.SIGTERM, raise_keyboard_interrupt)
    options = parse(stage, kind, sys.argv[1:])
    try:
        with _alone_in(owns(options)) if owns else nullcontext():
            main(options)
    except KeyboardInterrupt:
        _tell("interrupted; run the same command again to go on")
        raise SystemExit(130) from None
    except (EpsamError, OSError, RuntimeError) as error:
        if getattr(options, "debug", False) or not _is_users(error):
            raise
        _tell(f"error: {one_line(error, options)}")
        raise SystemExit(1) from None


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    with exclusive_lock(folder, "give this one another name with RUN or --run"):
        remove_leftovers(folder)
        yield


def parse(stage: str, kind: type[Options], arguments: list[str]) -> Options:
    """Options of a stage: defaults, then presets of dataset and method, then the given flags. Bad
    flags exit with 2.
    """
    parser = _parser(stage, kind)
    given = vars(parser.parse_args(arguments))
    dataset_type = given.get("dataset_type", _defaults(kind).get("dataset_type", ""))
    names = set(_defaults(kind))
    row = preset(dataset_type, stage) | METHODS[given.get("method", "paper")]
    options = kind(**{**{name: value for name, value in row.items() if name in names}, **given})
    for line in range_errors(options):
        parser.error(line)
    return options


def _parser(stage: str, kind: type[Any]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"{stage}.py",
        description=kind.__doc__,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        told = field.metadata
        notes = filter(
            None,
            (
                f"default: {_shown(field.default)}",
                format_range(told["at_least"], told["at_most"]),
                told["source"],
            ),
        )
        text = f"{told['help']} ({'; '.join(notes)})"
        _add_flag(parser, field.name, hints[field.name], text.replace("%", "%%"), told["choices"])
    return parser


def _add_flag(
    parser: argparse.ArgumentParser, name: str, hint: Any, text: str, choices: tuple[str, ...]
) -> None:
    if hint is bool:
        parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, help=text)
    elif typing.get_origin(hint) is tuple:
        parser.add_argument(f"--{name}", type=_tuple_reader(hint), metavar="A,B,…", help=text)
    elif choices:
        parser.add_argument(
            f"--{name}", type=hint, choices=[hint(choice) for choice in choices], help=text
        )
    else:
        parser.add_argument(f"--{name}", type=hint, metavar=hint.__name__.upper(), help=text)


def _tuple_reader(hint: Any) -> Callable[[str], tuple[Any, ...]]:
    members = typing.get_args(hint)
    open_ended = members[-1] is Ellipsis

    def read(text: str) -> tuple[Any, ...]:
        parts = [part.strip() for part in text.split(",") if part.strip()]
        if not open_ended and len(parts) != len(members):
            raise argparse.ArgumentTypeError(
                f"{len(members)} values with commas between them expected, found {text!r}"
            )
        kinds = [members[0]] * len(parts) if open_ended else members
        try:
            return tuple(kind(part) for kind, part in zip(kinds, parts, strict=True))
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read


def _defaults(kind: type[Any]) -> dict[str, Any]:
    return {field.name: field.default for field in dataclasses.fields(kind)}


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value)
    return "empty" if value == "" else str(value)


def _is_users(error: BaseException) -> bool:
    """True for what a user can mend: our own errors, files and disks, a GPU that is too small."""
    return isinstance(error, EpsamError | OSError) or type(error).__name__ == "OutOfMemoryError"


def one_line(error: BaseException, options: Any) -> str:
    """What the user is told of an error of a stage with those options."""
    if type(error).__name__ == "OutOfMemoryError":
        flags = [f"--{name}" for name in ("batch_size", "encoder_chunk") if hasattr(options, name)]
        return f"the GPU's memory is too small ({str(error).split('.')[0]}); lower {' or '.join(flags)}"
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return (
            f"{error.filename or 'disk'}: no space left; free some and run the same command again"
        )
    return " ".join(str(error).split())


def _tell(message: str) -> None:
    # The scripts keep stdout in a log while bars go to the terminal: the last line then has to go
    # the log's way.
    logged = sys.stderr.isatty() and not sys.stdout.isatty()
    print(message, file=sys.stdout if logged else sys.stderr, flush=True)
