"""What is loaded once for all rounds: patches with their CAMs, a SAM with frozen encoder,
embeddings, and the prompts of validation.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from epsam.config.decoder import DecoderOptions
from epsam.core.device import select_device
from epsam.data.cam_store import CamStore
from epsam.data.patches import Patch, read_patch_size
from epsam.paths import RunPaths
from epsam.segment.sam.prompting.rules import PromptInputs
from epsam.training.decoder import PromptedPatch
from epsam.training.normal_patches import (
    FurtherPatches,
    prepare_further_patches,
    prepare_normal_patches,
)
from epsam.training.round_data import CORRECTED, Example, RoundData, count_normal_patches
from epsam.training.sam_setup import (
    SamSetup,
    find_embedding_cache,
    load_prompt_inputs,
    prepare_embeddings,
    prepare_sam,
    prompt_patches,
)


@dataclass(frozen=True)
class RoundContext:
    """Everything that stays the same over the rounds of a run."""

    options: DecoderOptions
    run: RunPaths
    sam: SamSetup
    train: list[Patch]
    validation: list[PromptedPatch]
    train_cams: CamStore
    pretrained_decoder: dict[str, Any]
    normals: FurtherPatches | None = None
    corrected: FurtherPatches | None = None

    def load_prompt_inputs(self, patch: Patch) -> PromptInputs:
        """The prompt inputs of a training patch, be it positive, normal or corrected."""
        if self.corrected and patch.name in self.corrected.cams.maps:
            return self.corrected.load_prompt_inputs(patch)
        if self.normals and patch.label == 0:
            return self.normals.load_prompt_inputs(patch)
        return load_prompt_inputs(self.run, "train", patch, self.train_cams)

    def normal_examples(self, n_positive: int) -> list[Example]:
        """Normal patches with an empty target, --normal_patches of all beside so many positives."""
        if self.normals is None:
            return []
        count = count_normal_patches(self.options.normal_patches, n_positive)
        return [Example(patch, None) for patch in self.normals.patches[:count]]


def load_frozen_sam(options: DecoderOptions, data: RoundData) -> SamSetup:
    """SAM with frozen encoder and prompt encoder, and the cache for the embeddings of `data`."""
    n_embeddings = (
        len(data.train) * count_train_transforms(options)
        + _count_normal(options, data) * options.embedding_transforms
        + len(data.val) * options.n_transform
    )
    return prepare_sam(
        options,
        read_patch_size(data.train),
        n_embeddings,
        options.n_point + options.n_negative,
        select_device(options.device, options.precision),
    )


def encode_positives(options: DecoderOptions, data: RoundData, sam: SamSetup) -> None:
    """Encode the positives of train and val once, each in all transforms that are used."""
    prepare_embeddings(sam, data.train, count_train_transforms(options))
    prepare_embeddings(sam, data.val, options.n_transform)


def prepare_rounds(
    options: DecoderOptions, data: RoundData, sam: SamSetup, corrected: Sequence[Patch] = ()
) -> RoundContext:
    """Sample the prompts of validation and, with --normal_patches, encode the normal patches.

    corrected: corrected patches that are no positives of training, which are encoded, too.
    """
    run = RunPaths.of(options)
    # Keyed without the round: every decoder is validated with the same prompts.
    validation = prompt_patches(run, "val", data.val, data.val_cams, options, (options.seed,))
    # A copy, since every round overwrites the weights in place.
    pretrained_decoder = copy.deepcopy(sam.segmenter.sam.mask_decoder.state_dict())

    frame, device_config = sam.segmenter.frame, sam.segmenter.device_config
    embeddings = find_embedding_cache(options)
    further = None
    if corrected:
        size = frame.patch_size
        further = prepare_further_patches(
            run, CORRECTED, corrected, size, options.batch_size, device_config, embeddings
        )
        prepare_embeddings(sam, corrected, options.embedding_transforms)

    normals = None
    if n_normal := _count_normal(options, data):
        # What a person has said of a patch is no reason for an empty target.
        names = {patch.name for patch in corrected}
        normals = prepare_normal_patches(
            run,
            [patch for patch in data.normal if patch.name not in names],
            frame.patch_size,
            options.batch_size,
            device_config,
            embeddings,
        )
        prepare_embeddings(sam, normals.patches[:n_normal], options.embedding_transforms)
    return RoundContext(
        options,
        run,
        sam,
        data.train,
        validation,
        data.train_cams,
        pretrained_decoder,
        normals,
        further,
    )


def _count_normal(options: DecoderOptions, data: RoundData) -> int:
    """How many normal patches --normal_patches asks for at most."""
    return count_normal_patches(options.normal_patches, len(data.train))


def count_train_transforms(options: DecoderOptions) -> int:
    """Training patches are both trained on and turned into pseudo-labels, from the same cache."""
    return max(options.embedding_transforms, options.n_transform)
