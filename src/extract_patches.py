"""Step 1: slides and outlines → patches, truth masks, patches.csv and slides.csv."""

import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from epsam.config.command_line import run_stage
from epsam.config.common import SPLITS
from epsam.config.flags import stored_options
from epsam.config.patches import PatchOptions
from epsam.core.errors import DatasetError, EpsamError, SlideError
from epsam.core.files import digest_of_files, digest_of_names_and_sizes, write_table
from epsam.core.locking import exclusive_lock
from epsam.core.parallel import parallel_map
from epsam.core.records import add_to_record
from epsam.core.shards import Shard
from epsam.extraction.assign_splits import load_and_log_slides
from epsam.extraction.candidate_cache import candidate_folder, load_all_candidates, load_candidates
from epsam.extraction.candidates import ScoredSlide
from epsam.extraction.discovery import FAILED, USED, SlideRecord
from epsam.extraction.progress import extract_once, score_once
from epsam.extraction.publish import are_patches_current, publish_patches, staging_folder
from epsam.extraction.selection import select_tiles
from epsam.extraction.slide_table import slide_table_rows
from epsam.extraction.staleness import provenance
from epsam.extraction.write_patches import TileSelection
from epsam.paths import DatasetPaths
from epsam.tables import PATCH_COLUMNS, SLIDE_COLUMNS

log = logging.getLogger(__name__)

NAME = "extract_patches"
TABLES = Path(__file__).resolve().parents[1] / "dataset"


def main(options: PatchOptions) -> None:
    """Measure all windows from the outlines, choose per split, and decode only what was chosen."""
    started = time.monotonic()
    check_options(options)
    paths = DatasetPaths.of(options)
    if are_patches_current(paths, TABLES, options):
        return
    records = load_and_log_slides(paths, TABLES, options)
    if options.shard:
        measure_shard(records, options, candidate_folder(paths))
        return
    with exclusive_lock(paths.root, "work on another dataset meanwhile"):
        # Another run may have made them since the first look.
        if not are_patches_current(paths, TABLES, options):
            make_patches(records, paths, options)
            add_to_record(
                paths.record,
                NAME,
                stored_options(options),
                time.monotonic() - started,
                inputs_of(records),
            )


def make_patches(
    records: Sequence[SlideRecord], paths: DatasetPaths, options: PatchOptions
) -> None:
    """Make the patches of all splits, whole or not at all, and the tables beside them."""
    errors = {record.name: record.reason for record in records if record.status == FAILED}
    measured: list[ScoredSlide] = []
    patches: list[dict[str, object]] = []
    made = provenance(records, options)
    with staging_folder(paths, made, options.restart) as folder:
        try:
            measured += measure_all(records, options, folder, candidate_folder(paths))
            errors |= failures({found.record.name: found.error for found in measured})
            check_failures(errors, measured, options)
            for task, (rows, error) in cut_all(select_tiles(measured, options), options, folder):
                patches += rows
                errors |= failures({task.record.name: error})
            check_failures(errors, measured, options)
            check_patches(patches, errors)
        except EpsamError:
            # The message sends the user there; after a full disk or Ctrl-C it still has to tell of
            # the old patches.
            write_table(
                paths.slide_table,
                SLIDE_COLUMNS,
                slide_table_rows(records, measured, patches, errors),
            )
            raise
        write_table(
            folder / paths.slide_table.name,
            SLIDE_COLUMNS,
            slide_table_rows(records, measured, patches, errors),
        )
        write_table(folder / paths.patch_table.name, PATCH_COLUMNS, patches)
        publish_patches(folder, paths, made)
    shutil.rmtree(candidate_folder(paths), ignore_errors=True)
    log.info(
        "%d patches of %d slides in %s",
        len(patches),
        len({patch["slide"] for patch in patches}),
        paths.root,
    )


def inputs_of(records: Sequence[SlideRecord]) -> dict[str, str]:
    """Digests of the slides by name and size, since all their bytes would take longer than the
    stage, and of outlines by content.
    """
    used = [record for record in records if record.status == USED]
    return {
        "slides": digest_of_names_and_sizes(record.path for record in used if record.path),
        "outlines": digest_of_files(record.annotations for record in used if record.annotations),
    }


def measure_shard(records: Sequence[SlideRecord], options: PatchOptions, kept: Path) -> None:
    """Measure the used slides of one shard that are not kept yet; --merge then chooses patches
    among all slides.
    """
    shard = Shard.parse(options.shard)
    used = [record for record in records if record.status == USED and shard.holds(record.name)]
    waiting = [
        record
        for record in used
        if (had := load_candidates(kept, record, options)) is None or had.error
    ]
    work = partial(score_once, options=options, kept=kept, thumbnails=kept)
    for measured in parallel_map(work, waiting, options.workers, "measuring slides"):
        failures({measured.record.name: measured.error})
    log.info(
        "shard %s: %d slides measured, %d before; --merge makes the patches once all shards are done",
        options.shard,
        len(waiting),
        len(used) - len(waiting),
    )


def measure_all(
    records: Sequence[SlideRecord], options: PatchOptions, folder: Path, kept: Path
) -> list[ScoredSlide]:
    """Every window of every used slide, measured now or by the shards that left it in `kept`."""
    used = [record for record in records if record.status == USED]
    if options.merge:
        return load_all_candidates(kept, used, options, folder / "thumbnails")
    work = partial(
        score_once, options=options, kept=folder / "measured", thumbnails=folder / "thumbnails"
    )
    return list(parallel_map(work, used, options.workers, "measuring slides"))


def cut_all(
    tasks: list[TileSelection], options: PatchOptions, folder: Path
) -> list[tuple[TileSelection, tuple[list[dict[str, object]], str]]]:
    """The chosen windows cut out, with the rows of patches.csv or the error of each slide."""
    work = partial(extract_once, options=options, folder=folder)
    return list(
        zip(tasks, parallel_map(work, tasks, options.workers, "cutting patches"), strict=True)
    )


def failures(errors: Mapping[str, str]) -> dict[str, str]:
    """The slides that failed, each told in the log."""
    found = {slide: error for slide, error in errors.items() if error}
    for slide, error in found.items():
        log.info("  failed %s: %s", slide, error)
    return found


def check_options(options: PatchOptions) -> None:
    """Raise DatasetError on settings that can give no patch."""
    if options.max_tumour <= options.min_tumour:
        raise DatasetError(
            f"--max_tumour {options.max_tumour:g}: not above --min_tumour {options.min_tumour:g}, "
            "so that no patch could be positive; raise it"
        )


def check_failures(
    errors: Mapping[str, str], measured: Sequence[ScoredSlide], options: PatchOptions
) -> None:
    """Raise SlideError if nothing usable is left, or if anything failed and the run is strict."""
    if errors and options.strict:
        raise SlideError(
            f"{len(errors)} slides failed ({', '.join(sorted(errors)[:5])}); see slides.csv "
            "or pass --no-strict"
        )
    if all(found.error for found in measured):
        first = f", first {next(iter(errors.values()))}" if errors else ""
        raise SlideError(f"no usable slide: {len(errors)} failed{first}; see slides.csv")


def check_patches(patches: Sequence[Mapping[str, Any]], errors: Mapping[str, str]) -> None:
    """Raise if slides that failed while being cut leave a split without positives or negatives."""
    there = {(patch["split"], patch["label"]) for patch in patches}
    for split in SPLITS:
        for label, kind in ((1, "positive"), (0, "negative")):
            if (split, label) not in there:
                raise DatasetError(
                    f"{split}: no {kind} is left after {len(errors)} slides failed; see slides.csv"
                )


if __name__ == "__main__":
    run_stage(NAME, PatchOptions, main)
