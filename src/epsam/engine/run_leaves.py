"""Into how many leaves a stage of a run cuts its batches: leaves.json in the run's folder.

The weights depend on the leaves, and not on the number of processes. So a stage that several
processes began goes on with the same leaves in one process, and the other way round.
"""

from dataclasses import replace
from typing import Any, TypeVar

from epsam.config.command_line import end_with_flag_errors
from epsam.core.distributed import current_world, is_main_process
from epsam.core.errors import DatasetError
from epsam.core.files import read_json, write_json
from epsam.core.leaves import DEFAULT_LEAVES
from epsam.paths import RunPaths

Options = TypeVar("Options", bound=Any)

LEAVES_FILE = "leaves.json"


def settle_leaves(options: Options, stage: str) -> Options:
    """The options with the leaves that a stage of the run trains with: those of --leaves, else
    those that it began with, else none in one process and `DEFAULT_LEAVES` in several.

    Ends the process with exit code 2 if there are more processes than leaves.
    """
    world = current_world()
    leaves = options.leaves
    if not leaves and not options.restart:
        leaves = _find_leaves(RunPaths.of(options), stage)
    if not leaves and world.size > 1 and not _was_finished(options, stage):
        leaves = min(DEFAULT_LEAVES, _largest_power_of_two(options.batch_size))

    if leaves and world.size > leaves:
        message = (
            f"{stage}: {world.size} processes share the {leaves} leaves of a batch, and a process "
            f"needs one at least; start {leaves} processes, or raise --leaves and --batch_size"
        )
        end_with_flag_errors([message])
    return replace(options, leaves=leaves)


def remember_leaves(run: RunPaths, stage: str, leaves: int) -> None:
    """Note the leaves of a stage that begins; 0: none."""
    if not is_main_process():
        return
    by_stage = _read(run)
    if by_stage.get(stage, 0) == leaves:
        return
    by_stage[stage] = leaves
    write_json(run.root / LEAVES_FILE, by_stage)


def _find_leaves(run: RunPaths, stage: str) -> int:
    """The leaves that a stage began with, or was finished with in the run that it is reused from;
    0: none.
    """
    by_stage = _read(run)
    if stage in by_stage:
        return by_stage[stage]
    options = read_json(run.options) if run.options.is_file() else {}
    return int(options.get(stage, {}).get("leaves", 0))


def _read(run: RunPaths) -> dict[str, int]:
    path = run.root / LEAVES_FILE
    if not path.is_file():
        return {}
    content = read_json(path)
    if not all(isinstance(leaves, int) for leaves in content.values()):
        raise DatasetError(f"{path}: expected a whole number for each stage; remove the file")
    return {str(stage): int(leaves) for stage, leaves in content.items()}


def _was_finished(options: Any, stage: str) -> bool:
    """Whether the stage was finished without leaves: it then stays as it is."""
    return (RunPaths.of(options).root / "stages" / f"{stage}.json").is_file()


def _largest_power_of_two(limit: int) -> int:
    """The largest power of two up to `limit`."""
    return 1 << (limit.bit_length() - 1)
