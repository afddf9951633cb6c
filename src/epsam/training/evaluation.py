"""Scores of everything a run kept: initial masks, untouched SAM, preliminary decoder, each round (Tables 2, 5, 6)."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epsam.checkpoints import load_plain
from epsam.data.activations import Activations, load_activations
from epsam.data.images import Mask, read_mask
from epsam.data.patches import common_size, labelled_patches, positives
from epsam.device import pick_compute
from epsam.facts import told
from epsam.files import sha256_of
from epsam.options import SPLITS, EvaluateOptions, PromptOptions
from epsam.paths import DatasetPaths, RunPaths
from epsam.sam.weights import load_decoder
from epsam.training.decoder import Prompted, predict
from epsam.training.metrics import Overlap, mean_dice_iou, overlap, pooled
from epsam.training.workbench import SamSetup, initial_mask_of, prepare_embeddings, prompts_of, set_up_sam

COLUMNS = ("split", "what", "patches", "dice", "iou", "pooled_dice", "pooled_iou")
PATCH_COLUMNS = ("split", "what", "id", "dice", "iou")
INITIAL, ZERO_SHOT, PRELIMINARY = "initial mask", "zero-shot SAM", "preliminary decoder"


@dataclass(frozen=True)
class SplitCase:
    """The scored part of a split: positives with truth, their maps, and what SAM is asked about them."""

    split: str
    asked: list[Prompted]
    maps: Activations


@dataclass(frozen=True)
class Evaluation:
    """A run ready to be scored; `decoders` maps a row's name to a decoder's file, None being SAM's own decoder."""

    run: RunPaths
    setup: SamSetup
    cases: list[SplitCase]
    decoders: dict[str, Path | None]
    untouched_decoder: dict[str, Any]


def open_evaluation(options: EvaluateOptions) -> Evaluation:
    """Load what a run kept, with an embedding for each patch that has a truth mask; empty splits are left out."""
    data, run = DatasetPaths.of(options), RunPaths.of(options)
    patches = {split: positives(labelled_patches(data.split(split))) for split in SPLITS}
    size = common_size(patches["train"])
    known = {split: [patch for patch in found if patch.mask] for split, found in patches.items()}
    compute = pick_compute(options.device, options.precision)
    facts = load_plain(run.preliminary_decoder)["made_with"]
    asking = told(PromptOptions, {"n_point": options.n_point} if options.n_point else {}, facts)
    images = sum(map(len, known.values()))
    setup = set_up_sam(options, size, images, asking.n_point + asking.n_negative, compute)
    classifier = sha256_of(run.classifier)
    cases = []
    for split, found in known.items():
        if found:
            prepare_embeddings(setup, found, 1)
            maps = load_activations(run.activation(split), classifier)
            prompts = prompts_of(run, split, found, maps, asking, (options.seed,))
            cases.append(SplitCase(split, [Prompted(*pair) for pair in zip(found, prompts, strict=True)], maps))
    untouched = copy.deepcopy(setup.segmenter.sam.mask_decoder.state_dict())
    return Evaluation(run, setup, cases, decoders_of(run), untouched)


def decoders_of(run: RunPaths) -> dict[str, Path | None]:
    """The run's decoders in the order in which they were made."""
    found: dict[str, Path | None] = {ZERO_SHOT: None, PRELIMINARY: run.preliminary_decoder}
    number = 1
    while run.round_decoder(number).is_file():
        found[f"round {number}"] = run.round_decoder(number)
        number += 1
    return found


@dataclass(frozen=True)
class Scored:
    """The overlaps of all patches of a split with their truth, for one thing that makes masks, by patch name."""

    split: str
    what: str
    overlaps: dict[str, Overlap]

    def row(self) -> dict[str, Any]:
        """Means over patches, and pooled: a row of evaluation.csv."""
        dice, iou = mean_dice_iou(list(self.overlaps.values()))
        total = pooled(list(self.overlaps.values()))
        values = {"dice": dice, "iou": iou, "pooled_dice": total.dice, "pooled_iou": total.iou}
        return {"split": self.split, "what": self.what, "patches": len(self.overlaps),
                **{name: round(value, 6) for name, value in values.items()}}

    def patch_rows(self) -> list[dict[str, Any]]:
        """A row for each patch."""
        return [{"split": self.split, "what": self.what, "id": name, "dice": round(found.dice, 6),
                 "iou": round(found.iou, 6)} for name, found in self.overlaps.items()]


def score_all(evaluation: Evaluation, batch_size: int) -> list[Scored]:
    """One entry for each split and each thing that makes masks."""
    found = []
    for case in evaluation.cases:
        names = [prompted.patch.name for prompted in case.asked]
        truths = [prompted.patch.truth() for prompted in case.asked]
        initial = [read_mask(initial_mask_of(evaluation.run, case.split, p.patch)) for p in case.asked]
        for what, masks in [(INITIAL, initial), *_decoded(evaluation, case, batch_size)]:
            overlaps = [overlap(mask, truth) for mask, truth in zip(masks, truths, strict=True)]
            found.append(Scored(case.split, what, dict(zip(names, overlaps, strict=True))))
    return found


def extreme_cases(scored: Scored, each: int = 2) -> list[str]:
    """Names of the `each` patches of lowest Dice, those in the middle, and those of highest, in that order."""
    ranked = sorted(scored.overlaps, key=lambda name: scored.overlaps[name].dice)
    middle = max(0, (len(ranked) - each) // 2)
    return list(dict.fromkeys([*ranked[:each], *ranked[middle : middle + each], *ranked[-each:]]))


def last_masks(evaluation: Evaluation, chosen: Sequence[Prompted], batch_size: int) -> dict[str, Mask]:
    """The masks of some patches, by name, by the run's last decoder."""
    _load(evaluation, list(evaluation.decoders.values())[-1])
    found = predict(evaluation.setup.segmenter, evaluation.setup.embeddings, chosen, batch_size)
    return {prompted.patch.name: mask for prompted, mask in found}


def _decoded(evaluation: Evaluation, case: SplitCase, batch_size: int) -> Iterator[tuple[str, list[Mask]]]:
    setup = evaluation.setup
    for what, path in evaluation.decoders.items():
        _load(evaluation, path)
        yield what, [mask for _, mask in predict(setup.segmenter, setup.embeddings, case.asked, batch_size)]


def _load(evaluation: Evaluation, decoder: Path | None) -> None:
    sam = evaluation.setup.segmenter.sam
    if decoder is None:
        sam.mask_decoder.load_state_dict(evaluation.untouched_decoder)
    else:
        load_decoder(decoder, sam)
