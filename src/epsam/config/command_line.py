"""From the command line to options, and from errors to exit codes.

Exit codes: 0 done, 1 failed, 2 bad flags, 130 interrupted; 75 another process of the stage has
ended.
"""

import dataclasses
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from epsam.config.error_messages import is_for_the_user, one_line
from epsam.config.flag_messages import similar_flag, split_by_flag
from epsam.config.flags import (
    current_value,
    flag_name,
    range_errors,
    read_stored,
    stored_name,
)
from epsam.config.method_presets import DEFAULT, stage_preset
from epsam.config.parser import BadFlagError, build_parser
from epsam.config.presets import METHODS
from epsam.core.distributed import World, current_world, end_group
from epsam.core.early_interrupt import INTERRUPTED
from epsam.core.errors import DeviceError, EpsamError, ProcessLostError
from epsam.core.failures import record_failure
from epsam.core.files import remove_leftovers
from epsam.core.locking import exclusive_lock
from epsam.core.signals import (
    PROCESS_LOST_CODE,
    ignore_stop_signals,
    interrupt_on_stop_signals,
)
from epsam.core.terminal import run_or_ask

log = logging.getLogger(__name__)

Options = TypeVar("Options")


def run_stage(
    stage: str,
    kind: type[Options],
    main: Callable[[Options], None],
    owns: Callable[[Options], Path | None] | None = None,
    is_shared: bool = False,
) -> None:
    """Parse the command line into `kind`, run `main`, and end the process with an exit code.

    owns: the folder that no other process may use meanwhile; None: others may use it, too.
    is_shared: several processes may share the stage.
    """
    world = _read_world(stage, is_shared)
    # Of the processes that share a stage, the main one logs, asks and holds the lock.
    level = logging.INFO if world.is_main else logging.CRITICAL
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stdout)
    interrupt_on_stop_signals()
    options = parse(stage, kind, sys.argv[1:])
    run = run_or_ask if world.size == 1 else _run

    try:
        folder = owns(options) if owns and world.is_main else None
        with _exclusive_folder(folder, stage, options) if folder else nullcontext():
            run(main, options)
        end_group()
    except KeyboardInterrupt:
        # One more of them must not cut off the last line.
        ignore_stop_signals()
        if world.is_main:
            _print_last_line(INTERRUPTED)
        raise SystemExit(130) from None
    except ProcessLostError:
        # The process that has ended says why.
        raise SystemExit(PROCESS_LOST_CODE) from None
    except (EpsamError, OSError, RuntimeError) as error:
        if getattr(options, "debug", False) or not is_for_the_user(error):
            raise
        _print_last_line(f"error: {one_line(error, options)}")
        raise SystemExit(1) from None


def folder_to_flag(arguments: list[str]) -> list[str]:
    """The arguments with a folder before the first flag as the value of --folder."""
    if arguments and not arguments[0].startswith("-"):
        return [f"--folder={arguments[0]}", *arguments[1:]]
    return arguments


def _read_world(stage: str, is_shared: bool) -> World:
    """This process among those that share the stage; ends it where there should be no others."""
    try:
        world = current_world()
    except DeviceError as error:
        _print_last_line(f"error: {error}")
        raise SystemExit(1) from None
    if world.size > 1 and not is_shared:
        if world.is_main:
            _print_last_line(
                f"error: {stage}: runs in one process, not in {world.size}; start it alone"
            )
        raise SystemExit(1)
    return world


def _run(main: Callable[[Options], None], options: Options) -> None:
    main(options)


@contextmanager
def _exclusive_folder(folder: Path, stage: str, options: Any) -> Iterator[None]:
    with exclusive_lock(folder, "give this one another name with RUN or --run"):
        remove_leftovers(folder)
        # Inside of the lock: a stage that may not begin has not failed.
        with record_failure(folder, stage, lambda error: one_line(error, options)):
            yield


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
    if current_world().is_main:
        for line in errors:
            print(line, file=sys.stderr)
    raise SystemExit(2)


def _list_flag_errors(stage: str, kind: type[Any], arguments: list[str]) -> list[str]:
    """A line for each flag of a stage that cannot be read or is out of its range."""
    parser = build_parser(stage, kind)
    flags = [flag for flag in parser._option_string_actions if flag.startswith("--")]
    errors: list[str] = []
    readable: list[str] = []
    # One flag with its values at a time, since argparse stops at the first error.
    for flag_and_values in split_by_flag(arguments):
        try:
            parser.parse_args(flag_and_values)
            readable += flag_and_values
        except BadFlagError as error:
            hint = similar_flag(flag_and_values[0], flags)
            errors.append(f"{stage}.py: error: {error}{hint}")
    for line in range_errors(_read_options(stage, kind, readable)):
        errors.append(f"{stage}.py: error: {line}")
    return errors


def _read_options(stage: str, kind: type[Options], arguments: list[str]) -> Options:
    """The options of flags that can be read, whatever their range."""
    parser = build_parser(stage, kind)
    flags = vars(parser.parse_args(arguments))

    defaults = {field.name: field.default for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    dataset_type = flags.get("dataset_type", defaults.get("dataset_type", ""))
    presets = stage_preset(
        dataset_type, stage, flags.get("recipe", ""), flags.get("method_preset", DEFAULT)
    )
    method: str = flags.get("method") or presets.get("method", "paper")
    presets |= METHODS[method]

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


def _print_last_line(message: str) -> None:
    # The scripts keep stdout in a log while progress bars go to the terminal: the last line then
    # has to go the log's way.
    logged = sys.stderr.isatty() and not sys.stdout.isatty()
    print(message, file=sys.stdout if logged else sys.stderr, flush=True)
