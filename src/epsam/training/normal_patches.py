"""Training patches beside the positives: normal patches with an empty target, and patches that a
person has corrected (this project).

The CAM of a normal patch is wrong by definition, and so is every prompt that comes from it: the
decoder learns to answer such prompts with an empty mask.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from epsam.cam.refiner_sam import locate_refiner_sam
from epsam.config.masks import MaskRule
from epsam.config.metadata import merge_fields
from epsam.core.device import DeviceConfig
from epsam.core.errors import WeightsError
from epsam.core.files import read_json, sha256_of
from epsam.data.cam_store import CamStore
from epsam.data.images import read_mask
from epsam.data.patches import Patch
from epsam.paths import RunPaths
from epsam.segment.sam.prompting.rules import PromptInputs
from epsam.training.cam_files import CamFiles
from epsam.training.cams import write_initial_masks
from epsam.training.round_data import NORMAL, find_mask_classifier, initial_mask_path
from epsam.training.sam_setup import load_prompt_inputs
from epsam.weak.registry import load_weak_model

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FurtherPatches:
    """Training patches that are no positives of the dataset, with their CAMs.

    folder: stands for a split in the paths of CAMs and initial masks.
    """

    run: RunPaths
    patches: list[Patch]
    cams: CamStore
    folder: str = NORMAL

    def load_prompt_inputs(self, patch: Patch) -> PromptInputs:
        """The prompt inputs of one of the patches; the ground truth of a normal one is empty."""
        return load_prompt_inputs(self.run, self.folder, patch, self.cams)


def prepare_normal_cams(
    run: RunPaths,
    folder: str,
    patches: Sequence[Patch],
    size: int,
    batch_size: int,
    device_config: DeviceConfig,
    embeddings: Path | None = None,
) -> CamStore:
    """CAMs of normal patches as step 3 makes them, stored under the name `folder`, which stands for
    a split.

    embeddings: see `CamFiles`. Raises WeightsError if they have to be computed and the classifier
    of step 3 is no longer there.
    """
    classifier, checksum = find_mask_classifier(run)
    rule = locate_refiner_sam(merge_fields(MaskRule, read_json(run.mask_rule)), [run.root.parent])
    files = CamFiles(
        run,
        partial(load_mask_classifier, classifier, checksum, device_config),
        checksum,
        rule.cam,
        rule,
        size,
        batch_size,
        device_config,
        embeddings,
    )
    return files.update(folder, patches)


def load_mask_classifier(classifier: Path, checksum: str, device_config: DeviceConfig) -> Any:
    """The `WeakModel` that a run's masks come from. Raises WeightsError if it is not there."""
    if not classifier.is_file() or sha256_of(classifier) != checksum:
        raise WeightsError(
            f"{classifier}: missing, or not the classifier with which the masks were made; put "
            "it back or run generate_initial_masks.py again"
        )
    return load_weak_model(classifier, device_config)


def prepare_further_patches(
    run: RunPaths,
    folder: str,
    patches: Sequence[Patch],
    size: int,
    batch_size: int,
    device_config: DeviceConfig,
    embeddings: Path | None = None,
) -> FurtherPatches:
    """Compute CAMs and initial masks of patches of size × size px, as step 3 did for the positives.

    CAMs are stored and used again. embeddings: see `CamFiles`. Raises WeightsError if they have to
    be computed and the classifier of step 3 is no longer there.
    """
    cams = prepare_normal_cams(run, folder, patches, size, batch_size, device_config, embeddings)
    rule = merge_fields(MaskRule, read_json(run.mask_rule))
    write_initial_masks(run, folder, cams, patches, size, rule)
    return FurtherPatches(run, list(patches), cams, folder)


def prepare_normal_patches(
    run: RunPaths,
    patches: Sequence[Patch],
    size: int,
    batch_size: int,
    device_config: DeviceConfig,
    embeddings: Path | None = None,
) -> FurtherPatches:
    """The normal patches that have an initial mask, those of the highest tumour probability first.

    embeddings: see `CamFiles`. Raises as `prepare_further_patches` does.
    """
    normals = prepare_further_patches(
        run, NORMAL, patches, size, batch_size, device_config, embeddings
    )

    # Without an initial mask there is nothing to prompt for.
    with_mask = []
    for patch in patches:
        if read_mask(initial_mask_path(run, NORMAL, patch)).any():
            with_mask.append(patch)
    log.info("normal patches: %d, %d of them with an initial mask", len(patches), len(with_mask))

    # The classifier's most confident mistakes come first: they are what the decoder must correct.
    probabilities = normals.cams.probabilities
    with_mask.sort(key=lambda patch: -probabilities[patch.name])
    return replace(normals, patches=with_mask)
