"""Measuring and cutting that were broken off go on with the next slide: what is done is kept in the staging folder."""

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from epsam.files import read_json, sha256_of, whole_file, write_json
from epsam.options import PatchOptions
from epsam.slides.cutting import Cut, cut
from epsam.slides.handover import OF_NO_EFFECT
from epsam.slides.inventory import SlideRecord
from epsam.slides.windows import Measured, Windows, measure

_ARRAYS = ("left_px0", "top_px0", "tumour", "tissue")


def fingerprint(records: Sequence[SlideRecord], options: PatchOptions) -> str:
    """Tells whether half-done work belongs to these options, slides (by size and time) and outlines (by content)."""
    settings = {name: value for name, value in asdict(options).items() if name not in OF_NO_EFFECT}
    lines = [json.dumps(settings, sort_keys=True)]
    for record in records:
        stat = record.path.stat() if record.path else None
        lines.append(repr((record.name, record.split, record.status, record.negatives, stat and stat.st_size,
                           stat and stat.st_mtime_ns, record.outlines and sha256_of(record.outlines))))
    return hashlib.sha256("\n".join(lines).encode("utf-8")).hexdigest()


def measure_once(record: SlideRecord, options: PatchOptions, folder: Path) -> Measured:
    """`measure` with the thumbnail in `folder`, or what it gave before. A slide that failed is tried again."""
    kept = folder / "measured" / f"{record.name}.npz"
    found = _read(kept, record)
    if found is None:
        found = measure(record, options, folder / "thumbnails")
        if not found.error:
            _write(kept, found)
    return found


def cut_once(task: Cut, options: PatchOptions, folder: Path) -> tuple[list[dict[str, object]], str]:
    """`cut` into `folder`, or the rows that it gave before. A slide that failed is tried again."""
    kept = folder / "cut" / f"{task.record.name}.json"
    if kept.is_file():
        rows: list[dict[str, object]] = read_json(kept)["rows"]
        return rows, ""
    rows, error = cut(task, options, folder)
    if not error:
        write_json(kept, {"rows": rows})
    return rows, error


def _write(path: Path, found: Measured) -> None:
    arrays: dict[str, Any] = {}
    for kind in ("positives", "negatives"):
        windows: Windows = getattr(found, kind)
        arrays |= {f"{kind}_{name}": getattr(windows, name) for name in _ARRAYS}
        arrays[f"{kind}_side_px0"] = np.array(windows.side_px0)
    facts = json.dumps({"windows": found.windows, "mpp": found.mpp, "notes": found.notes})
    with whole_file(path) as temporary:
        np.savez(temporary, facts=np.array(facts), **arrays)


def _read(path: Path, record: SlideRecord) -> Measured | None:
    """None if there is nothing or it is damaged, so that the slide is measured."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            facts = json.loads(str(kept["facts"]))
            positives, negatives = (
                Windows(**{name: kept[f"{kind}_{name}"] for name in _ARRAYS}, side_px0=int(kept[f"{kind}_side_px0"]))
                for kind in ("positives", "negatives"))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    return Measured(record, positives, negatives, facts["windows"], facts["mpp"], tuple(facts["notes"]))
