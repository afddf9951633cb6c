"""Pseudo-labels: a decoder's masks of the training patches, and the next round's examples made of
them (paper 3.3.3, Algorithm 1).
"""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from epsam.config.decoder import DecoderOptions
from epsam.core.distributed import (
    gather_parts,
    is_main_process,
    part_of_process,
    wait_for_all,
)
from epsam.core.errors import DatasetError
from epsam.core.files import read_table, write_table
from epsam.data.cam_store import CamMap
from epsam.data.embeddings import PatchEmbeddings
from epsam.data.images import read_mask, write_mask, write_probability
from epsam.engine.sanity import MaskCounts
from epsam.metrics import PixelCounts, count_pixels, macro_dice_iou
from epsam.paths import RunPaths
from epsam.pseudo_labels.selection import build_selection
from epsam.segment.sam.segmenter import SamSegmenter
from epsam.tables import PSEUDO_LABEL_COLUMNS
from epsam.training.decoder import PromptedPatch, predict_probabilities, split_batches
from epsam.training.round_data import initial_mask_path

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RoundSummary:
    """The pseudo-labels of one round.

    acceptance: fraction of labels that are accepted. dice_all, dice_accepted: macro Dice of all and
    of the accepted labels with the ground truth, nan where there is none. mask_counts: of all
    labels, how many are empty or full.
    """

    acceptance: float
    dice_all: float
    dice_accepted: float
    mask_counts: MaskCounts


def write_pseudo_labels(
    number: int,
    run: RunPaths,
    segmenter: SamSegmenter,
    embeddings: PatchEmbeddings,
    prompted_patches: Sequence[PromptedPatch],
    options: DecoderOptions,
) -> RoundSummary:
    """Write the accepted masks of round `number` to masks/iter_<number>, and a row for each patch
    to pseudo_labels.csv.

    With --soft_targets the probabilities of the accepted masks are written, too. Processes share
    the patches; the main one writes the table.
    """
    folder = run.pseudo_masks(number)
    if is_main_process():
        # A mask of an earlier run of this round must not be taken for an accepted one
        # (docs/deviations.md, "Stale masks").
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    wait_for_all()

    writer = _LabelWriter(number, run, options)
    labels_of_batches = []
    for batch in part_of_process(split_batches(prompted_patches, options.batch_size)):
        predicted = predict_probabilities(
            segmenter, embeddings, batch, options.batch_size, options.fill_decoder_holes
        )
        labels_of_batches.append([writer.write_label(*item) for item in predicted])

    mask_counts = MaskCounts()
    rows, all_counts, accepted_counts = [], [], []
    for labels in gather_parts(labels_of_batches):
        for label in labels:
            rows.append(label.row)
            mask_counts.include(label.mask_counts)
            if label.counts:
                all_counts.append(label.counts)
            if label.counts and label.row["accepted"]:
                accepted_counts.append(label.counts)

    if is_main_process():
        _replace_round(run.pseudo_labels, number, rows)
    acceptance = float(np.mean([row["accepted"] for row in rows]))
    dice_all, _ = macro_dice_iou(all_counts)
    dice_accepted, _ = macro_dice_iou(accepted_counts)
    return RoundSummary(acceptance, dice_all, dice_accepted, mask_counts)


@dataclass(frozen=True)
class _PseudoLabel:
    """What a patch adds to the table and to the round's summary. counts: with its ground truth."""

    row: dict[str, Any]
    mask_counts: MaskCounts
    counts: PixelCounts | None


class _LabelWriter:
    """Decides on the masks of a round, and writes those that are accepted."""

    def __init__(self, number: int, run: RunPaths, options: DecoderOptions) -> None:
        self._number = number
        self._run = run
        self._options = options
        self._selection = build_selection(options)

    def write_label(self, prompted: PromptedPatch, probability: CamMap) -> _PseudoLabel:
        patch, mask = prompted.patch, probability > 0.5
        initial_mask = read_mask(initial_mask_path(self._run, "train", patch))
        decision = self._selection.decide(initial_mask, mask)
        row: dict[str, Any] = {
            "round": self._number,
            "id": patch.name,
            "points": len(prompted.first_points),
            "ids": f"{decision.score.ids:.6f}",
            "area_ratio": f"{decision.score.area_ratio:.6f}",
            "accepted": int(decision.accepted),
        }
        if decision.accepted:
            write_mask(self._run.pseudo_masks(self._number) / f"{patch.name}.png", mask)
            if self._options.soft_targets:
                folder = self._run.probabilities(self._number)
                write_probability(folder / f"{patch.name}.png", probability)

        # The ground truth is only reported; neither selection nor training sees it.
        counts = None
        if patch.mask is not None:
            counts = count_pixels(mask, patch.ground_truth())
            row["dice"] = f"{counts.dice:.6f}"
        mask_counts = MaskCounts()
        mask_counts.add(mask)
        return _PseudoLabel(row, mask_counts, counts)


def _replace_round(table: Path, number: int, rows: list[dict[str, object]]) -> None:
    """Write a round's rows to the table between those of earlier and of later rounds."""
    earlier_rows: list[dict[str, object]] = []
    later_rows: list[dict[str, object]] = []
    for row in read_table(table, PSEUDO_LABEL_COLUMNS) if table.is_file() else []:
        row_number = _parse_round(row, table)
        if row_number < number:
            earlier_rows.append(dict(row))
        elif row_number > number:
            later_rows.append(dict(row))
    write_table(table, PSEUDO_LABEL_COLUMNS, earlier_rows + rows + later_rows)


def _parse_round(row: dict[str, str], table: Path) -> int:
    """The round of a row. Raises DatasetError if it is no number."""
    if not row["round"].isdecimal():
        raise DatasetError(
            f"{table}: round {row['round']!r} of {row['id']} is no number; remove the file, it is "
            "made by retrain_decoder.py --restart"
        )
    return int(row["round"])
