"""Where a correction would help most, as a table: patches of a run, or places in slides."""

import logging
import sys
from pathlib import Path

from epsam.config.command_line import folder_to_flag, run_stage
from epsam.config.next_slides import NextSlidesOptions
from epsam.core.errors import DatasetError
from epsam.core.files import write_table
from epsam.paths import RunPaths
from epsam.view.catalogue import read_catalogue
from epsam.view.next_corrections import NEXT_COLUMNS, next_patches, next_places, table_rows
from epsam.view.run_patches import TrainingRun

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
"""train.sh and infer.sh work in this folder, so relative paths in their records begin here."""


def main(options: NextSlidesOptions) -> None:
    """Write the table, and log its first rows.

    Raises DatasetError if there is nothing to rank.
    """
    if not options.folder:
        raise DatasetError("no folder; give a run: python src/next_slides.py checkpoints/demo")
    folder, corrections = Path(options.folder), Path(options.corrections)
    if RunPaths(folder).options.is_file():
        places = next_patches(TrainingRun(folder, ROOT), corrections)
    else:
        places = next_places(read_catalogue(folder, options.slides, ROOT), corrections)
    if not places:
        raise DatasetError(
            f"{folder}: nothing to rank; a run needs rounds or a scored classifier, results need "
            "slides, and what was reviewed already is left out"
        )
    rows = table_rows(places, options.count)
    table = Path(options.output) if options.output else corrections / "next_slides.csv"
    write_table(table, NEXT_COLUMNS, rows)
    for row in rows:
        log.info("%3s  %s  %s (%s)", row["rank"], row["image"], row["score"], row["by"])
    log.info("table: %s; the page of ./view.sh %s has the same order", table, folder)


if __name__ == "__main__":
    sys.argv[1:] = folder_to_flag(sys.argv[1:])
    run_stage("next_slides", NextSlidesOptions, main)
