"""What a run takes over from another one whose options were the same up to that stage: by links,
nothing is copied.

A stage still judges for itself whether what lies in its run's folder is its own work with its
options and inputs; every stage replaces files instead of writing into them, so that a link is never
written through.
"""

import os
import shutil
from pathlib import Path

from epsam.core.files import read_json, read_table, write_json, write_table
from epsam.paths import RunPaths
from epsam.tables import METRIC_COLUMNS, PSEUDO_LABEL_COLUMNS

CLASSIFIER, MASKS = "train_classifier", "generate_initial_masks"


def decoder_stage(number: int) -> str:
    """The name of a round's stage."""
    return f"decoder_{number}"


def marker(run: RunPaths, stage: str) -> str:
    """The fingerprint with which a run finished a stage; empty if it did not."""
    path = _marker(run, stage)
    return str(read_json(path).get("fingerprint", "")) if path.is_file() else ""


def reuse_stage(donor: RunPaths, own: RunPaths, stage: str) -> None:
    """Take over all that a finished stage of `donor` made, unless `own` has just that. The marker
    comes last.
    """
    if not marker(donor, stage) or marker(own, stage) == marker(donor, stage):
        return
    for path in _outputs(own, stage):
        _remove(path)
    for path in _outputs(donor, stage):
        link(path, own.root / path.relative_to(donor.root))
    _merge_tables(donor, own, stage)
    made, kept = read_json(donor.options), read_json(own.options) if own.options.is_file() else {}
    write_json(own.options, {**kept, stage: made[stage]})
    write_json(_marker(own, stage), read_json(_marker(donor, stage)))


def reuse_cams(donor: RunPaths, own: RunPaths) -> None:
    """Take over activation maps alone; the stage sees by their recipe whether they are what it
    needs.
    """
    link(donor.root / "activation", own.root / "activation")


def link(source: Path, target: Path) -> None:
    """Make `target` another name of a file, or of every file in a folder; copied where the disk
    knows no links.
    """
    if source.is_dir():
        _remove(target)
        for path in source.rglob("*"):
            if path.is_file():
                link(path, target / path.relative_to(source))
    elif source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)


def _marker(run: RunPaths, stage: str) -> Path:
    return run.root / "stages" / f"{stage}.json"


def _outputs(run: RunPaths, stage: str) -> list[Path]:
    if stage == CLASSIFIER:
        return [run.classifier]
    if stage == MASKS:
        return [
            run.root / "activation",
            run.mask_rule.parent,
            run.grid_search,
            run.grid_search.with_suffix(".png"),
            *run.panels.glob("initial_masks_*.png"),
        ]
    number = int(stage.removeprefix("decoder_"))
    return [run.round_decoder(number), run.pseudo_masks(number), run.panels / f"{stage}.png"]


def _merge_tables(donor: RunPaths, own: RunPaths, stage: str) -> None:
    task = "classifier" if stage == CLASSIFIER else stage
    _merge(donor.metrics, own.metrics, METRIC_COLUMNS, "stage", task)
    if stage not in (CLASSIFIER, MASKS):
        _merge(
            donor.pseudo_labels,
            own.pseudo_labels,
            PSEUDO_LABEL_COLUMNS,
            "round",
            stage.removeprefix("decoder_"),
        )


def _merge(source: Path, target: Path, columns: tuple[str, ...], column: str, value: str) -> None:
    theirs = (
        [row for row in read_table(source, columns) if row[column] == value]
        if source.is_file()
        else []
    )
    if theirs:
        ours = (
            [row for row in read_table(target, columns) if row[column] != value]
            if target.is_file()
            else []
        )
        write_table(target, columns, ours + theirs)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
