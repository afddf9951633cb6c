"""What is loaded once for all rounds: patches with their CAMs, a SAM with frozen encoder,
embeddings, and the prompts of validation.
"""

import copy
from dataclasses import dataclass
from typing import Any

from epsam.config.decoder import DecoderOptions
from epsam.core.device import select_device
from epsam.data.cam_store import CamStore, load_cams
from epsam.data.patches import (
    Patch,
    list_labelled_patches,
    read_patch_size,
    select_positives,
)
from epsam.paths import DatasetPaths, RunPaths
from epsam.segment.sam.prompting.rules import PromptInputs
from epsam.training.cams import find_mask_classifier
from epsam.training.decoder import Example, PromptedPatch
from epsam.training.normal_patches import (
    NormalPatches,
    count_normal_patches,
    prepare_normal_patches,
)
from epsam.training.sam_setup import (
    SamSetup,
    load_prompt_inputs,
    prepare_embeddings,
    prepare_sam,
    prompt_patches,
)


@dataclass(frozen=True)
class RoundData:
    """The positive patches of the dataset with their CAMs, and the normal patches of training."""

    train: list[Patch]
    val: list[Patch]
    normal: list[Patch]
    train_cams: CamStore
    val_cams: CamStore

    def count_normal(self, options: DecoderOptions) -> int:
        """How many normal patches --normal_patches asks for at most."""
        return count_normal_patches(options.normal_patches, len(self.train))


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
    normals: NormalPatches | None = None

    def load_prompt_inputs(self, patch: Patch) -> PromptInputs:
        """The prompt inputs of a training patch, positive or normal."""
        if self.normals and patch.label == 0:
            return self.normals.load_prompt_inputs(patch)
        return load_prompt_inputs(self.run, "train", patch, self.train_cams)

    def normal_examples(self, n_positive: int) -> list[Example]:
        """Normal patches with an empty target, --normal_patches of all beside so many positives."""
        if self.normals is None:
            return []
        count = count_normal_patches(self.options.normal_patches, n_positive)
        return [Example(patch, None) for patch in self.normals.patches[:count]]


def load_round_data(options: DecoderOptions) -> RoundData:
    """List the patches of train and val, and load the CAMs of the positives.

    Raises DatasetError if there are no positives, or no CAMs of the run's classifier.
    """
    data, run = DatasetPaths.of(options), RunPaths.of(options)
    labelled = list_labelled_patches(data.split("train"))
    train = select_positives(labelled)
    val = select_positives(list_labelled_patches(data.split("val")))
    # CAMs of another classifier than that of the initial masks are refused.
    _, classifier_sha256 = find_mask_classifier(run)
    return RoundData(
        train,
        val,
        [patch for patch in labelled if patch.label == 0],
        load_cams(run.cams("train"), classifier_sha256),
        load_cams(run.cams("val"), classifier_sha256),
    )


def load_frozen_sam(options: DecoderOptions, data: RoundData) -> SamSetup:
    """SAM with frozen encoder and prompt encoder, and the cache for the embeddings of `data`."""
    n_embeddings = (
        len(data.train) * _count_train_transforms(options)
        + data.count_normal(options) * options.embedding_transforms
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
    prepare_embeddings(sam, data.train, _count_train_transforms(options))
    prepare_embeddings(sam, data.val, options.n_transform)


def prepare_rounds(options: DecoderOptions, data: RoundData, sam: SamSetup) -> RoundContext:
    """Sample the prompts of validation and, with --normal_patches, encode the normal patches."""
    run = RunPaths.of(options)
    # Keyed without the round: every decoder is validated with the same prompts.
    validation = prompt_patches(run, "val", data.val, data.val_cams, options, (options.seed,))
    # A copy, since every round overwrites the weights in place.
    pretrained_decoder = copy.deepcopy(sam.segmenter.sam.mask_decoder.state_dict())

    normals = None
    if n_normal := data.count_normal(options):
        normals = prepare_normal_patches(
            run,
            data.normal,
            sam.segmenter.frame.patch_size,
            options.batch_size,
            sam.segmenter.device_config,
        )
        prepare_embeddings(sam, normals.patches[:n_normal], options.embedding_transforms)
    return RoundContext(
        options, run, sam, data.train, validation, data.train_cams, pretrained_decoder, normals
    )


def _count_train_transforms(options: DecoderOptions) -> int:
    """Training patches are both trained on and turned into pseudo-labels, from the same cache."""
    return max(options.embedding_transforms, options.n_transform)
