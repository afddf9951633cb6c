"""Pseudo-labels: what a decoder makes of the training patches, and which of it is kept (paper
3.3.3, Algorithm 1).
"""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from epsam.config.decoder import DecoderOptions
from epsam.core.errors import DatasetError, TrainingError
from epsam.core.files import read_table, write_table
from epsam.data.embeddings import PatchEmbeddings
from epsam.data.images import read_mask, write_mask, write_probability
from epsam.data.patches import Patch
from epsam.engine.sanity import MaskCounts
from epsam.metrics import count_pixels, macro_dice_iou
from epsam.paths import RunPaths
from epsam.pseudo_labels.ids import is_accepted, score_pseudo_label
from epsam.segment.sam.segmenter import SamSegmenter
from epsam.tables import PSEUDO_LABEL_COLUMNS
from epsam.training.decoder import Example, PromptedPatch, predict_probabilities
from epsam.training.sam_setup import initial_mask_path

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RoundSummary:
    """Of one round: share of labels kept, mean Dice of all and of the kept ones where truth is
    known (else nan), and how many of all are empty or full.
    """

    acceptance: float
    dice_all: float
    dice_accepted: float
    predicted: MaskCounts


def write_pseudo_labels(
    number: int,
    run: RunPaths,
    segmenter: SamSegmenter,
    embeddings: PatchEmbeddings,
    asked: Sequence[PromptedPatch],
    options: DecoderOptions,
) -> RoundSummary:
    """Write the kept masks of round `number` to masks/iter_<number>, and a row for each patch to
    pseudo_labels.csv.

    With --soft_targets the probabilities behind the kept masks are written, too.
    """
    folder = run.pseudo_masks(number)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rows, all_overlaps, kept_overlaps, predicted = [], [], [], MaskCounts()
    for prompted, probability in predict_probabilities(
        segmenter, embeddings, asked, options.batch_size
    ):
        patch, mask = prompted.patch, probability > 0.5
        predicted.add(mask)
        score = score_pseudo_label(read_mask(initial_mask_path(run, "train", patch)), mask)
        keep = is_accepted(score, options.ids_threshold, options.min_area_ratio)
        row = {
            "round": number,
            "id": patch.name,
            "points": len(prompted.first_points),
            "ids": f"{score.ids:.6f}",
            "area_ratio": f"{score.area_ratio:.6f}",
            "accepted": int(keep),
        }
        if keep:
            write_mask(folder / f"{patch.name}.png", mask)
            if options.soft_targets:
                write_probability(run.probabilities(number) / f"{patch.name}.png", probability)
        if patch.mask is not None:
            found = count_pixels(mask, patch.ground_truth())
            row["dice"] = f"{found.dice:.6f}"
            all_overlaps.append(found)
            kept_overlaps += [found] if keep else []
        rows.append(row)
    _replace_round(run.pseudo_labels, number, rows)
    acceptance = float(np.mean([row["accepted"] for row in rows]))
    return RoundSummary(
        acceptance, macro_dice_iou(all_overlaps)[0], macro_dice_iou(kept_overlaps)[0], predicted
    )


def load_accepted_examples(
    number: int, run: RunPaths, patches: Sequence[Patch], pl_mode: str, soft_targets: bool = False
) -> list[Example]:
    """What round `number` is fitted to: the masks kept by the round before it, or by any before it,
    newest first.

    With `soft_targets` their probabilities, too. Raises TrainingError if there are none.
    """
    rounds = [number - 1] if pl_mode == "replace" else range(number - 1, -1, -1)
    examples = []
    for patch in patches:
        files = [run.pseudo_masks(earlier) / f"{patch.name}.png" for earlier in rounds]
        found = next((path for path in files if path.is_file()), None)
        if found:
            examples.append(
                Example(
                    patch,
                    found,
                    found.parent / "probability" / found.name if soft_targets else None,
                )
            )
    if not examples:
        raise TrainingError(
            f"round {number}: no pseudo-label of round {number - 1} was kept; look at "
            f"{run.pseudo_labels} and lower --ids_threshold, or train the classifier longer"
        )
    if missing := next((one.soft for one in examples if one.soft and not one.soft.is_file()), None):
        raise TrainingError(
            f"{missing}: missing, but --soft_targets needs it; give that flag to finetune_decoder.py, "
            "too"
        )
    return examples


def load_initial_examples(run: RunPaths, patches: Sequence[Patch]) -> list[Example]:
    """What the preliminary decoder is fitted to: the initial masks that are not empty (methods
    D32).

    Raises TrainingError if all of them are empty.
    """
    files = [initial_mask_path(run, "train", patch) for patch in patches]
    examples = [Example(patch, path) for patch, path in zip(patches, files, strict=True)]
    filled = [
        example for example, path in zip(examples, files, strict=True) if read_mask(path).any()
    ]
    log.info(
        "initial masks: %d to fit to, %d empty ones left out",
        len(filled),
        len(examples) - len(filled),
    )
    if not filled:
        raise TrainingError(
            f"{run.initial_masks('train')}: all initial masks are empty; "
            "lower --quantile or --open_kernel, or train the classifier longer"
        )
    return filled


def _replace_round(table: Path, number: int, rows: list[dict[str, object]]) -> None:
    """Rows of earlier rounds stay, this round's are replaced, and later ones, which grew out of it,
    go.
    """
    kept: list[dict[str, object]] = []
    if table.is_file():
        kept += [
            dict(row)
            for row in read_table(table, PSEUDO_LABEL_COLUMNS)
            if _round_of(row, table) < number
        ]
    write_table(table, PSEUDO_LABEL_COLUMNS, kept + rows)


def _round_of(row: dict[str, str], table: Path) -> int:
    if not row["round"].isdecimal():
        raise DatasetError(
            f"{table}: round {row['round']!r} of {row['id']} is no number; remove the file, it is made "
            "by retrain_decoder.py --restart"
        )
    return int(row["round"])
