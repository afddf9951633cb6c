"""Which files of weights inference reads, and the key of its results."""

from dataclasses import replace
from pathlib import Path

from epsam.config.inference import InferOptions
from epsam.config.keys import part_key
from epsam.config.presets import preset
from epsam.config.sam import SamOptions
from epsam.core.artifact import Key
from epsam.core.checkpoints import load_plain
from epsam.core.errors import WeightsError
from epsam.core.files import digest_of, sha256_of
from epsam.paths import RunPaths
from epsam.segment.registry import is_segmenter
from epsam.segment.sam.specs import find_checkpoint
from epsam.training.round_data import find_mask_classifier

MAPS = "maps"
"""Value of --segment_by: the run's initial masks are the answer."""

_WEIGHT_NAMES = {
    1: ("segmenter",),
    2: ("classifier", "segmenter"),
    3: ("classifier", "decoder", "sam"),
}
"""By number of the files of `find_weights`: what each is called if it has changed."""
_MAP_WEIGHT_NAMES = ("classifier", "mask_rule")

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


def find_gate_classifier(options: InferOptions) -> Path | None:
    """The classifier whose scores gate the tiles of a segmenter, if there is one."""
    if options.resnet_checkpoint:
        return Path(options.resnet_checkpoint)
    run = RunPaths.of(options)
    for classifier in (run.classifier, run.gate_classifier):
        if classifier.is_file():
            return classifier
    return None


def find_map_weights(options: InferOptions) -> tuple[Path, Path]:
    """The files of the classifier and of the rule that its maps become masks by.

    Raises WeightsError if one of them is missing.
    """
    run = RunPaths.of(options)
    if not run.mask_rule.is_file():
        raise WeightsError(
            f"{run.mask_rule}: no such file, so the run has no initial masks; run "
            "generate_initial_masks.py, or correct --run"
        )
    if options.resnet_checkpoint:
        classifier = Path(options.resnet_checkpoint)
    else:
        classifier, _ = find_mask_classifier(run)
    if not classifier.is_file():
        raise WeightsError(
            f"{classifier}: no such file; give the classifier of the initial masks by "
            "--resnet_checkpoint"
        )
    return classifier, run.mask_rule


def find_weights(options: InferOptions) -> tuple[Path, ...]:
    """The files of all weights that decide the results.

    Raises WeightsError if one of them is needed and missing.
    """
    if options.segment_by == MAPS:
        return find_map_weights(options)
    segmenter = find_segmenter(options)
    if segmenter is None:
        return find_sam_weights(options)
    classifier = find_gate_classifier(options)
    return (classifier, segmenter) if classifier else (segmenter,)


def resolve_sam_model_type(options: InferOptions) -> InferOptions:
    """The options with the SAM that the decoder was trained with, unless one is set by flag.

    A decoder of the published code does not hold it: the preset of the dataset stands in.
    """
    # A segmenter without prompts has no SAM.
    if options.sam_model_type or options.segment_by == MAPS or find_segmenter(options) is not None:
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
    is_by_maps = options.segment_by == MAPS
    names = _MAP_WEIGHT_NAMES if is_by_maps else _WEIGHT_NAMES[len(paths)]
    for name, path in zip(names, paths, strict=True):
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
    # As METHOD=gradcam and its like leave it, or a training that has not come further.
    maps = "; its initial masks alone segment with --segment_by maps"
    raise WeightsError(
        f"{run.root}: no trained decoder there; run ./train.sh or give --sam_decoder_checkpoint"
        f"{maps if run.mask_rule.is_file() else ''}"
    )
