"""Pseudo-labels: a decoder's masks of the training patches, and the next round's examples made of
them (paper 3.3.3, Algorithm 1).
"""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from epsam.config.decoder import DecoderOptions
from epsam.core.errors import DatasetError
from epsam.core.files import read_table, write_table
from epsam.data.embeddings import PatchEmbeddings
from epsam.data.images import read_mask, write_mask, write_probability
from epsam.engine.sanity import MaskCounts
from epsam.metrics import count_pixels, macro_dice_iou
from epsam.paths import RunPaths
from epsam.pseudo_labels.selection import build_selection
from epsam.segment.sam.segmenter import SamSegmenter
from epsam.tables import PSEUDO_LABEL_COLUMNS
from epsam.training.decoder import PromptedPatch, predict_probabilities
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

    With --soft_targets the probabilities of the accepted masks are written, too.
    """
    folder = run.pseudo_masks(number)
    # A mask of an earlier run of this round must not be taken for an accepted one
    # (docs/deviations.md, "Stale masks").
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)

    selection = build_selection(options)
    rows: list[dict[str, object]] = []
    mask_counts = MaskCounts()
    all_counts, accepted_counts = [], []
    for prompted, probability in predict_probabilities(
        segmenter, embeddings, prompted_patches, options.batch_size
    ):
        patch, mask = prompted.patch, probability > 0.5
        mask_counts.add(mask)
        decision = selection.decide(read_mask(initial_mask_path(run, "train", patch)), mask)
        score, accepted = decision.score, decision.accepted
        row = {
            "round": number,
            "id": patch.name,
            "points": len(prompted.first_points),
            "ids": f"{score.ids:.6f}",
            "area_ratio": f"{score.area_ratio:.6f}",
            "accepted": int(accepted),
        }
        if accepted:
            write_mask(folder / f"{patch.name}.png", mask)
            if options.soft_targets:
                write_probability(run.probabilities(number) / f"{patch.name}.png", probability)

        # The ground truth is only reported; neither selection nor training sees it.
        if patch.mask is not None:
            counts = count_pixels(mask, patch.ground_truth())
            row["dice"] = f"{counts.dice:.6f}"
            all_counts.append(counts)
            if accepted:
                accepted_counts.append(counts)
        rows.append(row)

    _replace_round(run.pseudo_labels, number, rows)
    acceptance = float(np.mean([row["accepted"] for row in rows]))
    dice_all, _ = macro_dice_iou(all_counts)
    dice_accepted, _ = macro_dice_iou(accepted_counts)
    return RoundSummary(acceptance, dice_all, dice_accepted, mask_counts)


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
