"""Step 3's work: the activation maps of a split, and the initial masks that follow from them."""

from collections.abc import Sequence

from tqdm import tqdm

from epsam.cam.activation import fused_activation
from epsam.cam.postprocess import initial_mask
from epsam.classifier.resnet import AdlResNet
from epsam.data.activations import Activations
from epsam.data.images import write_mask
from epsam.data.loading import load_batches
from epsam.data.patches import Patch
from epsam.device import Compute
from epsam.options import MaskOptions
from epsam.paths import RunPaths
from epsam.training.classifier import unit_images
from epsam.training.health import MaskCounts


def activations_of(model: AdlResNet, checksum: str, patches: Sequence[Patch], size: int,
                   options: MaskOptions, compute: Compute) -> Activations:
    """Rotated and fused maps (paper Eq. 3) and tumour probabilities of patches of size × size px."""
    found = Activations(checksum, {}, {})
    bar = tqdm(total=len(patches), desc="activation maps", disable=None, leave=False)
    for batch in load_batches(patches, size, options.batch_size, workers=0):
        with compute.autocast():
            probabilities, maps = fused_activation(model, unit_images(batch, compute), options.rotations)
        for name, probability, cam_map in zip(batch.names, probabilities.tolist(), maps.cpu().numpy(), strict=True):
            found.maps[name] = cam_map.astype("float32")
            found.probabilities[name] = probability
        bar.update(len(batch.names))
    return found


def write_initial_masks(run: RunPaths, split: str, activations: Activations, size: int,
                        options: MaskOptions) -> MaskCounts:
    """Write `masks/initial/<split>/<name>.png` for every map, and count them."""
    counts = MaskCounts()
    for name, cam_map in activations.maps.items():
        mask = initial_mask(cam_map, size, size, options.quantile, options.open_kernel, options.open_at)
        write_mask(run.initial_masks(split) / f"{name}.png", mask)
        counts.add(mask)
    return counts
