"""A run ready to be scored: its predictors, and its patches prompted for each of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from epsam.config.common import SPLITS
from epsam.config.decoder import SelectionOptions
from epsam.config.evaluation import EvaluateOptions
from epsam.config.masks import MaskRule
from epsam.config.metadata import explicit_fields, merge_fields
from epsam.config.sam import PromptOptions, PromptOverrides
from epsam.core.device import select_device
from epsam.core.errors import DatasetError
from epsam.core.files import read_json
from epsam.data.cam_store import CamStore, load_cams
from epsam.data.patches import Patch, list_labelled_patches, read_patch_size, select_positives
from epsam.evaluation.classification import (
    classify_by_gate_classifier,
    classify_splits,
    gate_patches,
)
from epsam.evaluation.mask_threshold import VALIDATION, choose_mask_threshold
from epsam.evaluation.predictors import (
    DecoderPredictor,
    InitialMasks,
    Predictor,
    ProbabilityPredictor,
    load_preliminary_metadata,
    load_segmenter_predictor,
    metadata_by_predictor,
    open_predictors,
    prompt_options_by_predictor,
)
from epsam.evaluation.score_run import Evaluation, SplitCase
from epsam.paths import DatasetPaths, RunPaths
from epsam.pseudo_labels.selection import PseudoLabelSelection, build_selection
from epsam.training.cams import write_initial_masks
from epsam.training.decoder import PromptedPatch
from epsam.training.normal_patches import prepare_normal_cams
from epsam.training.round_data import find_mask_classifier
from epsam.training.sam_setup import find_embedding_cache, prompt_patches


def prepare_evaluation(options: EvaluateOptions) -> Evaluation:
    """Load a run's predictors, classify all patches, and prompt each that has a ground-truth mask
    or is a negative that passes the gate.

    Splits without any ground-truth mask are classified, but not scored.
    """
    data, run = DatasetPaths.of(options), RunPaths.of(options)
    patches = {split: list_labelled_patches(data.split(split)) for split in SPLITS}
    if run.segmenter.is_file() and not run.mask_rule.is_file():
        return _prepare_segmenter(options, run, patches)

    patch_size = read_patch_size(select_positives(patches["train"]))
    scored_patches = _select_scored(patches)
    classifications = classify_splits(options, run, patches, patch_size)
    # CAMs by what stands for a split in a run's paths, and the patches to prompt with them.
    prompted = dict(scored_patches)
    if options.mask_threshold_from == "validation":
        # Its initial masks take the place of ground truth.
        prompted.setdefault(VALIDATION, select_positives(patches[VALIDATION]))
    cams = _load_cams(run, list(prompted))
    for split in scored_patches:
        passed = classifications[split].passed_negatives() if classifications else []
        if passed:
            cams[_negatives_of(split)] = _prepare_negatives(options, run, split, passed, patch_size)
            prompted[_negatives_of(split)] = passed

    # A run may end with its initial masks; then there is no decoder to load.
    preliminary = load_preliminary_metadata(run)
    metadata = metadata_by_predictor(run, preliminary)
    overrides = explicit_fields(PromptOverrides, options)
    prompt_options = prompt_options_by_predictor(metadata, overrides)
    cases = {}
    for split, of_split in prompted.items():
        by_predictor = _prompt_for_predictors(
            run, split, of_split, cams[split], prompt_options, options.seed
        )
        cases[split] = SplitCase(split, of_split, by_predictor, cams[split])

    predictors: list[Predictor] = [InitialMasks(run)]
    selection: dict[str, PseudoLabelSelection] = {}
    if preliminary:
        sam_predictors = open_predictors(options, run, prompted, patch_size, prompt_options)
        for name in sam_predictors.decoder_files:
            of_predictor = {split: case.prompted_patches[name] for split, case in cases.items()}
            predictors.append(DecoderPredictor(name, sam_predictors, of_predictor))
            selection[name] = build_selection(merge_fields(SelectionOptions, metadata[name]))
    if run.segmenter.is_file():
        predictors.append(load_segmenter_predictor(options, run))

    scored_cases = [cases[split] for split in scored_patches]
    passed_negatives = {}
    for split in scored_patches:
        if _negatives_of(split) in cases:
            passed_negatives[split] = cases[_negatives_of(split)]
    evaluation = Evaluation(
        run, scored_cases, predictors, selection, classifications, passed_negatives
    )
    return _apply_mask_threshold(evaluation, options, prompted.get(VALIDATION, ()))


def _apply_mask_threshold(
    evaluation: Evaluation, options: EvaluateOptions, validation: Sequence[Patch]
) -> Evaluation:
    """The evaluation with the threshold of the options in all predictors of probabilities; it is
    found with the last one, which inference uses.
    """
    threshold = options.mask_threshold
    on_validation = None
    last = evaluation.last_predictor
    if options.mask_threshold_from == "validation" and isinstance(last, ProbabilityPredictor):
        threshold = on_validation = choose_mask_threshold(last, evaluation.run, validation)

    predictors: list[Predictor] = []
    for predictor in evaluation.predictors:
        if isinstance(predictor, ProbabilityPredictor):
            predictors.append(predictor.with_threshold(threshold))
        else:
            predictors.append(predictor)
    return replace(
        evaluation,
        predictors=predictors,
        mask_threshold=threshold,
        mask_on_validation=on_validation,
    )


def _select_scored(patches: Mapping[str, list[Patch]]) -> dict[str, list[Patch]]:
    """The positives with a ground-truth mask, by split; splits without any are left out."""
    scored = {}
    for split, of_split in patches.items():
        with_mask = [patch for patch in select_positives(of_split) if patch.mask]
        if with_mask:
            scored[split] = with_mask
    return scored


def _prepare_segmenter(
    options: EvaluateOptions, run: RunPaths, patches: Mapping[str, list[Patch]]
) -> Evaluation:
    """A run without maps, that has a segmenter without prompts."""
    predictor = load_segmenter_predictor(options, run)
    if run.gate_classifier.is_file():
        size = predictor.segmenter.patch_size
        classifications = classify_by_gate_classifier(options, run, patches, size)
    else:
        # Its own scores are the gate.
        probabilities = {}
        for split, of_split in patches.items():
            if of_split:
                probabilities[split] = predictor.score(of_split)
        classifications = gate_patches(options, patches, probabilities)

    cases, passed_negatives = [], {}
    for split, scored in _select_scored(patches).items():
        cases.append(SplitCase(split, scored, {}, None))
        passed = classifications[split].passed_negatives()
        if passed:
            passed_negatives[split] = SplitCase(split, passed, {}, None)
    if options.mask_threshold_from == "validation":
        raise DatasetError(
            f"--mask_threshold_from validation: {run.root} has no initial masks to agree with; set "
            "--mask_threshold"
        )
    evaluation = Evaluation(run, cases, [predictor], {}, classifications, passed_negatives)
    return _apply_mask_threshold(evaluation, options, ())


def _negatives_of(split: str) -> str:
    """What stands for the negatives of a split in the paths of their CAMs and initial masks."""
    return f"negatives_{split}"


def _load_cams(run: RunPaths, splits: Sequence[str]) -> dict[str, CamStore]:
    # The checksum refuses CAMs of another classifier.
    _, classifier_checksum = find_mask_classifier(run)
    return {split: load_cams(run.cams(split), classifier_checksum) for split in splits}


def _prepare_negatives(
    options: EvaluateOptions, run: RunPaths, split: str, patches: Sequence[Patch], size: int
) -> CamStore:
    """CAMs and initial masks of the negatives that pass the gate, as step 3 makes those of
    positives.
    """
    device_config = select_device(options.device, options.precision)
    name = _negatives_of(split)
    embeddings = find_embedding_cache(options)
    cams = prepare_normal_cams(
        run, name, patches, size, options.batch_size, device_config, embeddings
    )
    rule = merge_fields(MaskRule, read_json(run.mask_rule))
    write_initial_masks(run, name, cams, patches, size, rule)
    return cams


def _prompt_for_predictors(
    run: RunPaths,
    split: str,
    patches: Sequence[Patch],
    cams: CamStore,
    prompt_options: dict[str, PromptOptions],
    seed: int,
) -> dict[str, list[PromptedPatch]]:
    """The patches of a split by predictor, prompted for it."""
    # Sampling is slow; predictors with equal options share their prompts.
    prompts_by_options = {}
    for options in set(prompt_options.values()):
        prompts_by_options[options] = prompt_patches(run, split, patches, cams, options, (seed,))

    prompted_patches = {}
    for predictor, options in prompt_options.items():
        prompted_patches[predictor] = prompts_by_options[options]
    return prompted_patches
