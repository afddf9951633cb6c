"""Measuring and cutting that were broken off go on with the next slide: what is done is kept in the staging folder."""

import logging
from pathlib import Path

from epsam.errors import DatasetError
from epsam.files import read_json, write_json
from epsam.options import PatchOptions
from epsam.slides.cutting import Cut, cut
from epsam.slides.inventory import SlideRecord
from epsam.slides.measured import load_measured, save_measured
from epsam.slides.windows import Measured, measure

log = logging.getLogger(__name__)


def measure_once(record: SlideRecord, options: PatchOptions, kept: Path, thumbnails: Path) -> Measured:
    """`measure`, or what it gave before and left in `kept`. A slide that failed is tried again."""
    found = load_measured(kept, record, options)
    if found is None or found.error:
        found = measure(record, options, thumbnails)
        save_measured(kept, found, options)
    return found


def cut_once(task: Cut, options: PatchOptions, folder: Path) -> tuple[list[dict[str, object]], str]:
    """`cut` into `folder`, or the rows that it gave before. A slide that failed is tried again."""
    kept = folder / "cut" / f"{task.record.name}.json"
    if kept.is_file():
        try:
            return read_json(kept)["rows"], ""
        except (DatasetError, LookupError):
            log.warning("%s is damaged; the slide is cut again", kept)
    rows, error = cut(task, options, folder)
    if not error:
        write_json(kept, {"rows": rows})
    return rows, error
