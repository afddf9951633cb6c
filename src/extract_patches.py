"""Step 1: slides and outlines → patches, truth masks, patches.csv and slides.csv."""

import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from command_line import run_stage
from epsam.errors import DatasetError, EpsamError, SlideError
from epsam.files import contents, names_and_sizes, write_table
from epsam.lock import claimed
from epsam.options import SPLITS, PatchOptions
from epsam.paths import DatasetPaths
from epsam.record import add_to_record
from epsam.shards import Shard
from epsam.slides.changes import made_from
from epsam.slides.cutting import PATCH_COLUMNS, Cut
from epsam.slides.handover import hand_over, patches_are_there, staging_folder
from epsam.slides.inventory import FAILED, USED, SlideRecord
from epsam.slides.measured import load_all, load_measured, measured_folder
from epsam.slides.planning import plan_slides
from epsam.slides.progress import cut_once, measure_once
from epsam.slides.report import SLIDE_COLUMNS, slide_rows
from epsam.slides.selection import select
from epsam.slides.windows import Measured
from epsam.slides.workers import for_each

log = logging.getLogger(__name__)

NAME = "extract_patches"
TABLES = Path(__file__).resolve().parents[1] / "dataset"


def main(options: PatchOptions) -> None:
    """Measure all windows from the outlines, choose per split, and decode only what was chosen."""
    started = time.monotonic()
    check_options(options)
    paths = DatasetPaths.of(options)
    if patches_are_there(paths, TABLES, options):
        return
    records = plan_slides(paths, TABLES, options)
    if options.shard:
        measure_shard(records, options, measured_folder(paths))
        return
    with claimed(paths.root, "work on another dataset meanwhile"):
        # Another run may have made them since the first look.
        if not patches_are_there(paths, TABLES, options):
            make_patches(records, paths, options)
            add_to_record(paths.record, NAME, asdict(options), time.monotonic() - started, inputs_of(records))


def make_patches(records: Sequence[SlideRecord], paths: DatasetPaths, options: PatchOptions) -> None:
    """Make the patches of all splits, whole or not at all, and the tables beside them."""
    errors = {record.name: record.reason for record in records if record.status == FAILED}
    measured: list[Measured] = []
    patches: list[dict[str, object]] = []
    made = made_from(records, options)
    with staging_folder(paths, made, options.restart) as folder:
        try:
            measured += measure_all(records, options, folder, measured_folder(paths))
            errors |= failures({found.record.name: found.error for found in measured})
            check_failures(errors, measured, options)
            for task, (rows, error) in cut_all(select(measured, options), options, folder):
                patches += rows
                errors |= failures({task.record.name: error})
            check_failures(errors, measured, options)
            check_patches(patches, errors)
        except EpsamError:
            # The message sends the user there; after a full disk or Ctrl-C it still has to tell of the old patches.
            write_table(paths.slide_table, SLIDE_COLUMNS, slide_rows(records, measured, patches, errors))
            raise
        write_table(folder / paths.slide_table.name, SLIDE_COLUMNS, slide_rows(records, measured, patches, errors))
        write_table(folder / paths.patch_table.name, PATCH_COLUMNS, patches)
        hand_over(folder, paths, made)
    shutil.rmtree(measured_folder(paths), ignore_errors=True)
    log.info("%d patches of %d slides in %s", len(patches), len({patch["slide"] for patch in patches}), paths.root)


def inputs_of(records: Sequence[SlideRecord]) -> dict[str, str]:
    """Digests of the slides by name and size, since all their bytes would take longer than the stage, and of outlines
    by content."""
    used = [record for record in records if record.status == USED]
    return {"slides": names_and_sizes(record.path for record in used if record.path),
            "outlines": contents(record.outlines for record in used if record.outlines)}


def measure_shard(records: Sequence[SlideRecord], options: PatchOptions, kept: Path) -> None:
    """Measure the used slides of one shard that are not kept yet; --merge then chooses patches among all slides."""
    shard = Shard.parse(options.shard)
    used = [record for record in records if record.status == USED and shard.holds(record.name)]
    waiting = [record for record in used if (had := load_measured(kept, record, options)) is None or had.error]
    work = partial(measure_once, options=options, kept=kept, thumbnails=kept)
    for measured in for_each(work, waiting, options.workers, "measuring slides"):
        failures({measured.record.name: measured.error})
    log.info("shard %s: %d slides measured, %d before; --merge makes the patches once all shards are done",
             options.shard, len(waiting), len(used) - len(waiting))


def measure_all(records: Sequence[SlideRecord], options: PatchOptions, folder: Path, kept: Path) -> list[Measured]:
    """Every window of every used slide, measured now or by the shards that left it in `kept`."""
    used = [record for record in records if record.status == USED]
    if options.merge:
        return load_all(kept, used, options, folder / "thumbnails")
    work = partial(measure_once, options=options, kept=folder / "measured", thumbnails=folder / "thumbnails")
    return list(for_each(work, used, options.workers, "measuring slides"))


def cut_all(tasks: list[Cut], options: PatchOptions,
            folder: Path) -> list[tuple[Cut, tuple[list[dict[str, object]], str]]]:
    """The chosen windows cut out, with the rows of patches.csv or the error of each slide."""
    work = partial(cut_once, options=options, folder=folder)
    return list(zip(tasks, for_each(work, tasks, options.workers, "cutting patches"), strict=True))


def failures(errors: Mapping[str, str]) -> dict[str, str]:
    """The slides that failed, each told in the log."""
    found = {slide: error for slide, error in errors.items() if error}
    for slide, error in found.items():
        log.info("  failed %s: %s", slide, error)
    return found


def check_options(options: PatchOptions) -> None:
    """Raise DatasetError on settings that can give no patch."""
    if options.max_tumour <= options.min_tumour:
        raise DatasetError(f"--max_tumour {options.max_tumour:g}: not above --min_tumour {options.min_tumour:g}, "
                           "so that no patch could be positive; raise it")


def check_failures(errors: Mapping[str, str], measured: Sequence[Measured], options: PatchOptions) -> None:
    """Raise SlideError if nothing usable is left, or if anything failed and the run is strict."""
    if errors and options.strict:
        raise SlideError(f"{len(errors)} slides failed ({', '.join(sorted(errors)[:5])}); see slides.csv "
                         "or pass --no-strict")
    if all(found.error for found in measured):
        first = f", first {next(iter(errors.values()))}" if errors else ""
        raise SlideError(f"no usable slide: {len(errors)} failed{first}; see slides.csv")


def check_patches(patches: Sequence[Mapping[str, Any]], errors: Mapping[str, str]) -> None:
    """Raise if slides that failed while being cut leave a split without positives or negatives."""
    there = {(patch["split"], patch["label"]) for patch in patches}
    for split in SPLITS:
        for label, kind in ((1, "positive"), (0, "negative")):
            if (split, label) not in there:
                raise DatasetError(f"{split}: no {kind} is left after {len(errors)} slides failed; see slides.csv")


if __name__ == "__main__":
    run_stage(NAME, PatchOptions, main)
