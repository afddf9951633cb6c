"""Scored slides on disk: scoring resumes with the next slide, and --merge reads all shards."""

import json
import logging
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from epsam.config.keys import part_key
from epsam.config.patches import PatchOptions
from epsam.core.artifact import Artifact, Record
from epsam.core.errors import DatasetError
from epsam.core.files import sha256_of
from epsam.core.parallel import parallel_map
from epsam.core.shards import Shard
from epsam.extraction.candidates import CandidateTiles, ScoredSlide, score_tiles
from epsam.extraction.discovery import INCLUDED, SlideRecord
from epsam.paths import DatasetPaths

log = logging.getLogger(__name__)

_STORED_ARRAYS = {
    "left_px0": "left_px0",
    "top_px0": "top_px0",
    "tumour": "tumour_fraction",
    "tissue": "tissue_fraction",
}
"""Name in the file → field of `CandidateTiles`. Names in the file never change: older ones stay
readable.
"""


def candidate_folder(paths: DatasetPaths) -> Path:
    """The folder in which shards leave their scored slides until the merge has read them."""
    return paths.root / ".measured"


def score_all_slides(
    records: Sequence[SlideRecord], options: PatchOptions, staging: Path, shard_folder: Path
) -> list[ScoredSlide]:
    """Score every tile of all included slides, or with --merge load what the shards scored.

    Thumbnails and, for resuming, scored slides go into `staging`.
    """
    included = [record for record in records if record.status == INCLUDED]
    if options.merge:
        return load_all_candidates(shard_folder, included, options, staging / "thumbnails")
    score = partial(
        score_or_load,
        options=options,
        cache=staging / "measured",
        thumbnails=staging / "thumbnails",
    )
    return list(parallel_map(score, included, options.workers, "scoring tiles"))


def score_shard(records: Sequence[SlideRecord], options: PatchOptions, cache: Path) -> None:
    """Score those included slides of one shard that `cache` does not hold yet.

    --merge then selects among all slides, once all shards are done.
    """
    shard = Shard.parse(options.shard)
    in_shard, pending = [], []
    for record in records:
        if record.status != INCLUDED or not shard.holds(record.name):
            continue
        in_shard.append(record)
        cached = load_candidates(cache, record, options)
        if cached is None or cached.error:
            pending.append(record)

    score = partial(score_or_load, options=options, cache=cache, thumbnails=cache)
    for slide in parallel_map(score, pending, options.workers, "scoring tiles"):
        if slide.error:
            log.info("  failed %s: %s", slide.record.name, slide.error)
    log.info(
        "shard %s: %d slides scored, %d before; --merge makes the patches once all shards are done",
        options.shard,
        len(pending),
        len(in_shard) - len(pending),
    )


def score_or_load(
    record: SlideRecord, options: PatchOptions, cache: Path, thumbnails: Path
) -> ScoredSlide:
    """Score a slide, or load it from `cache`; a slide that failed is tried again."""
    cached = load_candidates(cache, record, options)
    if cached is not None and not cached.error:
        return cached
    # An error may have been of the disk or the network; a damaged slide fails quickly again.
    slide = score_tiles(record, options, thumbnails)
    save_candidates(cache, slide, options)
    return slide


def save_candidates(folder: Path, slide: ScoredSlide, options: PatchOptions) -> None:
    """Save a scored slide, or its error, whole or not at all."""
    artifact = _artifact(folder, slide.record, options)
    metadata = {
        "windows": slide.n_tiles,
        "mpp": slide.patch_mpp,
        "notes": slide.notes,
        "error": slide.error,
        **artifact.key.record(),
    }
    arrays = {}
    if not slide.error:
        for kind, tiles in (("positives", slide.positives), ("negatives", slide.negatives)):
            metadata[kind] = tiles.side_px0
            for stored_name, field_name in _STORED_ARRAYS.items():
                arrays[f"{kind}_{stored_name}"] = getattr(tiles, field_name)
    with artifact.replace() as replacement:
        np.savez_compressed(replacement.path, facts=np.array(json.dumps(metadata)), **arrays)


def load_candidates(folder: Path, record: SlideRecord, options: PatchOptions) -> ScoredSlide | None:
    """Load a scored slide.

    None if there is none, if it is damaged, or if it was scored with other options or files.
    """
    artifact = _artifact(folder, record, options)
    if not artifact.is_current():
        return None
    try:
        with np.load(artifact.path, allow_pickle=False) as content:
            metadata = json.loads(str(content["facts"]))
            return ScoredSlide(
                record,
                positives=_load_tiles(content, metadata, "positives"),
                negatives=_load_tiles(content, metadata, "negatives"),
                n_tiles=metadata["windows"],
                patch_mpp=metadata["mpp"],
                notes=tuple(metadata["notes"]),
                error=metadata["error"],
            )
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        # A damaged file costs one more scoring and nothing else.
        return None


def _load_tiles(
    content: Mapping[str, Any], metadata: Mapping[str, Any], kind: str
) -> CandidateTiles:
    # The file of a slide that failed has no tiles.
    if kind not in metadata:
        return CandidateTiles.none()
    arrays = {}
    for stored_name, field_name in _STORED_ARRAYS.items():
        arrays[field_name] = content[f"{kind}_{stored_name}"]
    return CandidateTiles(**arrays, side_px0=metadata[kind])


def load_all_candidates(
    folder: Path, records: Sequence[SlideRecord], options: PatchOptions, thumbnails: Path
) -> list[ScoredSlide]:
    """Load all that the shards scored, and copy their thumbnails to where scoring would write them.

    Raises DatasetError if a slide is missing.
    """
    slides, missing = [], []
    for record in records:
        slide = load_candidates(folder, record, options)
        if slide is None:
            missing.append(record.name)
        else:
            slides.append(slide)
    if missing:
        raise DatasetError(
            f"{len(missing)} of {len(records)} slides are not scored with these options, such as "
            f"{', '.join(missing[:5])}; run every --shard first"
        )
    for record in records:
        thumbnail = folder / f"{record.name}.png"
        # A slide that failed early has none.
        if thumbnail.is_file():
            shutil.copyfile(thumbnail, thumbnails / thumbnail.name)
    return slides


def _artifact(folder: Path, record: SlideRecord, options: PatchOptions) -> Artifact:
    """The file of a scored slide, which holds its own completion record."""
    inputs = {
        # Reading a whole slide would take as long as scoring it.
        "slide": str(record.path.stat().st_size if record.path else 0),
        "annotations": sha256_of(record.annotations) if record.annotations else "",
        "unannotated_is_normal": str(record.unannotated_is_normal),
        "label": str(record.is_normal),
    }
    key = part_key(options, "candidates", inputs)
    return Artifact(folder / f"{record.name}.npz", key, read=_read_metadata)


def _read_metadata(path: Path) -> Record:
    try:
        with np.load(path, allow_pickle=False) as content:
            metadata: Record = json.loads(str(content["facts"]))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path}: not readable ({error}); its slide is scored again") from error
    return metadata
