"""Measuring and cutting that were broken off go on with the next slide: what is done is kept in the staging folder."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from epsam.errors import DatasetError
from epsam.files import read_json, sha256_of, write_json
from epsam.options import PatchOptions
from epsam.slides.cutting import Cut, cut
from epsam.slides.handover import OF_NO_EFFECT
from epsam.slides.inventory import SlideRecord
from epsam.slides.measured import load_measured, save_measured
from epsam.slides.windows import Measured, measure

log = logging.getLogger(__name__)


def fingerprint(records: Sequence[SlideRecord], options: PatchOptions) -> str:
    """Tells whether half-done work belongs to these options, slides (by size and time) and outlines (by content)."""
    settings = {name: value for name, value in asdict(options).items() if name not in OF_NO_EFFECT}
    lines = [json.dumps(settings, sort_keys=True)]
    for record in records:
        stat = record.path.stat() if record.path else None
        lines.append(repr((record.name, record.split, record.status, record.negatives, stat and stat.st_size,
                           stat and stat.st_mtime_ns, record.outlines and sha256_of(record.outlines))))
    return hashlib.sha256("\n".join(lines).encode("utf-8")).hexdigest()


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
