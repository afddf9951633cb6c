"""What a round reads: patches, CAMs, and the masks to train on. Whether it is finished is seen from
their files alone, without importing PyTorch, which takes seconds.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from epsam.config.decoder import DecoderOptions
from epsam.core.errors import TrainingError
from epsam.core.files import digest_of_files, read_json, sha256_of
from epsam.data.cam_store import CamStore, load_cams
from epsam.data.images import read_mask
from epsam.data.patches import Patch, list_labelled_patches, select_positives
from epsam.engine.stage import Stage
from epsam.paths import DatasetPaths, RunPaths
from epsam.segment.sam.specs import find_checkpoint

log = logging.getLogger(__name__)

NORMAL = "normal"
"""Stands for a split in the paths of their CAMs and initial masks."""
CORRECTED = "corrected"
"""The same for corrected patches that are no positives of training: their label says that they hold
no tumour.
"""
CLASSIFIER_FILE = "classifier_file"
"""Key of the mask rule: the path of an external classifier. It holds on this machine only and does
not belong into a decoder's metadata.
"""


@dataclass(frozen=True)
class Example:
    """A training patch and the file of its target mask; None: the target is empty.

    soft: the file of the target's tumour probabilities (--soft_targets). correction: the file of
    what a person has said of its pixels (--corrections), each of which weighs `correction_weight`
    in the loss; then a target of None is unknown, not empty, where nobody has looked. layers: the
    target masks of several layers (--targets layers), the deepest last; it is `target`, too.
    """

    patch: Patch
    target: Path | None
    soft: Path | None = None
    correction: Path | None = None
    correction_weight: float = 1.0
    layers: tuple[Path, ...] = ()


@dataclass(frozen=True)
class RoundData:
    """The positive patches of the dataset with their CAMs, and the normal patches of training."""

    train: list[Patch]
    val: list[Patch]
    normal: list[Patch]
    train_cams: CamStore
    val_cams: CamStore


def initial_mask_path(run: RunPaths, split: str, patch: Patch) -> Path:
    """The file of a patch's initial mask."""
    return run.initial_masks(split) / f"{patch.name}.png"


def find_mask_classifier(run: RunPaths) -> tuple[Path, str]:
    """File and checksum of the classifier that a run's masks must come from.

    That is the external classifier of step 3, else the run's own.
    """
    rule = read_json(run.mask_rule) if run.mask_rule.is_file() else {}
    if "classifier_sha256" in rule:
        return Path(rule[CLASSIFIER_FILE]), rule["classifier_sha256"]
    # The file is hashed as it is now: if it was trained again since, the older masks no longer
    # match it.
    return run.classifier, sha256_of(run.classifier)


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


def count_normal_patches(fraction: float, n_positive: int) -> int:
    """How many normal patches make up that fraction of all training patches.

    Raises TrainingError if the fraction is not in [0, 1).
    """
    if not 0 <= fraction < 1:
        raise TrainingError(
            f"--normal_patches {fraction:g}: not a fraction of the patches; give a number from 0 "
            "to 0.9"
        )
    return round(fraction / (1 - fraction) * n_positive)


def load_initial_examples(run: RunPaths, patches: Sequence[Patch]) -> list[Example]:
    """The training examples of the preliminary decoder: the initial masks that are not empty.

    See docs/deviations.md, "Empty initial masks". Raises TrainingError if all of them are empty.
    """
    examples = []
    for patch in patches:
        target = initial_mask_path(run, "train", patch)
        if read_mask(target).any():
            examples.append(Example(patch, target))
    log.info(
        "initial masks: %d to fit to, %d empty ones left out",
        len(examples),
        len(patches) - len(examples),
    )
    if not examples:
        raise TrainingError(
            f"{run.initial_masks('train')}: all initial masks are empty; "
            "lower --quantile or --open_kernel (MASK_FLAGS of train.sh), or train the classifier "
            "longer"
        )
    return examples


def load_accepted_examples(
    number: int,
    run: RunPaths,
    patches: Sequence[Patch],
    pl_mode: str,
    soft_targets: bool = False,
    may_be_empty: bool = False,
) -> list[Example]:
    """The training examples of round `number`: the masks accepted in earlier rounds.

    pl_mode "replace": those of the round before alone; "accumulate": a patch's newest accepted mask
    (docs/deviations.md, "Pseudo-labels over rounds"). With `soft_targets` their probabilities, too.
    Raises TrainingError if there are none and there have to be some, or if a file of probabilities
    is missing.
    """
    # Newest first.
    rounds = [number - 1] if pl_mode == "replace" else range(number - 1, -1, -1)
    examples = []
    for patch in patches:
        for earlier in rounds:
            target = run.pseudo_masks(earlier) / f"{patch.name}.png"
            if target.is_file():
                soft = run.probabilities(earlier) / target.name if soft_targets else None
                examples.append(Example(patch, target, soft))
                break

    if not examples and not may_be_empty:
        raise TrainingError(
            f"round {number}: no pseudo-label of round {number - 1} was accepted; look at "
            f"{run.pseudo_labels} and lower --ids_threshold (DECODER_FLAGS of train.sh), or train "
            "the classifier longer"
        )
    for example in examples:
        if example.soft and not example.soft.is_file():
            raise TrainingError(
                f"{example.soft}: missing, but --soft_targets needs it; give that flag to "
                "finetune_decoder.py, too"
            )
    return examples


def is_round_finished(
    number: int, options: DecoderOptions, data: RoundData, examples: Sequence[Example]
) -> bool:
    """True if round `number` is complete with these options and inputs; the log says so.

    False, too, with --normal_patches: which of them a round takes is only known from their CAMs.
    """
    if options.normal_patches:
        return False
    weights = find_checkpoint(
        options.sam_model_type, options.sam_checkpoint, Path(options.checkpoint_root)
    )
    run = RunPaths.of(options)
    try:
        inputs = digest_inputs(run, data.train, data.val, examples, sha256_of(weights))
    except FileNotFoundError:
        # Whoever reads the file says what to do about it.
        return False
    stage = Stage(f"decoder_{number}", options, inputs)
    # Before hours of encoding.
    stage.require_replaceable()
    # Why it is done again is logged when it begins.
    return not stage.why_stale() and stage.is_current()


def digest_inputs(
    run: RunPaths,
    train: Sequence[Patch],
    val: Sequence[Patch],
    examples: Sequence[Example],
    sam_sha256: str,
) -> dict[str, str]:
    """Name → digest of everything a round reads. The order of the entries is part of the stage's
    fingerprint.
    """
    corrections = [example.correction for example in examples if example.correction]
    positives = {patch.name for patch in train}
    normal, corrected = [], []
    for example in examples:
        if example.target is None and example.correction is None:
            normal.append(example.patch)
        elif example.patch.name not in positives:
            corrected.append(example.patch)
    files: dict[str, list[Path]] = {
        "train": [patch.image for patch in train],
        "val": [patch.image for patch in val],
        "train_truth": [patch.mask for patch in train if patch.mask],
        "val_truth": [patch.mask for patch in val if patch.mask],
        "targets": [example.target for example in examples if example.target],
        "activations": [run.cams("train"), run.cams("val")],
        "train_masks": [initial_mask_path(run, "train", patch) for patch in train],
        "validation_masks": [initial_mask_path(run, "val", patch) for patch in val],
    }
    digests = {name: digest_of_files(paths) for name, paths in files.items()}
    digests["sam"] = sam_sha256

    # Only in the fingerprint of runs that use them, so that those of other runs stay valid.
    optional_files: dict[str, list[Path]] = {
        "soft_targets": [example.soft for example in examples if example.soft],
        "normal_patches": [patch.image for patch in normal],
        "normal_masks": [initial_mask_path(run, NORMAL, patch) for patch in normal],
        "normal_activations": [run.cams(NORMAL)] if normal else [],
        "corrections": corrections,
        "corrected_patches": [patch.image for patch in corrected],
        "corrected_masks": [initial_mask_path(run, CORRECTED, patch) for patch in corrected],
        "corrected_activations": [run.cams(CORRECTED)] if corrected else [],
    }
    for name, paths in optional_files.items():
        if paths:
            digests[name] = digest_of_files(paths)
    return digests
