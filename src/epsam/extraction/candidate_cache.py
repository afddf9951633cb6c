"""Measured slides on disk: so that measuring goes on where it was broken off, and shards hand over
to the merge.
"""

import json
import shutil
import zipfile
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np

from epsam.config.patches import PatchOptions
from epsam.core.errors import DatasetError
from epsam.core.files import whole_file
from epsam.extraction.candidates import CandidateTiles, ScoredSlide
from epsam.extraction.discovery import SlideRecord
from epsam.paths import DatasetPaths

_MEASURING = ("patch_size", "stride", "mpp", "slide_mpp", "min_tumour", "max_tumour", "min_tissue")
_ARRAYS = ("left_px0", "top_px0", "tumour", "tissue")


def candidate_folder(paths: DatasetPaths) -> Path:
    """Where shards leave what they measured, until the merge has used it."""
    return paths.root / ".measured"


def save_candidates(folder: Path, found: ScoredSlide, options: PatchOptions) -> None:
    """Keep a measured slide, its error too, whole or not at all."""
    facts = {
        "windows": found.windows,
        "mpp": found.mpp,
        "notes": found.notes,
        "error": found.error,
        "fingerprint": _fingerprint(found.record, options),
    }
    arrays = {}
    for kind, windows in (("positives", found.positives), ("negatives", found.negatives)):
        if windows is not None:
            facts[kind] = windows.side_px0
            arrays.update({f"{kind}_{name}": getattr(windows, name) for name in _ARRAYS})
    with whole_file(_file(folder, found.record)) as temporary:
        np.savez_compressed(temporary, facts=np.array(json.dumps(facts)), **arrays)


def load_candidates(folder: Path, record: SlideRecord, options: PatchOptions) -> ScoredSlide | None:
    """What was kept of a slide; None if there is nothing, it is damaged, or it came from other
    options or files.
    """
    try:
        with np.load(_file(folder, record), allow_pickle=False) as content:
            facts = json.loads(str(content["facts"]))
            if facts["fingerprint"] != _fingerprint(record, options):
                return None
            kinds = [
                CandidateTiles(
                    **{name: content[f"{kind}_{name}"] for name in _ARRAYS}, side_px0=facts[kind]
                )
                if kind in facts
                else None
                for kind in ("positives", "negatives")
            ]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    return ScoredSlide(
        record,
        kinds[0],
        kinds[1],
        facts["windows"],
        facts["mpp"],
        tuple(facts["notes"]),
        facts["error"],
    )


def load_all_candidates(
    folder: Path, records: Sequence[SlideRecord], options: PatchOptions, thumbnails: Path
) -> list[ScoredSlide]:
    """All that the shards measured, with thumbnails brought to where a measurement would leave
    them.

    Raises DatasetError if a slide lacks.
    """
    found = [load_candidates(folder, record, options) for record in records]
    missing = [
        record.name for record, measured in zip(records, found, strict=True) if measured is None
    ]
    if missing:
        raise DatasetError(
            f"{len(missing)} of {len(records)} slides are not measured with these options, such as "
            f"{', '.join(missing[:5])}; run every --shard first"
        )
    for picture in (folder / f"{record.name}.png" for record in records):
        if picture.is_file():
            shutil.copyfile(picture, thumbnails / picture.name)
    return [measured for measured in found if measured is not None]


def _file(folder: Path, record: SlideRecord) -> Path:
    return folder / f"{record.name}.npz"


def _fingerprint(record: SlideRecord, options: PatchOptions) -> str:
    size = record.path.stat().st_size if record.path else 0
    outlines = sha256(record.annotations.read_bytes()).hexdigest() if record.annotations else ""
    settings = [f"{name}={getattr(options, name)}" for name in _MEASURING]
    return sha256(
        "\n".join([*settings, str(size), outlines, str(record.unannotated_is_normal)]).encode()
    ).hexdigest()
