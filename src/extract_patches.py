"""Step 1: slides and annotations → patches, ground-truth masks, patches.csv and slides.csv."""

import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from epsam.config.command_line import run_stage
from epsam.config.flags import stored_options
from epsam.config.patches import PatchOptions
from epsam.core.errors import EpsamError
from epsam.core.files import write_table
from epsam.core.locking import exclusive_lock
from epsam.core.records import add_to_record
from epsam.extraction.candidate_cache import candidate_folder, score_all_slides, score_shard
from epsam.extraction.dataset_slides import load_slides, log_slides
from epsam.extraction.discovery import SlideRecord
from epsam.extraction.patch_store import (
    are_patches_current,
    digest_inputs,
    patch_key,
    publish_patches,
    staging_folder,
)
from epsam.extraction.replace_patches import require_replaceable_patches
from epsam.extraction.selection import (
    check_tumour_range,
    require_one_magnification,
    select_tiles,
)
from epsam.extraction.slide_outcomes import SlideOutcomes
from epsam.extraction.write_patches import write_all_patches
from epsam.paths import DatasetPaths
from epsam.tables import PATCH_COLUMNS

log = logging.getLogger(__name__)

NAME = "extract_patches"
TABLES = Path(__file__).resolve().parents[1] / "dataset"


def main(options: PatchOptions) -> None:
    """Discover the slides and assign their splits, then score one shard or extract all patches."""
    started = time.monotonic()
    check_tumour_range(options)
    paths = DatasetPaths.of(options)
    if are_patches_current(paths, TABLES, options):
        return
    require_replaceable_patches(paths, TABLES, options)

    dataset = load_slides(paths, TABLES, options)
    log_slides(dataset)
    if options.shard:
        score_shard(dataset.records, options, candidate_folder(paths))
        return

    with exclusive_lock(paths.root, "work on another dataset meanwhile"):
        # Another run may have written them since the first look.
        if are_patches_current(paths, TABLES, options):
            return
        extract_patches(dataset.records, paths, options)
        seconds = time.monotonic() - started
        inputs = digest_inputs(dataset.records)
        add_to_record(paths.record, NAME, stored_options(options), seconds, inputs)


def extract_patches(
    records: Sequence[SlideRecord], paths: DatasetPaths, options: PatchOptions
) -> None:
    """Score candidate tiles, select among them, write the patches, and publish them all at once."""
    outcomes = SlideOutcomes(records)
    key = patch_key(records, options)
    with staging_folder(paths, key, options.restart) as staging:
        try:
            scored = score_all_slides(records, options, staging, candidate_folder(paths))
            outcomes.add_scored(scored)
            outcomes.check_failures(options.strict)

            require_one_magnification(scored)
            selections = select_tiles(scored, options)
            for written in write_all_patches(selections, options, staging):
                outcomes.add_written(written)
            outcomes.check_failures(options.strict)
            outcomes.check_both_classes()
        except EpsamError:
            # The message sends the user to slides.csv. Only here: after a full disk or Ctrl-C it
            # still has to describe the old patches.
            outcomes.write_slide_table(paths.slide_table)
            raise

        outcomes.write_slide_table(staging / paths.slide_table.name)
        write_table(staging / paths.patch_table.name, PATCH_COLUMNS, outcomes.patches)
        publish_patches(staging, paths, key)

    shutil.rmtree(candidate_folder(paths), ignore_errors=True)
    n_slides = len({patch["slide"] for patch in outcomes.patches})
    log.info("%d patches of %d slides in %s", len(outcomes.patches), n_slides, paths.root)


if __name__ == "__main__":
    run_stage(NAME, PatchOptions, main)
