"""The class activation maps of a run, of all patches or of those of one shard (--shard)."""

import dataclasses
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from epsam.cam.rotation import trained_cam
from epsam.config.masks import MaskOptions
from epsam.core.device import DeviceConfig, select_device
from epsam.core.distributed import is_main_process
from epsam.core.shards import Shard
from epsam.data.cam_store import CamStore
from epsam.data.patches import Patch
from epsam.paths import RunPaths
from epsam.training.cam_files import CamFiles
from epsam.training.sam_setup import find_embedding_cache
from epsam.weak.registry import load_weak_model

log = logging.getLogger(__name__)


def fit_refiner(
    run: RunPaths,
    model: Any,
    checksum: str,
    train_patches: Sequence[Patch],
    size: int,
    options: MaskOptions,
    device_config: DeviceConfig,
) -> MaskOptions:
    """The options with what the map refiner fits to the maps of the training patches, if it fits
    anything.

    checksum: SHA-256 of the classifier's file.
    """
    files = open_cam_files(run, model, checksum, size, options, device_config)
    fitted = files.fit_refiner(train_patches)
    for name, values in fitted.items():
        log.info("--refine %s: %s fitted to %s", options.refine, name, values)
    return dataclasses.replace(options, **fitted)


def update_cams(
    run: RunPaths,
    model: Any,
    checksum: str,
    patches: Mapping[str, Sequence[Patch]],
    size: int,
    options: MaskOptions,
    device_config: DeviceConfig,
) -> dict[str, CamStore]:
    """The class activation maps of each split, by split: stored ones where they are current.

    checksum: SHA-256 of the classifier's file.
    """
    files = open_cam_files(run, model, checksum, size, options, device_config)
    return {split: files.update(split, split_patches) for split, split_patches in patches.items()}


def compute_cam_shard(
    run: RunPaths,
    classifier: Path,
    checksum: str,
    patches: Mapping[str, Sequence[Patch]],
    size: int,
    options: MaskOptions,
) -> None:
    """Compute the maps of one shard of the patches, and leave the rest to the stage without
    --shard.
    """
    shard = Shard.parse(options.shard)
    device_config = select_device(options.device, options.precision)
    model = load_weak_model(classifier, device_config)
    files = open_cam_files(run, model, checksum, size, options, device_config)
    computed = stored = 0
    for split_patches in patches.values():
        counts = files.compute_shard(split_patches, shard)
        computed += counts[0]
        stored += counts[1]
    log.info(
        "shard %s: %d parts of class activation maps computed, %d before; the stage without "
        "--shard puts them together",
        options.shard,
        computed,
        stored,
    )


def remove_shards(run: RunPaths) -> None:
    """Remove the maps of the shards, which are in the run's own files by now."""
    if is_main_process():
        shutil.rmtree(run.cam_shards, ignore_errors=True)


def open_cam_files(
    run: RunPaths,
    model: Any,
    checksum: str,
    size: int,
    options: MaskOptions,
    device_config: DeviceConfig,
) -> CamFiles:
    """What makes the run's class activation maps by the options."""
    method = options.cam or trained_cam(model)
    return CamFiles(
        run,
        lambda: model,
        checksum,
        method,
        options,
        size,
        options.batch_size,
        device_config,
        find_embedding_cache(options),
    )
