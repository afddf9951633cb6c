"""Put a trained pipeline together from the checkpoints of a run."""

import logging
from pathlib import Path
from typing import Any

from epsam.cam.postprocess import require_postprocessing
from epsam.cam.refiner_sam import locate_refiner_sam
from epsam.config.inference import InferOptions
from epsam.config.masks import MaskRule
from epsam.config.metadata import explicit_fields, merge_fields
from epsam.config.presets import preset
from epsam.config.sam import PromptOptions, PromptOverrides
from epsam.core.checkpoints import load_plain
from epsam.core.device import DeviceConfig
from epsam.core.errors import WeightsError
from epsam.core.files import read_json, sha256_of
from epsam.extraction.resolutions import REFUSE_RATIO, WARN_RATIO, describe_mixture
from epsam.inference.map_model import MapTileModel
from epsam.inference.pipeline import MapAndPromptOptions, Pipeline
from epsam.inference.segment_slides import SlideSettings
from epsam.inference.segmenter_model import SegmenterTileModel
from epsam.inference.slide_files import ContourSettings
from epsam.inference.tile_model import Gate, TileModel
from epsam.inference.weights import (
    MAPS,
    find_gate_classifier,
    find_map_weights,
    find_sam_weights,
    find_segmenter,
    resolve_sam_model_type,
)
from epsam.segment.registry import load_segmenter
from epsam.segment.sam.decoder_weights import check_same_sam, load_decoder
from epsam.segment.sam.models import freeze, load_sam
from epsam.segment.sam.segmenter import SamSegmenter
from epsam.weak.registry import load_weak_model

log = logging.getLogger(__name__)

PUBLISHED_PATCH_SIZE = 512
GPU_READ_THREADS = 4
"""This project: decoding a tile takes longer than a fast GPU takes for one."""


def load_tile_model(options: InferOptions, device_config: DeviceConfig) -> TileModel:
    """Whatever the run has been trained to: SAM's decoder, or a segmenter of its own; with
    --segment_by maps, its classifier.

    Raises WeightsError if a file is missing or does not fit.
    """
    if options.segment_by == MAPS:
        return load_map_model(options, device_config)
    segmenter_file = find_segmenter(options)
    if segmenter_file is None:
        return load_pipeline(options, device_config)

    segmenter = load_segmenter(
        segmenter_file, device_config, options, Path(options.checkpoint_root)
    )
    classifier_file = find_gate_classifier(options)
    weak_model = load_weak_model(classifier_file, device_config) if classifier_file else None
    log.info(
        "classifier %s, segmenter %s (%s), tiles of %d px on %s",
        classifier_file or "none",
        segmenter_file,
        segmenter.name,
        segmenter.patch_size,
        device_config.device,
    )
    return SegmenterTileModel(segmenter, weak_model, device_config, options.batch_size)


def load_map_model(options: InferOptions, device_config: DeviceConfig) -> MapTileModel:
    """The classifier of the run's initial masks, and the rule that they are made by.

    Raises WeightsError if the run has no initial masks, or no classifier.
    """
    classifier_file, rule_file = find_map_weights(options)
    rule = locate_refiner_sam(merge_fields(MaskRule, read_json(rule_file)), sam_places(options))
    require_postprocessing(rule)
    metadata = load_plain(classifier_file)
    patch_size = metadata.get("patch_size", PUBLISHED_PATCH_SIZE)
    log.info(
        "classifier %s, its maps as masks, tiles of %d px on %s",
        classifier_file,
        patch_size,
        device_config.device,
    )
    return MapTileModel(
        load_weak_model(classifier_file, device_config),
        rule,
        patch_size,
        device_config,
        options.batch_size,
        metadata.get("mpp"),
    )


def load_pipeline(options: InferOptions, device_config: DeviceConfig) -> Pipeline:
    """Classifier, SAM and trained decoder on their device, prompted as in training.

    A decoder of the published code does not hold its training options: the preset of the dataset
    stands in. Raises WeightsError if a file is missing or does not fit, or if the decoder was
    trained with another SAM or, unless `--resnet_checkpoint` is given, with another classifier.
    """
    options = resolve_sam_model_type(options)
    classifier_file, decoder_file, sam_file = find_sam_weights(options)
    sam = freeze(load_sam(options.sam_model_type, sam_file))
    metadata = load_decoder(decoder_file, sam)
    check_same_sam(decoder_file, metadata, options.sam_model_type, sam_file, sha256_of(sam_file))
    if not options.resnet_checkpoint:
        _check_same_classifier(decoder_file, metadata, classifier_file)

    map_and_prompt = _map_and_prompt_options(options, metadata)
    # A missing package should not be noticed hours later.
    require_postprocessing(map_and_prompt.masks)
    patch_size = metadata.get("patch_size", PUBLISHED_PATCH_SIZE)
    n_point = map_and_prompt.prompt.n_point + map_and_prompt.prompt.n_negative
    segmenter = SamSegmenter(sam, patch_size, n_point, device_config, options.compile)
    classifier = load_weak_model(classifier_file, device_config)
    log.info(
        "classifier %s, decoder %s, tiles of %d px, %s on %s",
        classifier_file,
        decoder_file,
        patch_size,
        options.sam_model_type,
        device_config.device,
    )
    return Pipeline(
        classifier,
        segmenter,
        map_and_prompt,
        device_config,
        options.batch_size,
        options.seed,
        metadata.get("mpp"),
    )


def make_slide_settings(
    options: InferOptions, model: TileModel, is_on_gpu: bool = False
) -> SlideSettings:
    """How slides are read: at the resolution of the training patches unless --mpp is given.

    is_on_gpu: whether the processor has little to do but reading. Raises WeightsError if neither
    resolution is known.
    """
    mpp = options.mpp or model.mpp
    if not mpp:
        raise WeightsError(
            "the decoder does not tell at which resolution it was trained; "
            "give --mpp, µm/px of the training patches"
        )
    _require_trained_resolution(mpp, model.mpp)
    return SlideSettings(
        mpp=mpp,
        slide_mpp=options.slide_mpp,
        overlap=options.overlap,
        min_tissue=options.min_tissue,
        gate=Gate(options.classifier_gate, options.gate_threshold),
        clip_to_tissue=options.clip_to_tissue,
        contours=ContourSettings(
            options.min_region,
            options.min_outline,
            options.asap,
            options.mask_threshold,
            options.geojson_gzip,
        ),
        read_threads=options.read_threads or (GPU_READ_THREADS if is_on_gpu else 1),
    )


def _require_trained_resolution(mpp: float, trained_mpp: float | None) -> None:
    """Raise WeightsError if --mpp is another magnification than that of the training patches."""
    ratio, _ = describe_mixture([mpp, trained_mpp or mpp])
    if ratio >= REFUSE_RATIO:
        raise WeightsError(
            f"--mpp {mpp:g}: the decoder was trained at {trained_mpp:g} µm/px; leave --mpp out, or "
            "train at that resolution"
        )
    if ratio >= WARN_RATIO:
        log.warning("--mpp %g, but the decoder was trained at %g µm/px", mpp, trained_mpp)


def _map_and_prompt_options(options: InferOptions, metadata: dict[str, Any]) -> MapAndPromptOptions:
    stage_preset = preset(options.dataset_type, "generate_initial_masks")
    masks = locate_refiner_sam(merge_fields(MaskRule, metadata, stage_preset), sam_places(options))
    prompt = merge_fields(PromptOptions, explicit_fields(PromptOverrides, options), metadata)
    return MapAndPromptOptions(masks, prompt)


def sam_places(options: InferOptions) -> list[Path]:
    """Where the SAM of a run's map refiner may be, if not where it was in training: files, and
    folders of the official ones.
    """
    return [Path(options.sam_checkpoint or options.checkpoint_root), Path(options.checkpoint_root)]


def _check_same_classifier(decoder: Path, metadata: dict[str, Any], classifier: Path) -> None:
    # Prompts come from the classifier's CAMs, and the decoder has learnt from those of one.
    trained_with = metadata.get("classifier_sha256", "")
    if trained_with and trained_with != sha256_of(classifier):
        raise WeightsError(
            f"{decoder}: trained with masks of another classifier than {classifier}; run "
            "./train.sh again or give the classifier by --resnet_checkpoint"
        )
