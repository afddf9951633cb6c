"""Which files of a run belong to which stage: its completion records, outputs, and rounds."""

import re
from collections.abc import Iterator
from pathlib import Path

from epsam.pipeline import ROUND, STAGES, StageSpec

_LEFT_BY_EACH_COMPLETION = (
    "stages/{completion}.json",
    "tensorboard/{completion}",
    "unfinished/{completion}",
)


def stage_of_completion(completion: str) -> tuple[StageSpec, int | None]:
    """The stage that leaves a completion record of this name, and the number of its round.

    The number is None if the stage is no round. Raises KeyError if no stage leaves such a record.
    """
    for stage in STAGES.values():
        if completion and stage.completion == completion:
            return stage, stage.round
    for stage in STAGES.values():
        number = _round_in(stage.completion, completion)
        if number is not None:
            return stage, number
    raise KeyError(completion)


def round_of_completion(completion: str) -> int | None:
    """The number of the round that leaves a completion record of this name; None if none does."""
    try:
        return stage_of_completion(completion)[1]
    except KeyError:
        return None


def list_later_completions(root: Path, completion: str) -> list[str]:
    """The completion records below a run's `root` of training that comes after `completion`."""
    names = []
    for path in (root / "stages").glob("*.json"):
        if _is_training(path.stem) and _order(path.stem) > _order(completion):
            names.append(path.stem)
    return sorted(names, key=_order)


def _is_training(completion: str) -> bool:
    try:
        return stage_of_completion(completion)[0].trains
    except KeyError:
        return False


def _order(completion: str) -> tuple[int, int]:
    """Where a completion record stands in the order of the stages; after all of them if none of
    them leaves it.
    """
    try:
        stage, number = stage_of_completion(completion)
    except KeyError:
        return len(STAGES), 0
    return list(STAGES).index(stage.name), number or 0


def list_outputs(root: Path, completion: str) -> list[Path]:
    """The files and folders below a run's `root` that belong to a completion record, there or not.

    Names with a `*` stand for the files that are there.
    """
    stage, number = stage_of_completion(completion)
    paths: list[Path] = []
    for output in stage.run_outputs():
        name = output.format(round=number)
        paths += sorted(root.glob(name)) if "*" in name else [root / name]
    return paths


def list_round_files(root: Path, after: int) -> Iterator[Path]:
    """Everything below a run's `root` that rounds with a number above `after` have left, their
    completion records and unfinished work included.
    """
    for stage in STAGES.values():
        if ROUND not in stage.completion:
            continue
        names = list(stage.run_outputs())
        names += [name.format(completion=stage.completion) for name in _LEFT_BY_EACH_COMPLETION]
        for name in names:
            for path in sorted(root.glob(name.format(round="*"))):
                number = _round_in(name, path.relative_to(root).as_posix())
                if number is not None and number > after:
                    yield path


def _round_in(template: str, text: str) -> int | None:
    """The number of the round in a name that follows the template; None if it does not."""
    if ROUND not in template:
        return None
    before, _, rest = template.partition(ROUND)
    match = re.fullmatch(f"{re.escape(before)}([0-9]{{1,9}}){re.escape(rest)}", text)
    return int(match[1]) if match else None
