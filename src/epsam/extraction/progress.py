"""Measuring and cutting that were broken off go on with the next slide: what is done is kept in the
staging folder.
"""

import logging
from pathlib import Path

from epsam.config.patches import PatchOptions
from epsam.core.errors import DatasetError
from epsam.core.files import read_json, write_json
from epsam.extraction.candidate_cache import load_candidates, save_candidates
from epsam.extraction.candidates import ScoredSlide, score_tiles
from epsam.extraction.discovery import SlideRecord
from epsam.extraction.write_patches import TileSelection, extract_tiles

log = logging.getLogger(__name__)


def score_once(
    record: SlideRecord, options: PatchOptions, kept: Path, thumbnails: Path
) -> ScoredSlide:
    """`measure`, or what it gave before and left in `kept`. A slide that failed is tried again."""
    found = load_candidates(kept, record, options)
    if found is None or found.error:
        found = score_tiles(record, options, thumbnails)
        save_candidates(kept, found, options)
    return found


def extract_once(
    task: TileSelection, options: PatchOptions, folder: Path
) -> tuple[list[dict[str, object]], str]:
    """`cut` into `folder`, or the rows that it gave before. A slide that failed is tried again."""
    kept = folder / "cut" / f"{task.record.name}.json"
    if kept.is_file():
        try:
            return read_json(kept)["rows"], ""
        except (DatasetError, LookupError):
            log.warning("%s is damaged; the slide is cut again", kept)
    rows, error = extract_tiles(task, options, folder)
    if not error:
        write_json(kept, {"rows": rows})
    return rows, error
