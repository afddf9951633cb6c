"""Scores of everything a run kept: initial masks, untouched SAM, preliminary decoder, each round
(Tables 2 to 6).
"""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epsam.config.common import SPLITS
from epsam.config.decoder import SelectionOptions
from epsam.config.evaluation import EvaluateOptions
from epsam.config.metadata import explicit_fields, merge_fields
from epsam.config.sam import PromptOptions, PromptOverrides
from epsam.core.checkpoints import load_plain
from epsam.core.device import select_device
from epsam.data.cam_store import CamStore, load_cams
from epsam.data.images import Mask, read_mask
from epsam.data.patches import Patch, list_labelled_patches, read_patch_size, select_positives
from epsam.metrics import PixelCounts, count_pixels, macro_dice_iou, sum_counts
from epsam.paths import DatasetPaths, RunPaths
from epsam.pseudo_labels.ids import is_accepted, score_pseudo_label
from epsam.segment.sam.decoder_weights import load_decoder
from epsam.tables import INITIAL, PRELIMINARY, ZERO_SHOT
from epsam.training.cams import find_mask_classifier
from epsam.training.decoder import PromptedPatch, predict_masks
from epsam.training.sam_setup import (
    SamSetup,
    initial_mask_path,
    prepare_embeddings,
    prepare_sam,
    prompt_patches,
)


@dataclass(frozen=True)
class SplitCase:
    """The scored part of a split: positives with truth, their maps, and what SAM is asked about
    them.

    asked: by what makes masks, since each decoder is asked as in its own training; always of the
    same patches.
    """

    split: str
    asked: dict[str, list[PromptedPatch]]
    maps: CamStore

    @property
    def patches(self) -> list[Patch]:
        """The scored patches."""
        return [prompted.patch for prompted in self.asked[INITIAL]]


@dataclass(frozen=True)
class SamPredictors:
    """SAM ready to decode; `files` maps a row's name to a decoder's file, None being SAM's own
    decoder.

    asking: how each is asked.
    """

    setup: SamSetup
    files: dict[str, Path | None]
    asking: dict[str, PromptOptions]
    untouched: dict[str, Any]
    batch_size: int

    def masks(self, what: str, asked: Sequence[PromptedPatch]) -> list[Mask]:
        """The masks that the decoder of that name makes of the patches."""
        sam, path, asking = self.setup.segmenter.sam, self.files[what], self.asking[what]
        segmenter = self.setup.segmenter.padded_to(asking.n_point + asking.n_negative)
        if path is None:
            sam.mask_decoder.load_state_dict(self.untouched)
        else:
            load_decoder(path, sam)
        return [
            mask
            for _, mask in predict_masks(segmenter, self.setup.embeddings, asked, self.batch_size)
        ]


@dataclass(frozen=True)
class Evaluation:
    """A run ready to be scored; a run that ends with its initial masks has no decoders.

    selection: by what makes masks, how its pseudo-labels are filtered.
    """

    run: RunPaths
    cases: list[SplitCase]
    decoders: SamPredictors | None
    selection: dict[str, SelectionOptions]

    @property
    def last(self) -> str:
        """What makes the last masks: a decoder, if the run has any."""
        return list(self.decoders.files)[-1] if self.decoders else INITIAL


def prepare_evaluation(options: EvaluateOptions) -> Evaluation:
    """Load what a run kept, with an embedding for each patch that has a truth mask; empty splits
    are left out.
    """
    data, run = DatasetPaths.of(options), RunPaths.of(options)
    patches = {
        split: select_positives(list_labelled_patches(data.split(split))) for split in SPLITS
    }
    size = read_patch_size(patches["train"])
    known = {
        split: kept
        for split, found in patches.items()
        if (kept := [patch for patch in found if patch.mask])
    }
    facts = (
        load_plain(run.preliminary_decoder)["made_with"]
        if run.preliminary_decoder.is_file()
        else {}
    )
    made = metadata_by_predictor(run, facts)
    asking = prompt_options_of(made, explicit_fields(PromptOverrides, options))
    decoders = _open_decoders(options, run, known, size, asking) if facts else None
    _, classifier = find_mask_classifier(run)
    cases = []
    for split, found in known.items():
        maps = load_cams(run.cams(split), classifier)
        # Decoders that are asked alike share what they are asked.
        asked = {
            one: prompt_patches(run, split, found, maps, one, (options.seed,))
            for one in set(asking.values())
        }
        cases.append(SplitCase(split, {what: asked[one] for what, one in asking.items()}, maps))
    return Evaluation(
        run,
        cases,
        decoders,
        {what: merge_fields(SelectionOptions, own) for what, own in made.items()},
    )


def metadata_by_predictor(run: RunPaths, facts: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """How everything that makes masks was made: as its own file tells, else as `facts` say, those
    of the preliminary decoder.
    """
    found = {INITIAL: facts}
    for what, path in decoders_of(run).items() if facts else ():
        found[what] = {**facts, **(load_plain(path).get("made_with", {}) if path else {})}
    return found


def prompt_options_of(
    made: Mapping[str, Mapping[str, Any]], used: Mapping[str, Any]
) -> dict[str, PromptOptions]:
    """How everything that makes masks is asked: as `used` says, else as in its own training."""
    return {what: merge_fields(PromptOptions, used, facts) for what, facts in made.items()}


def _open_decoders(
    options: EvaluateOptions,
    run: RunPaths,
    known: dict[str, list[Patch]],
    size: int,
    asking: dict[str, PromptOptions],
) -> SamPredictors:
    device_config = select_device(options.device, options.precision)
    views = max(one.n_transform for one in asking.values())
    usual = asking[PRELIMINARY]
    setup = prepare_sam(
        options,
        size,
        sum(map(len, known.values())) * views,
        usual.n_point + usual.n_negative,
        device_config,
    )
    for found in known.values():
        prepare_embeddings(setup, found, views)
    untouched = copy.deepcopy(setup.segmenter.sam.mask_decoder.state_dict())
    return SamPredictors(setup, decoders_of(run), asking, untouched, options.batch_size)


def decoders_of(run: RunPaths) -> dict[str, Path | None]:
    """The run's decoders in the order in which they were made."""
    found: dict[str, Path | None] = {ZERO_SHOT: None, PRELIMINARY: run.preliminary_decoder}
    number = 1
    while run.round_decoder(number).is_file():
        found[f"round {number}"] = run.round_decoder(number)
        number += 1
    return found


@dataclass(frozen=True)
class SplitScores:
    """The overlaps of all patches of a split with their truth, for one thing that makes masks, by
    patch name.

    `kept`: which of them its IDS filter would keep; None where nothing is filtered.
    """

    split: str
    what: str
    overlaps: dict[str, PixelCounts]
    kept: dict[str, bool] | None = None

    def row(self) -> dict[str, Any]:
        """Means over patches, and pooled: a row of evaluation.csv."""
        dice, iou = macro_dice_iou(list(self.overlaps.values()))
        total = sum_counts(list(self.overlaps.values()))
        values = {"dice": dice, "iou": iou, "pooled_dice": total.dice, "pooled_iou": total.iou}
        return {
            "split": self.split,
            "what": self.what,
            "patches": len(self.overlaps),
            **{name: round(value, 6) for name, value in values.items()},
            **self._selection(),
        }

    def patch_rows(self) -> list[dict[str, Any]]:
        """A row for each patch."""
        return [
            {
                "split": self.split,
                "what": self.what,
                "id": name,
                "dice": round(found.dice, 6),
                "iou": round(found.iou, 6),
            }
            for name, found in self.overlaps.items()
        ]

    def _selection(self) -> dict[str, Any]:
        if self.kept is None:
            return {}
        dice = macro_dice_iou([found for name, found in self.overlaps.items() if self.kept[name]])[
            0
        ]
        share = sum(self.kept.values()) / len(self.kept)
        return {"kept": round(share, 6), "kept_dice": "" if math.isnan(dice) else round(dice, 6)}


def score_all(evaluation: Evaluation) -> list[SplitScores]:
    """One entry for each split and each thing that makes masks."""
    found = []
    for case in evaluation.cases:
        names = [patch.name for patch in case.patches]
        truths = [patch.ground_truth() for patch in case.patches]
        initial = [
            read_mask(initial_mask_path(evaluation.run, case.split, patch))
            for patch in case.patches
        ]
        for what, masks in _makers(evaluation, case, initial):
            overlaps = [
                count_pixels(mask, truth) for mask, truth in zip(masks, truths, strict=True)
            ]
            keep = None
            if case.split == "train" and what != INITIAL:
                keep = dict(
                    zip(names, _keep(masks, initial, evaluation.selection[what]), strict=True)
                )
            found.append(
                SplitScores(case.split, what, dict(zip(names, overlaps, strict=True)), keep)
            )
    return found


def _makers(
    evaluation: Evaluation, case: SplitCase, initial: list[Mask]
) -> Iterator[tuple[str, list[Mask]]]:
    yield INITIAL, initial
    if evaluation.decoders:
        for what in evaluation.decoders.files:
            yield what, evaluation.decoders.masks(what, case.asked[what])


def _keep(masks: Sequence[Mask], initial: Sequence[Mask], options: SelectionOptions) -> list[bool]:
    """Which of the train masks a filter would keep (paper Table 5 is before the filter)."""
    return [
        is_accepted(score_pseudo_label(first, mask), options.ids_threshold, options.min_area_ratio)
        for first, mask in zip(initial, masks, strict=True)
    ]


def extreme_cases(scored: SplitScores, each: int = 2) -> list[str]:
    """Names of the `each` patches of lowest Dice, those in the middle, and those of highest, in
    that order.
    """
    ranked = sorted(scored.overlaps, key=lambda name: scored.overlaps[name].dice)
    middle = max(0, (len(ranked) - each) // 2)
    return list(dict.fromkeys([*ranked[:each], *ranked[middle : middle + each], *ranked[-each:]]))
