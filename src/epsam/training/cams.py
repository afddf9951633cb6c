"""The class activation maps (CAMs) of a split, and the initial masks made from them."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from epsam.cam.postprocess import cam_to_mask
from epsam.cam.protocol import StagedRefiner
from epsam.cam.refiner import compute_refined_maps
from epsam.config.flags import options_added_since
from epsam.config.keys import part_key
from epsam.config.masks import MaskRule
from epsam.core.artifact import Key
from epsam.core.device import DeviceConfig
from epsam.core.distributed import gather_objects, gather_parts, part_of_process
from epsam.core.errors import DatasetError
from epsam.core.progress import track
from epsam.data.batches import load_listed_batches
from epsam.data.cam_store import CamStore, load_cams
from epsam.data.images import write_mask
from epsam.data.patches import Patch, read_square
from epsam.engine.sanity import MaskCounts
from epsam.paths import RunPaths
from epsam.training.classifier import scale_images
from epsam.training.round_data import CLASSIFIER_FILE


def describe_external_classifier(path: Path, checksum: str) -> dict[str, str]:
    """The fields of the mask rule for a classifier that is not the run's own."""
    return {"classifier_sha256": checksum, CLASSIFIER_FILE: str(path.resolve())}


def compute_cams(
    model: Any,
    checksum: str,
    patches: Sequence[Patch],
    size: int,
    rule: MaskRule,
    batch_size: int,
    device_config: DeviceConfig,
    batches: Sequence[Sequence[int]] | None = None,
) -> CamStore:
    """Refined CAMs (paper Eq. 3) and tumour probabilities of patches of size × size px, which
    processes share; all of them get all CAMs.

    model: a `WeakModel`. checksum: SHA-256 of the classifier's file. batches: of the patches, by
    their indices, those to compute; None: all, `batch_size` at a time.
    """
    part = part_of_process(batches or split_batches(patches, batch_size))
    rows_of_batches = []
    loaded = load_listed_batches(patches, size, part, workers=0)
    for batch in track(loaded, "class activation maps", len(part), unit="batch"):
        with device_config.autocast():
            images = scale_images(batch, device_config)
            probabilities, maps = compute_refined_maps(model, images, rule)
        rows = zip(batch.names, probabilities.tolist(), maps.cpu().numpy(), strict=True)
        rows_of_batches.append(list(rows))

    cams = CamStore(checksum, {}, {})
    for rows_of_batch in gather_parts(rows_of_batches):
        for name, probability, cam_map in rows_of_batch:
            cams.maps[name] = cam_map.astype("float32")
            cams.probabilities[name] = probability
    return cams


def load_with_cams(
    cams: CamStore,
    patches: Sequence[Patch],
    size: int,
    batch_size: int,
    device_config: DeviceConfig,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Images (B, 3, size, size) in 0..1 of patches, and their stored CAMs (B, h, w), by batches."""
    for batch in load_listed_batches(patches, size, split_batches(patches, batch_size), workers=0):
        stored = torch.from_numpy(np.stack([cams.maps[name] for name in batch.names]))
        yield scale_images(batch, device_config), stored.to(device_config.device)


def improve_cams(
    cams: CamStore,
    refiner: StagedRefiner,
    patches: Sequence[Patch],
    size: int,
    batch_size: int,
    device_config: DeviceConfig,
    batches: Sequence[Sequence[int]] | None = None,
) -> CamStore:
    """The CAMs of patches of size × size px by the refiner, from those by its base rule.

    batches: as in `compute_cams`.
    """
    part = part_of_process(batches or split_batches(patches, batch_size))
    rows_of_batches = []
    loaded = load_listed_batches(patches, size, part, workers=0)
    for batch in track(loaded, "refined maps", len(part), unit="batch"):
        stored = torch.from_numpy(np.stack([cams.maps[name] for name in batch.names]))
        images = scale_images(batch, device_config)
        with device_config.autocast():
            maps = refiner.improve(images, stored.to(device_config.device))
        rows_of_batches.append(list(zip(batch.names, maps.float().cpu().numpy(), strict=True)))

    improved = CamStore(cams.classifier_sha256, {}, cams.probabilities)
    for rows in gather_parts(rows_of_batches):
        improved.maps.update(rows)
    return improved


def split_batches(patches: Sequence[Patch], batch_size: int) -> list[range]:
    """The patches' indices in batches. Processes share whole batches, so that rounding is that of
    one process.
    """
    indices = range(len(patches))
    return [indices[start : start + batch_size] for start in range(0, len(patches), batch_size)]


def cam_key(method: str, rule: MaskRule, classifier_sha256: str, patches_digest: str) -> Key:
    """All that decides the CAMs of a split; its digest is the recipe of `CamStore`.

    method: the CAM method of the rule, or of the classifier if the rule leaves it open.
    """
    inputs = {"classifier": classifier_sha256, "patches": patches_digest}
    # The rule alone, without what else a stage's options hold.
    key = part_key(rule, "cams", inputs, MaskRule)
    options = {**key.options, "cam": method}
    # Decoders are keyed by the files of the CAMs, so the recipe in them has to stay as it was:
    # without options that are younger than it, as long as these have their defaults.
    parts = dict(options)
    for name in options_added_since(MaskRule):
        if name in parts and parts[name] == key.defaults[name]:
            del parts[name]
    recipe = json.dumps([*parts.values(), *inputs.values()])
    old_format = hashlib.sha256(recipe.encode("utf-8")).hexdigest()
    return dataclasses.replace(key, options=options, old_format=old_format)


def load_current_cams(path: Path, key: Key) -> CamStore | None:
    """The stored CAMs if they were computed with this key, else None."""
    try:
        cams = load_cams(path, key.inputs["classifier"])
    except DatasetError:
        return None
    return None if key.why_stale({"fingerprint": cams.recipe}) else cams


def write_initial_masks(
    run: RunPaths,
    split: str,
    cams: CamStore,
    patches: Sequence[Patch],
    size: int,
    rule: MaskRule,
) -> MaskCounts:
    """Write `masks/initial/<split>/<name>.png` for every patch; return the counts of masks."""
    counts = MaskCounts()
    part = part_of_process(patches)
    for patch in track(part, "initial masks", len(part)):
        image, probability = read_square(patch, size), cams.probabilities[patch.name]
        mask = cam_to_mask(cams.maps[patch.name], image, rule, probability)
        write_mask(run.initial_masks(split) / f"{patch.name}.png", mask)
        counts.add(mask)

    total = MaskCounts()
    for counts_of_process in gather_objects(counts):
        total.include(counts_of_process)
    return total
