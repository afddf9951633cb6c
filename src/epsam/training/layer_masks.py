"""Masks of several layers of a classifier that has them (`epsam.wsss_tissue`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from epsam.core.device import DeviceConfig
from epsam.core.distributed import part_of_process, wait_for_all
from epsam.core.progress import track
from epsam.data.batches import load_batches
from epsam.data.images import write_mask
from epsam.data.patches import Patch
from epsam.paths import LAYERS, RunPaths
from epsam.training.classifier import scale_images


def write_layer_masks(
    run: RunPaths,
    model: Any,
    patches: Sequence[Patch],
    size: int,
    batch_size: int,
    device_config: DeviceConfig,
) -> list[Path]:
    """Write a mask of each layer for each patch with tumour, of size × size px; return the files.

    model: a weak model with `layer_masks`; others have none to write.
    """
    if not hasattr(model, "layer_masks"):
        return []
    model.eval()
    part = part_of_process(patches)
    n_batches = -(-len(part) // batch_size)
    batches = load_batches(part, size, batch_size, workers=0)
    for batch in track(batches, "masks of layers", n_batches, unit="batch"):
        masks = model.layer_masks(scale_images(batch, device_config)).cpu().numpy()
        for name, of_patch in zip(batch.names, masks, strict=True):
            for number, mask in zip(LAYERS, of_patch, strict=True):
                write_mask(run.layer_masks(number) / f"{name}.png", mask)
    wait_for_all()

    paths = []
    for patch in patches:
        paths += [run.layer_masks(number) / f"{patch.name}.png" for number in LAYERS]
    return paths
