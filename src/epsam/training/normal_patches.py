"""Normal patches as exact targets (ours): the classifier's activation there is wrong, and so is all
it would prompt.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from epsam.config.masks import MaskRule
from epsam.config.metadata import merge_fields
from epsam.core.device import DeviceConfig
from epsam.core.errors import TrainingError, WeightsError
from epsam.core.files import digest_of_files, read_json, sha256_of
from epsam.data.cam_store import CamStore, save_cams
from epsam.data.images import read_mask
from epsam.data.patches import Patch
from epsam.paths import RunPaths
from epsam.segment.sam.prompting.rules import PromptInputs
from epsam.training.cams import (
    compute_cams,
    digest_of_cam_recipe,
    find_mask_classifier,
    load_matching_cams,
    write_initial_masks,
)
from epsam.training.sam_setup import initial_mask_path, load_prompt_inputs
from epsam.weak.fast_inference import load_for_inference

log = logging.getLogger(__name__)

NORMAL = "normal"
"""Names their maps and initial masks, as a split's name does."""


@dataclass(frozen=True)
class NormalPatches:
    """Normal patches that have an initial mask, those first that the classifier takes for tumour
    most surely.
    """

    run: RunPaths
    patches: list[Patch]
    maps: CamStore

    def load_prompt_inputs(self, patch: Patch) -> PromptInputs:
        """What a prompt may be made of; no pixel is truly tumour."""
        hints = load_prompt_inputs(self.run, NORMAL, patch, self.maps)
        return PromptInputs(hints.cam, hints.mask, lambda: np.zeros_like(hints.mask))


def count_normal_patches(share: float, others: int) -> int:
    """How many patches make up that share of all if there are `others` beside them.

    Raises TrainingError if the share is no share.
    """
    if not 0 <= share < 1:
        raise TrainingError(
            f"--normal_patches {share:g}: not a share of the patches; give a number from 0 to 0.9"
        )
    return round(share / (1 - share) * others)


def prepare_normal_patches(
    run: RunPaths, patches: Sequence[Patch], size: int, batch_size: int, device_config: DeviceConfig
) -> NormalPatches:
    """Normal patches of size × size px with maps and masks made as those of the others were; maps
    are kept.

    Raises WeightsError if maps have to be made and the classifier behind those of the others is no
    longer there.
    """
    (classifier, checksum), rule = (
        find_mask_classifier(run),
        merge_fields(MaskRule, read_json(run.mask_rule)),
    )
    recipe = digest_of_cam_recipe(
        rule.cam, rule, checksum, digest_of_files(patch.image for patch in patches)
    )
    maps = load_matching_cams(run.cams(NORMAL), checksum, recipe)
    if maps is None:
        if not classifier.is_file() or sha256_of(classifier) != checksum:
            raise WeightsError(
                f"{classifier}: missing, or not the classifier with which the masks were made; put it "
                "back or run generate_initial_masks.py again"
            )
        model = load_for_inference(classifier, device_config)
        made = compute_cams(model, checksum, patches, size, rule, batch_size, device_config)
        maps = CamStore(checksum, made.maps, made.probabilities, recipe)
        save_cams(run.cams(NORMAL), maps)
    write_initial_masks(run, NORMAL, maps, patches, size, rule)
    filled = [patch for patch in patches if read_mask(initial_mask_path(run, NORMAL, patch)).any()]
    log.info("normal patches: %d, %d of them with an initial mask", len(patches), len(filled))
    return NormalPatches(
        run, sorted(filled, key=lambda patch: -maps.probabilities[patch.name]), maps
    )
