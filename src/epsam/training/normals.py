"""Normal patches as exact targets (ours): the classifier's activation there is wrong, and so is all it would prompt."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from epsam.classifier.inference import load_for_inference
from epsam.data.activations import Activations, save_activations
from epsam.data.images import read_mask
from epsam.data.patches import Patch
from epsam.device import Compute
from epsam.errors import TrainingError, WeightsError
from epsam.facts import told
from epsam.files import contents, read_json, sha256_of
from epsam.options import MaskRule
from epsam.paths import RunPaths
from epsam.sam.prompt_rules import Hints
from epsam.training.maps import (
    activations_of,
    classifier_behind,
    kept_activations,
    recipe_of,
    write_initial_masks,
)
from epsam.training.workbench import hints_of, initial_mask_of

log = logging.getLogger(__name__)

NORMAL = "normal"
"""Names their maps and initial masks, as a split's name does."""


@dataclass(frozen=True)
class Normals:
    """Normal patches that have an initial mask, those first that the classifier takes for tumour most surely."""

    run: RunPaths
    patches: list[Patch]
    maps: Activations

    def hints(self, patch: Patch) -> Hints:
        """What a prompt may be made of; no pixel is truly tumour."""
        hints = hints_of(self.run, NORMAL, patch, self.maps)
        return Hints(hints.activation, hints.mask, lambda: np.zeros_like(hints.mask))


def count_of(share: float, others: int) -> int:
    """How many patches make up that share of all if there are `others` beside them.

    Raises TrainingError if the share is no share.
    """
    if not 0 <= share < 1:
        raise TrainingError(f"--normal_patches {share:g}: not a share of the patches; give a number from 0 to 0.9")
    return round(share / (1 - share) * others)


def open_normals(run: RunPaths, patches: Sequence[Patch], size: int, batch_size: int, compute: Compute) -> Normals:
    """Normal patches of size × size px with maps and masks made as those of the others were; maps are kept.

    Raises WeightsError if maps have to be made and the classifier behind those of the others is no longer there.
    """
    (classifier, checksum), rule = classifier_behind(run), told(MaskRule, read_json(run.mask_rule))
    recipe = recipe_of(rule.cam, rule, checksum, contents(patch.image for patch in patches))
    maps = kept_activations(run.activation(NORMAL), checksum, recipe)
    if maps is None:
        if not classifier.is_file() or sha256_of(classifier) != checksum:
            raise WeightsError(f"{classifier}: missing, or not the classifier with which the masks were made; put it "
                               "back or run generate_initial_masks.py again")
        model = load_for_inference(classifier, compute)
        made = activations_of(model, checksum, patches, size, rule, batch_size, compute)
        maps = Activations(checksum, made.maps, made.probabilities, recipe)
        save_activations(run.activation(NORMAL), maps)
    write_initial_masks(run, NORMAL, maps, patches, size, rule)
    filled = [patch for patch in patches if read_mask(initial_mask_of(run, NORMAL, patch)).any()]
    log.info("normal patches: %d, %d of them with an initial mask", len(patches), len(filled))
    return Normals(run, sorted(filled, key=lambda patch: -maps.probabilities[patch.name]), maps)
