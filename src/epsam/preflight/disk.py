"""Is there room for what a run will write?"""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from epsam.cam.refiner_sam import uses_sam
from epsam.config.decoder import DecoderOptions
from epsam.config.masks import MaskOptions
from epsam.config.patches import PatchOptions
from epsam.extraction.sampling import FractionRange, limits_per_split, positive_limit
from epsam.preflight.finding import Finding, problem, warning
from epsam.segment.sam.map_sam import map_sam_name
from epsam.segment.sam.specs import SPECS, count_feature_bytes
from epsam.training.round_data import count_normal_patches

PNG_COMPRESSION = 0.75
"""This project, on the safe side: bytes of a stained patch as PNG per byte of its pixels."""

RUN_BYTES = 1_000_000_000
"""This project: a ResNet50 while it is trained (weights, best weights, Adam's two moments) and
afterwards, decoders, masks, CAMs.
"""


@dataclass(frozen=True)
class DiskNeeds:
    """Bytes still to be written: patches, SAM's embeddings (optional), and the run itself."""

    patches: int
    embeddings: int
    run: int


def count_patches_at_most(options: PatchOptions) -> dict[str, tuple[int, int]]:
    """Split → most positives and negatives that step 1 would extract; 0: the options do not say."""
    positive_range = FractionRange(options.min_tumour, options.max_tumour)
    counts = {}
    for split, limits in limits_per_split(options).items():
        counts[split] = (positive_limit(limits, positive_range), limits.negatives)
    return counts


def estimate_needs(
    counts: Mapping[str, tuple[int, int]],
    extracts_patches: bool,
    patch_options: PatchOptions,
    decoder_options: DecoderOptions | None,
    mask_options: MaskOptions | None = None,
) -> DiskNeeds:
    """Estimate the bytes that a run writes.

    `counts`: split → positives and negatives. `extracts_patches`: the patches are still to be
    written. `decoder_options`: None for a method without a decoder of SAM. `mask_options`: None for
    a method without maps.
    """
    patch_bytes = 0
    if extracts_patches:
        n_patches = sum(positives + negatives for positives, negatives in counts.values())
        raw_bytes = n_patches * patch_options.patch_size**2 * 3
        patch_bytes = int(raw_bytes * PNG_COMPRESSION)

    embedding_bytes = 0
    if decoder_options and decoder_options.embedding_cache:
        shapes = SPECS[decoder_options.sam_model_type].feature_shapes()
        bytes_per_embedding = count_feature_bytes(shapes)
        embedding_bytes = _count_embeddings(counts, decoder_options) * bytes_per_embedding
    if mask_options and mask_options.embedding_cache and uses_sam(mask_options):
        name = map_sam_name(mask_options.map_sam, mask_options.dataset_type)
        # The decoder has the same embeddings, and more, if its SAM is the same.
        is_shared = embedding_bytes and decoder_options and decoder_options.sam_model_type == name
        if not is_shared:
            n_positives = sum(positives for positives, _ in counts.values())
            embedding_bytes += n_positives * count_feature_bytes(SPECS[name].feature_shapes())
    return DiskNeeds(patch_bytes, embedding_bytes, RUN_BYTES)


def _count_embeddings(counts: Mapping[str, tuple[int, int]], options: DecoderOptions) -> int:
    """Embeddings to store: one for each patch and each of its flips and rotations."""
    train_positives, train_negatives = counts["train"]
    scored_positives = counts["val"][0] + counts["test"][0]
    n_normal = count_normal_patches(options.normal_patches, train_positives)

    # Train patches are both trained on and turned into pseudo-labels, from the same cache.
    train_images = train_positives * max(options.embedding_transforms, options.n_transform)
    scored_images = scored_positives * options.n_transform
    normal_images = min(n_normal, train_negatives) * options.embedding_transforms
    return train_images + scored_images + normal_images


def check_disk(needs: DiskNeeds, dataset: Path, checkpoints: Path) -> Iterator[Finding]:
    """Both folders can be written to, and their disks (perhaps the same) have room."""
    existing = {
        "dataset": _nearest_existing(dataset),
        "checkpoints": _nearest_existing(checkpoints),
    }
    for name, folder in existing.items():
        if not os.access(folder, os.W_OK):
            yield problem(
                f"{folder}: no permission to write there, where {name} go; change the permissions"
            )

    devices = {os.stat(folder).st_dev for folder in existing.values()}
    if len(devices) == 1:
        required = needs.patches + needs.run
        yield from _check_room(dataset, existing["dataset"], required, needs.embeddings)
    else:
        yield from _check_room(dataset, existing["dataset"], needs.patches, needs.embeddings)
        yield from _check_room(checkpoints, existing["checkpoints"], needs.run, 0)


def _check_room(folder: Path, existing: Path, required: int, cache: int) -> Iterator[Finding]:
    """The disk has `required` bytes free and, better, those of the `cache` of embeddings, too."""
    free = shutil.disk_usage(existing).free
    if required > free:
        yield problem(
            f"{folder}: about {required / 1e9:.1f} GB will be written, {free / 1e9:.1f} GB are "
            "free; free some"
        )
    elif required + cache > free:
        yield warning(
            f"{folder}: SAM's embeddings take about {cache / 1e9:.1f} GB, "
            f"{(free - required) / 1e9:.1f} GB are left for them; without them training is slow: "
            "free some or lower --embedding_transforms"
        )


def _nearest_existing(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    nearest = folder.absolute()
    while not nearest.is_dir():
        nearest = nearest.parent
    return nearest
