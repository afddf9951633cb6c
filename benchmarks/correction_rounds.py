"""A simulated annotator for corrections.py: which training patches of a finished run are corrected,
what is drawn on them, the round that learns it, and its scores on test.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import retrain_decoder
import reuse_run
from epsam.annotations.contours import ContourTracer
from epsam.config.decoder import RetrainOptions
from epsam.config.evaluation import EvaluateOptions
from epsam.config.metadata import merge_fields
from epsam.config.reuse import ReuseOptions
from epsam.core.errors import DatasetError
from epsam.core.seeding import generator
from epsam.corrections.document import CorrectionDocument, write_document
from epsam.corrections.patches import name_in_corrections
from epsam.data.cam_store import load_cams
from epsam.data.images import Mask
from epsam.data.patches import Patch, list_labelled_patches, read_patch_size, select_positives
from epsam.evaluation.predictors import (
    SamPredictors,
    load_preliminary_metadata,
    metadata_by_predictor,
    open_predictors,
    prompt_options_by_predictor,
)
from epsam.metrics import PixelCounts, count_pixels
from epsam.paths import DatasetPaths, RunPaths
from epsam.tables import ZERO_SHOT
from epsam.training.corrected_targets import load_round_examples, write_corrected_targets
from epsam.training.round_data import find_mask_classifier, load_round_data
from epsam.training.rounds import DecoderRound
from epsam.training.sam_setup import prompt_patches
from epsam.view.next_corrections import rank_patches
from epsam.view.run_patches import TrainingRun

ROOT = Path(__file__).resolve().parents[1]
ORDERS = UNCERTAIN, RANDOM = ("uncertain", "random")
TIME = "2026-01-01T00:00:00+00:00"
"""Of all edits, so that a set of corrections is always the same file."""

Counts = Mapping[str, PixelCounts]
"""Of each test patch, by its name."""


@dataclass(frozen=True)
class Source:
    """The finished run whose training patches are corrected, and how the rounds are trained."""

    run: TrainingRun
    options: RetrainOptions

    @property
    def name(self) -> str:
        return self.run.run.root.name


def load_source(folder: Path, epochs: int = 0) -> Source:
    """The finished run of a folder, with its dataset; epochs: of a round, 0: as in the run.

    Raises DatasetError if it has no round.
    """
    run = TrainingRun(folder, ROOT)
    stored = run.options.get("decoder_1")
    if stored is None:
        raise DatasetError(f"{folder}: has no round; run ./train.sh first")
    options = merge_fields(RetrainOptions, stored)
    options = replace(
        options,
        dataset_root=str(run.data.root.parent),
        checkpoint_root=str(folder.parent),
        run=folder.name,
        epoch=epochs or options.epoch,
        n_iter=1,
    )
    return Source(run, options)


def order_patches(source: Source, order: str) -> list[str]:
    """The names of the training patches with tumour, those that are corrected first at the head."""
    ranked = rank_patches(source.run, set())
    names = [source.run.patches[number].patch.name for number, _, _ in ranked]
    if order == RANDOM:
        rng = generator(source.options.seed, "corrections", RANDOM)
        names = rng.permutation(sorted(names)).tolist()
    return names


def train_round(source: Source, name: str, patches: Sequence[str]) -> tuple[RunPaths, float]:
    """One round with corrections of these patches, in the run `name`: its files, and the Dice on
    validation of the epoch that is chosen.

    This is what retrain_decoder.py does, without pseudo-labels.
    """
    reuse = ReuseOptions(
        dataset_type=source.options.dataset_type,
        checkpoint_root=source.options.checkpoint_root,
        run=name,
        source_run=source.name,
    )
    reuse_run.main(reuse)
    options = replace(source.options, run=name)
    run = RunPaths.of(options)
    if patches:
        folder = run.root / "simulated_corrections"
        write_corrections(source, folder, patches)
        options = replace(options, corrections=str(folder))
    data = load_round_data(options)
    corrections = write_corrected_targets(options, data)
    context = retrain_decoder.load_context(options, data, corrections.further)
    examples = load_round_examples(1, options, data.train, corrections)
    decoder_round = DecoderRound(1, context, examples)
    decoder_round.begin()
    state = decoder_round.fit_decoder()
    dice = [value for _, metric, value in state.history if metric == "val_dice"]
    return run, max(dice)


def write_corrections(source: Source, folder: Path, names: Sequence[str]) -> None:
    """Correct training patches by their ground truth: all of it is reviewed."""
    splits_of: dict[str, list[str]] = {}
    patches = {}
    for item in source.run.patches:
        splits_of.setdefault(item.patch.name, []).append(item.split)
        if item.split == "train":
            patches[item.patch.name] = item.patch
    for name in names:
        document = correct_patch(patches[name])
        path = name_in_corrections(name, "train", splits_of[name])
        write_document(folder / f"{path}.geojson", document)


def correct_patch(patch: Patch) -> CorrectionDocument:
    """What somebody who knows the ground truth of a patch draws: exactly its pixels."""
    return draw_mask(patch.name, patch.ground_truth())


def draw_mask(name: str, mask: Mask) -> CorrectionDocument:
    """A mask (height, width) as corrections: everything is reviewed, then tumour, then its holes,
    outer ones first.
    """
    height, width = mask.shape
    frame = [[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]]
    document = CorrectionDocument(name)
    tracer = ContourTracer(width)
    tracer.add(mask)
    document = document.add("reviewed", np.array(frame), TIME)
    # A ring comes after the one around it, so that a region in a hole is painted over the hole.
    for ring in tracer.trace_rings():
        document = document.add("normal" if ring.is_hole else "tumour", ring.points_xy, TIME)
    return document


def score_decoders(
    source: Source, run: RunPaths, names: Sequence[str] = ()
) -> dict[str, dict[str, PixelCounts]]:
    """Pixels of each test patch with tumour, by decoder of a run; names: of these alone."""
    # The flags of SAM and of prompts are the same; a run need not have been evaluated.
    options = merge_fields(EvaluateOptions, source.run.options["decoder_1"])
    options = replace(
        options,
        dataset_root=source.options.dataset_root,
        checkpoint_root=source.options.checkpoint_root,
        run=run.root.name,
    )
    data = DatasetPaths.of(options)
    train = select_positives(list_labelled_patches(data.split("train")))
    test = [p for p in select_positives(list_labelled_patches(data.split("test"))) if p.mask]
    metadata = metadata_by_predictor(run, load_preliminary_metadata(run))
    by_predictor = prompt_options_by_predictor(metadata, {})
    predictors = open_predictors(options, run, {"test": test}, read_patch_size(train), by_predictor)
    _, classifier = find_mask_classifier(run)
    cams = load_cams(run.cams("test"), classifier)
    scores = {}
    for name in predictors.decoder_files:
        if name != ZERO_SHOT and (name in names or not names):
            key = (options.seed,)
            prompted = prompt_patches(run, "test", test, cams, by_predictor[name], key)
            scores[name] = score_masks(predictors, name, test, prompted)
    return scores


def score_masks(
    predictors: SamPredictors, name: str, patches: Sequence[Patch], prompted: Sequence[Any]
) -> dict[str, PixelCounts]:
    """Pixels of each patch by one decoder."""
    counts = {}
    masks = predictors.predict_masks(name, prompted)
    for patch, mask in zip(patches, masks, strict=True):
        counts[patch.name] = count_pixels(mask, patch.ground_truth())
    return counts
