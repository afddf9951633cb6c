"""Is there room for what a run will write?"""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from epsam.config.common import SPLITS
from epsam.config.decoder import DecoderOptions
from epsam.config.patches import PatchOptions
from epsam.extraction.sampling import FractionRange, PatchLimits, positive_limit
from epsam.preflight.finding import Finding, problem, warning
from epsam.segment.sam.models import PROMPT_DIM, SPECS
from epsam.training.normal_patches import count_normal_patches

PNG_SHARE = 0.75
"""Ours, on the safe side: size of a stained patch as PNG by its raw size."""
RUN_BYTES = 1_000_000_000
"""Ours: a ResNet50 in the making (weights, best weights, Adam's two sums) and made, decoders,
masks, maps.
"""
FP16_BYTES = 2


@dataclass(frozen=True)
class Needs:
    """Bytes that are still to be written: patches, SAM's embeddings (which a run can do without),
    the run itself.
    """

    patches: int
    embeddings: int
    run: int


def patch_limits(options: PatchOptions) -> dict[str, tuple[int, int]]:
    """Split → (positives, negatives) that would be cut at most; 0 where the options set no
    limit.
    """
    tumour = FractionRange(options.min_tumour, options.max_tumour)
    limits = [
        PatchLimits(*numbers)
        for numbers in zip(
            options.max_per_bin, options.max_positive, options.max_negative, strict=True
        )
    ]
    return {
        split: (positive_limit(limit, tumour), limit.negatives)
        for split, limit in zip(SPLITS, limits, strict=True)
    }


def estimate(
    counts: Mapping[str, tuple[int, int]], cut: bool, patch: PatchOptions, decoder: DecoderOptions
) -> Needs:
    """What a run writes for patches in these numbers (positives, negatives) by split; `cut`: they
    are not there yet.
    """
    number = sum(sum(pair) for pair in counts.values())
    positives = {split: pair[0] for split, pair in counts.items()}
    views, train = decoder.embedding_transforms, positives["train"]
    images = (
        train * max(views, decoder.n_transform)
        + (positives["val"] + positives["test"]) * decoder.n_transform
    )
    images += min(count_normal_patches(decoder.normal_patches, train), counts["train"][1]) * views
    each = PROMPT_DIM * SPECS[decoder.sam_model_type].grid ** 2 * FP16_BYTES
    return Needs(
        int(number * patch.patch_size**2 * 3 * PNG_SHARE) if cut else 0,
        images * each if decoder.embedding_cache else 0,
        RUN_BYTES,
    )


def check_disk(needs: Needs, dataset: Path, checkpoints: Path) -> Iterator[Finding]:
    """Both folders can be written to, and their disks, which may be the same one, have room."""
    places = {"dataset": _existing(dataset), "checkpoints": _existing(checkpoints)}
    for name, place in places.items():
        if not os.access(place, os.W_OK):
            yield problem(
                f"{place}: no permission to write there, where {name} go; change the permissions"
            )
    shared = os.stat(places["dataset"]).st_dev == os.stat(places["checkpoints"]).st_dev
    yield from _check_room(
        dataset, places["dataset"], needs.patches + needs.run * shared, needs.embeddings
    )
    if not shared:
        yield from _check_room(checkpoints, places["checkpoints"], needs.run, 0)


def _check_room(folder: Path, place: Path, needed: int, cache: int) -> Iterator[Finding]:
    free = shutil.disk_usage(place).free
    if needed > free:
        yield problem(
            f"{folder}: about {needed / 1e9:.1f} GB will be written, {free / 1e9:.1f} GB are free; free some"
        )
    elif needed + cache > free:
        yield warning(
            f"{folder}: SAM's embeddings take about {cache / 1e9:.1f} GB, {(free - needed) / 1e9:.1f} GB are "
            "left for them; without them training is slow: free some or lower --embedding_transforms"
        )


def _existing(folder: Path) -> Path:
    """The folder itself or the nearest one above it that is there."""
    return next(
        place for place in (folder.absolute(), *folder.absolute().parents) if place.is_dir()
    )
