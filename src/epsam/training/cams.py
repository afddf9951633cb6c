"""Step 3's work: the activation maps of a split, and the initial masks that follow from them."""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from epsam.cam.postprocess import cam_to_mask
from epsam.cam.rotation import rotation_averaged_cam
from epsam.config.masks import MaskRule
from epsam.core.device import DeviceConfig
from epsam.core.errors import DatasetError
from epsam.core.files import read_json, sha256_of
from epsam.data.batches import load_batches
from epsam.data.cam_store import CamStore, load_cams
from epsam.data.images import write_mask
from epsam.data.patches import Patch, read_square
from epsam.engine.sanity import MaskCounts
from epsam.paths import RunPaths
from epsam.training.classifier import unit_images
from epsam.weak.resnet import AdlResNet

log = logging.getLogger(__name__)

CLASSIFIER_FILE = "classifier_file"
"""Where a given classifier lay on this machine; no fact for a decoder that is handed on."""


def describe_external_classifier(path: Path, checksum: str) -> dict[str, str]:
    """What the masks' rule tells of a classifier that is not the run's own."""
    return {"classifier_sha256": checksum, CLASSIFIER_FILE: str(path.resolve())}


def find_mask_classifier(run: RunPaths) -> tuple[Path, str]:
    """File and checksum of the classifier with which a run's masks have to be made: the one given
    to step 3, or else the run's own as it is now, so that masks of an earlier one are found out.
    """
    rule = read_json(run.mask_rule) if run.mask_rule.is_file() else {}
    if "classifier_sha256" in rule:
        return Path(rule[CLASSIFIER_FILE]), rule["classifier_sha256"]
    return run.classifier, sha256_of(run.classifier)


def compute_cams(
    model: AdlResNet,
    checksum: str,
    patches: Sequence[Patch],
    size: int,
    rule: MaskRule,
    batch_size: int,
    device_config: DeviceConfig,
) -> CamStore:
    """Rotated and fused maps (paper Eq. 3) and tumour probabilities of patches of size × size
    px.
    """
    found = CamStore(checksum, {}, {})
    method = rule.cam or model.spec.cam
    bar = tqdm(total=len(patches), desc="activation maps", disable=None, leave=False)
    for batch in load_batches(patches, size, batch_size, workers=0):
        with device_config.autocast():
            probabilities, maps = rotation_averaged_cam(
                model, unit_images(batch, device_config), rule.rotations, method, rule.cam_layer
            )
        for name, probability, cam_map in zip(
            batch.names, probabilities.tolist(), maps.cpu().numpy(), strict=True
        ):
            found.maps[name] = cam_map.astype("float32")
            found.probabilities[name] = probability
        bar.update(len(batch.names))
    return found


def digest_of_cam_recipe(method: str, rule: MaskRule, classifier: str, patches: str) -> str:
    """A digest of what decides a split's maps: the method, the classifier's checksum and the
    patches' digest.
    """
    material = [method, rule.cam_layer, rule.rotations, classifier, patches]
    return hashlib.sha256(json.dumps(material).encode("utf-8")).hexdigest()


def load_matching_cams(path: Path, classifier: str, recipe: str) -> CamStore | None:
    """The maps of an earlier run of the stage if they are just those that are needed now, else
    None.
    """
    try:
        found = load_cams(path, classifier)
    except DatasetError:
        return None
    return found if found.recipe == recipe else None


def write_initial_masks(
    run: RunPaths,
    split: str,
    activations: CamStore,
    patches: Sequence[Patch],
    size: int,
    rule: MaskRule,
) -> MaskCounts:
    """Write `masks/initial/<split>/<name>.png` for every patch, and count them."""
    counts = MaskCounts()
    for patch in tqdm(patches, desc="initial masks", disable=None, leave=False):
        mask = cam_to_mask(activations.maps[patch.name], read_square(patch, size), rule)
        write_mask(run.initial_masks(split) / f"{patch.name}.png", mask)
        counts.add(mask)
    return counts
