"""Put a trained pipeline together from its two checkpoints; they know how they were made."""

import hashlib
import logging
from pathlib import Path
from typing import Any

from epsam.cam.postprocess import require_postprocessing
from epsam.config.flags import stored_options
from epsam.config.inference import InferOptions
from epsam.config.masks import MaskRule
from epsam.config.metadata import explicit_fields, merge_fields
from epsam.config.presets import preset
from epsam.config.sam import PromptOptions, PromptOverrides
from epsam.core.device import DeviceConfig
from epsam.core.errors import WeightsError
from epsam.core.files import sha256_of
from epsam.inference.pipeline import Gate, MapAndPromptOptions, Pipeline
from epsam.inference.slide import SlideRule
from epsam.paths import RunPaths
from epsam.segment.sam.decoder_weights import load_decoder
from epsam.segment.sam.models import find_checkpoint, freeze, load_sam
from epsam.segment.sam.segmenter import SamSegmenter
from epsam.weak.fast_inference import load_for_inference

log = logging.getLogger(__name__)

PUBLISHED_PATCH_SIZE = 512


def load_pipeline(options: InferOptions, device_config: DeviceConfig) -> Pipeline:
    """Classifier, SAM and trained decoder on their device, with the rule by which the training run
    made its points.

    A decoder of the published code does not tell its rule: the dataset's preset is taken. Raises
    WeightsError if a file is missing, does not fit, or the decoder was trained with another SAM, or
    with masks of another classifier than the run's and no other is given.
    """
    classifier_file, decoder_file, sam_file = weight_files(options)
    sam = freeze(load_sam(options.sam_model_type, sam_file))
    facts = load_decoder(decoder_file, sam)
    _check_same_sam(decoder_file, facts, options.sam_model_type, sam_file)
    if not options.resnet_checkpoint:
        _check_same_classifier(decoder_file, facts, classifier_file)
    patch_size = facts.get("patch_size", PUBLISHED_PATCH_SIZE)
    rule = _rule(options, facts)
    require_postprocessing(rule.masks)
    segmenter = SamSegmenter(
        sam,
        patch_size,
        rule.prompt.n_point + rule.prompt.n_negative,
        device_config,
        options.compile,
    )
    classifier = load_for_inference(classifier_file, device_config)
    log.info(
        "classifier %s, decoder %s, windows of %d px, %s on %s",
        classifier_file,
        decoder_file,
        patch_size,
        options.sam_model_type,
        device_config.device,
    )
    return Pipeline(
        classifier,
        segmenter,
        rule,
        device_config,
        options.batch_size,
        options.seed,
        facts.get("mpp"),
    )


def weight_files(options: InferOptions) -> tuple[Path, Path, Path]:
    """The files of the classifier, the decoder, and SAM. Raises WeightsError if the run lacks one
    of the first two.
    """
    run = RunPaths.of(options)
    decoder = (
        Path(options.sam_decoder_checkpoint)
        if options.sam_decoder_checkpoint
        else last_decoder(run)
    )
    if not options.resnet_checkpoint and not run.classifier.is_file():
        raise WeightsError(
            f"{run.classifier}: no such file; run train_classifier.py, or give the classifier that the "
            "masks were made with by --resnet_checkpoint"
        )
    return (
        Path(options.resnet_checkpoint) if options.resnet_checkpoint else run.classifier,
        decoder,
        find_checkpoint(
            options.sam_model_type, options.sam_checkpoint, Path(options.checkpoint_root)
        ),
    )


def fingerprint_of(options: InferOptions) -> str:
    """Stands for everything that decides what comes out of a slide: weights and options, not where
    it is computed.
    """
    # In the spelling of stored options, so that results of earlier versions stay valid.
    named = (
        "seed",
        "n_point",
        "n_draw",
        "n_view",
        "classifier_gate",
        "gate_threshold",
        "overlap",
        "mpp",
        "slide_mpp",
        "min_tissue",
        "clip_to_tissue",
        "min_region",
        "asap",
        "dataset_type",
    )
    stored = stored_options(options)
    settings = [f"{name}={stored[name]}" for name in named]
    files = [sha256_of(path) for path in weight_files(options)]
    return hashlib.sha256("\n".join([*settings, *files]).encode("utf-8")).hexdigest()


def last_decoder(run: RunPaths) -> Path:
    """The decoder of a run's last round, or its preliminary one.

    Raises WeightsError if the run has none.
    """
    numbered = {
        int(path.stem.removeprefix("decoder_iter")): path
        for path in run.root.glob("decoder_iter*.pth")
        if path.stem.removeprefix("decoder_iter").isdigit()
    }
    if numbered:
        return numbered[max(numbered)]
    if run.preliminary_decoder.is_file():
        return run.preliminary_decoder
    raise WeightsError(
        f"{run.root}: no trained decoder there; run ./train.sh or give --sam_decoder_checkpoint"
    )


def _rule(options: InferOptions, facts: dict[str, Any]) -> MapAndPromptOptions:
    masks = merge_fields(MaskRule, facts, preset(options.dataset_type, "generate_initial_masks"))
    return MapAndPromptOptions(
        masks, merge_fields(PromptOptions, explicit_fields(PromptOverrides, options), facts)
    )


def _check_same_sam(decoder: Path, facts: dict[str, Any], model_type: str, weights: Path) -> None:
    """A decoder fits any SAM by its shapes, yet means nothing beside another encoder than its
    own.
    """
    if facts and facts["sam_model_type"] != model_type:
        raise WeightsError(
            f"{decoder}: trained with {facts['sam_model_type']}, not {model_type}; "
            f"give --sam_model_type {facts['sam_model_type']}"
        )
    if facts and facts["sam_sha256"] != sha256_of(weights):
        raise WeightsError(
            f"{decoder}: trained with other weights of {model_type} than {weights}; "
            "give them by --sam_checkpoint"
        )


def _check_same_classifier(decoder: Path, facts: dict[str, Any], classifier: Path) -> None:
    """Prompts come from the classifier's maps: those of another one are not what the decoder has
    learned from.
    """
    if facts.get("classifier_sha256", "") not in ("", sha256_of(classifier)):
        raise WeightsError(
            f"{decoder}: trained with masks of another classifier than {classifier}; run "
            "./train.sh again or give the classifier by --resnet_checkpoint"
        )


def slide_rule(options: InferOptions, pipeline: Pipeline) -> SlideRule:
    """How slides are read and gated, at the resolution of the training patches unless another is
    asked for.

    Raises WeightsError if neither is known.
    """
    mpp = options.mpp or pipeline.mpp
    if not mpp:
        raise WeightsError(
            "the decoder does not tell at which resolution it was trained; "
            "give --mpp, µm/px of the training patches"
        )
    gate = Gate(options.classifier_gate, options.gate_threshold)
    return SlideRule(
        mpp,
        options.slide_mpp,
        options.overlap,
        options.min_tissue,
        gate,
        options.clip_to_tissue,
        options.min_region,
        options.asap,
    )
