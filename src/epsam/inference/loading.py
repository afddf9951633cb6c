"""Put a trained pipeline together from the checkpoints of a run."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from epsam.cam.postprocess import require_postprocessing
from epsam.config.inference import InferOptions
from epsam.config.keys import part_key
from epsam.config.masks import MaskRule
from epsam.config.metadata import explicit_fields, merge_fields
from epsam.config.presets import preset
from epsam.config.sam import PromptOptions, PromptOverrides, SamOptions
from epsam.core.artifact import Key
from epsam.core.checkpoints import load_plain
from epsam.core.device import DeviceConfig
from epsam.core.errors import WeightsError
from epsam.core.files import digest_of, sha256_of
from epsam.extraction.resolutions import REFUSE_RATIO, WARN_RATIO, describe_mixture
from epsam.inference.pipeline import MapAndPromptOptions, Pipeline
from epsam.inference.segment_slides import SlideSettings
from epsam.inference.segmenter_model import SegmenterTileModel
from epsam.inference.slide_files import ContourSettings
from epsam.inference.tile_model import Gate, TileModel
from epsam.paths import RunPaths
from epsam.segment.registry import is_segmenter, load_segmenter
from epsam.segment.sam.decoder_weights import load_decoder
from epsam.segment.sam.models import freeze, load_sam
from epsam.segment.sam.segmenter import SamSegmenter
from epsam.segment.sam.specs import find_checkpoint
from epsam.weak.registry import load_weak_model

log = logging.getLogger(__name__)

PUBLISHED_PATCH_SIZE = 512

_WEIGHT_NAMES = {
    1: ("segmenter",),
    2: ("classifier", "segmenter"),
    3: ("classifier", "decoder", "sam"),
}
"""By number of the files of `find_weights`: what each is called if it has changed."""

_FINGERPRINT_OF_0_1 = (
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
"""The options behind the fingerprint of results up to version 0.1, in their order, as they are
written to disk. It never changes: later options are compared by name.
"""


def load_tile_model(options: InferOptions, device_config: DeviceConfig) -> TileModel:
    """Whatever the run has been trained to: SAM's decoder, or a segmenter of its own.

    Raises WeightsError if a file is missing or does not fit.
    """
    segmenter_file = find_segmenter(options)
    if segmenter_file is None:
        return load_pipeline(options, device_config)

    segmenter = load_segmenter(segmenter_file, device_config)
    classifier_file = _find_gate_classifier(options)
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


def find_segmenter(options: InferOptions) -> Path | None:
    """The file of a segmenter without prompts: --sam_decoder_checkpoint, if it is one, or that of a
    run without a decoder of SAM; else None.
    """
    if options.sam_decoder_checkpoint:
        path = Path(options.sam_decoder_checkpoint)
        return path if is_segmenter(path) else None
    run = RunPaths.of(options)
    has_decoder = run.preliminary_decoder.is_file() or any(run.root.glob("decoder_iter*.pth"))
    return run.segmenter if run.segmenter.is_file() and not has_decoder else None


def _find_gate_classifier(options: InferOptions) -> Path | None:
    """The classifier whose scores gate the tiles of a segmenter, if there is one."""
    if options.resnet_checkpoint:
        return Path(options.resnet_checkpoint)
    classifier = RunPaths.of(options).classifier
    return classifier if classifier.is_file() else None


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
    _check_same_sam(decoder_file, metadata, options.sam_model_type, sam_file)
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


def find_weights(options: InferOptions) -> tuple[Path, ...]:
    """The files of all weights that decide the results.

    Raises WeightsError if one of them is needed and missing.
    """
    segmenter = find_segmenter(options)
    if segmenter is None:
        return find_sam_weights(options)
    classifier = _find_gate_classifier(options)
    return (classifier, segmenter) if classifier else (segmenter,)


def resolve_sam_model_type(options: InferOptions) -> InferOptions:
    """The options with the SAM that the decoder was trained with, unless one is set by flag.

    A decoder of the published code does not hold it: the preset of the dataset stands in.
    """
    # A segmenter without prompts has no SAM.
    if options.sam_model_type or find_segmenter(options) is not None:
        return options
    metadata = load_plain(find_decoder(options)).get("made_with", {})
    model_type = metadata.get("sam_model_type")
    if not model_type:
        defaults = preset(options.dataset_type, "evaluate")
        model_type = defaults.get("sam_model_type", SamOptions.sam_model_type)
    return replace(options, sam_model_type=model_type)


def find_decoder(options: InferOptions) -> Path:
    """The file of the decoder. Raises WeightsError if the run has none."""
    if options.sam_decoder_checkpoint:
        return Path(options.sam_decoder_checkpoint)
    return find_last_decoder(RunPaths.of(options))


def find_sam_weights(options: InferOptions) -> tuple[Path, Path, Path]:
    """The files of the classifier, the decoder, and SAM.

    Raises WeightsError if one of them is needed and missing.
    """
    run = RunPaths.of(options)
    decoder = find_decoder(options)
    options = resolve_sam_model_type(options)
    if options.resnet_checkpoint:
        classifier = Path(options.resnet_checkpoint)
    elif run.classifier.is_file():
        classifier = run.classifier
    else:
        raise WeightsError(
            f"{run.classifier}: no such file; run train_classifier.py, or give the classifier that "
            "the masks were made with by --resnet_checkpoint"
        )
    sam = find_checkpoint(
        options.sam_model_type, options.sam_checkpoint, Path(options.checkpoint_root)
    )
    return classifier, decoder, sam


def inference_key(options: InferOptions) -> Key:
    """All that decides what results are: options, and the weights by content.

    The device and what else only decides where or how fast they are computed is left out.
    """
    paths = find_weights(options)
    weights = {}
    for name, path in zip(_WEIGHT_NAMES[len(paths)], paths, strict=True):
        weights[name] = sha256_of(path)
    key = part_key(options, "inference", weights)

    # A later option that is not at its default gives other results than version 0.1 did.
    for name, value in key.options.items():
        if name not in _FINGERPRINT_OF_0_1 and value != key.defaults[name]:
            return key
    values = [f"{name}={key.options[name]}" for name in _FINGERPRINT_OF_0_1]
    return replace(key, older=(digest_of([*values, *weights.values()]),))


def find_last_decoder(run: RunPaths) -> Path:
    """The decoder of a run's last round, or its preliminary one.

    Raises WeightsError if the run has none.
    """
    by_round = {}
    for path in run.root.glob("decoder_iter*.pth"):
        number = path.stem.removeprefix("decoder_iter")
        if number.isdigit():
            by_round[int(number)] = path
    if by_round:
        return by_round[max(by_round)]
    if run.preliminary_decoder.is_file():
        return run.preliminary_decoder
    raise WeightsError(
        f"{run.root}: no trained decoder there; run ./train.sh or give --sam_decoder_checkpoint"
    )


def make_slide_settings(options: InferOptions, model: TileModel) -> SlideSettings:
    """How slides are read: at the resolution of the training patches unless --mpp is given.

    Raises WeightsError if neither is known.
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
        contours=ContourSettings(options.min_region, options.min_outline, options.asap),
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
    masks = merge_fields(MaskRule, metadata, stage_preset)
    prompt = merge_fields(PromptOptions, explicit_fields(PromptOverrides, options), metadata)
    return MapAndPromptOptions(masks, prompt)


def _check_same_sam(
    decoder: Path, metadata: dict[str, Any], model_type: str, weights: Path
) -> None:
    # By its shapes a decoder fits any SAM, yet it has learnt from the embeddings of one encoder.
    if not metadata:
        return
    if metadata["sam_model_type"] != model_type:
        raise WeightsError(
            f"{decoder}: trained with {metadata['sam_model_type']}, not {model_type}; "
            f"give --sam_model_type {metadata['sam_model_type']}"
        )
    if metadata["sam_sha256"] != sha256_of(weights):
        raise WeightsError(
            f"{decoder}: trained with other weights of {model_type} than {weights}; "
            "give them by --sam_checkpoint"
        )


def _check_same_classifier(decoder: Path, metadata: dict[str, Any], classifier: Path) -> None:
    # Prompts come from the classifier's CAMs, and the decoder has learnt from those of one.
    trained_with = metadata.get("classifier_sha256", "")
    if trained_with and trained_with != sha256_of(classifier):
        raise WeightsError(
            f"{decoder}: trained with masks of another classifier than {classifier}; run "
            "./train.sh again or give the classifier by --resnet_checkpoint"
        )
