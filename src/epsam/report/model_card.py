"""model_card.md of a run: what was trained on what, what it is for, how good it is and how sure
that is, and under which terms. Made of the run's tables and records alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from epsam.ablation.statistics import (
    PATCH,
    describe_resampling,
    mean_over_patches,
    paired_difference,
)
from epsam.config.classifier import ClassifierOptions
from epsam.report.card_content import CardContent
from epsam.report.card_terms import data_terms, weight_terms
from epsam.report.classifier import CLASSIFIER_TABLE_COLUMNS, classifier_rows
from epsam.report.provenance import (
    describe_last_machine,
    stage_rows,
)
from epsam.tables import (
    ALL_FILLED,
    FILL,
    INITIAL,
    ZERO_SHOT,
)

WORST_CASES = 5
"""This project: how many patches of the lowest Dice are listed."""
SCORE_TABLE = ("masks", "patches", "Dice", "95 % interval", "IoU", "IoU, all patches")


def render_model_card(card: CardContent) -> str:
    """The card as Markdown."""
    sections = {
        f"# Model card of the run {card.run}": _describe_model(card),
        "## What it is for": _describe_use(card),
        "## Data and labels": _describe_data(card),
        "## Figures": _describe_figures(card),
        "## Worst cases": _list_worst_cases(card),
        "## How it was made": _describe_making(card),
        "## Terms": [*weight_terms(card.options), *data_terms(card.dataset)],
    }
    lines: list[str] = []
    for heading, paragraphs in sections.items():
        lines += [heading, "", *paragraphs, ""]
    return "\n".join(lines)


def _describe_model(card: CardContent) -> list[str]:
    sam = card.sam_model_type or "none"
    backbone = card.option("backbone") or "none"
    weak_model = card.option("weak_model", "train_classifier")
    # A weak model of another kind has no use for the backbone's flag.
    if weak_model not in ("", ClassifierOptions.weak_model):
        backbone = weak_model
    if card.gate_run:
        backbone = f"that of the run {card.gate_run}"
    learnt_from = "masks" if card.learns_from_masks else "labels"
    return [
        f"EP-SAM: outlines tumour in H&E images, trained with {learnt_from} of patches "
        f"({card.dataset}). Classifier: {backbone}. Segment Anything Model: {sam}. The masks come "
        f"from: {card.predictor or 'nothing that was scored'}."
    ]


def _describe_use(card: CardContent) -> list[str]:
    resolution = f"{card.mpp:g} µm/px" if card.mpp else "a resolution that no table states"
    return [
        f"* For research: outlining tumour in patches of {card.patch_size} px at {resolution}, "
        "and in images and slides that are cut into such patches, of the organ, stain and scanners "
        "of its training data.",
        "* **Not for diagnosis**, nor for any decision about a patient. It is no medical device, "
        "and nobody has validated it as one.",
        "* Not for other organs, stains, magnifications or scanners, unless it is scored on them "
        "first.",
    ]


def _describe_data(card: CardContent) -> list[str]:
    with_mask = {row["split"]: row["patches"] for row in card.scores}
    rows = []
    for split, patches in _group_by_split(card.classified).items():
        groups = {card.groups[row["id"]] for row in patches if row["id"] in card.groups}
        positives = sum(int(row["label"]) for row in patches)
        row = {
            "split": split,
            "positives": positives,
            "with ground truth": with_mask.get(split, 0),
            "negatives": len(patches) - positives,
            f"{card.grouped_by or 'case'}s": len(groups) or "not stated",
        }
        rows.append(row)
    columns = list(rows[0]) if rows else []
    lines = [*_format_table(columns, rows), ""]
    if card.learns_from_masks:
        lines.append("Trained with the masks of patches with tumour (fully supervised).")
    elif source_run := card.option("from_run", "train_segmenter"):
        lines.append(
            f"Trained with the last accepted pseudo-labels of the run {source_run}, which was "
            "trained with labels of patches alone."
        )
    else:
        lines.append("Trained with labels of patches alone: 1 with tumour, 0 without.")
    # What is stored keeps the flag's old spelling.
    by_masks = card.option("select_on") in ("ground_truth", "truth")
    # A segmenter without prompts has no other way to choose its epoch.
    if card.learns_from_masks or by_masks or card.option("segmenter"):
        lines.append("The best epoch of a decoder is chosen by masks of the validation split.")
    if card.option("grid_search"):
        by_labels = card.option("grid_by") == "labels"
        judge = "labels of patches" if by_labels else "masks"
        lines.append(f"Quantile and kernel are chosen by {judge} of the validation split.")
    lines.append("Masks of the test split are only scored against.")
    return lines


def _describe_figures(card: CardContent) -> list[str]:
    if not card.scores:
        return ["No patch of any split has a ground-truth mask: nothing could be scored."]
    rows = []
    for score in card.scores:
        if score["split"] == card.split:
            rows.append(_score_row(card, score))
    resampled = describe_resampling(card.grouped_by or PATCH)
    lines = [
        f"Split {card.split}. Dice and IoU: means over patches with tumour; in the last column "
        "all pixels of all patches are counted together, and a patch without tumour has a mask "
        "only if the classifier lets it pass. fill and all are no methods: every patch with tumour "
        f"is filled whole, or every patch. Intervals: bootstrap, {resampled}.",
        "",
        *_format_table(SCORE_TABLE, rows),
        "",
        *_list_differences(card),
        "",
    ]
    threshold = card.gate_threshold
    lines += [f"The classifier alone, of patches as a whole, at probability {threshold:g}:", ""]
    lines += _format_table(CLASSIFIER_TABLE_COLUMNS, classifier_rows(card.classified, threshold))
    return lines


def _score_row(card: CardContent, score: Mapping[str, str]) -> dict[str, object]:
    dice = card.metrics[card.split, score["what"]].dice
    # The interval of a mean is that of its difference from 0.
    interval = paired_difference(dict.fromkeys(dice, 0.0), dice, cases=card.groups)
    return {
        "masks": score["what"],
        "patches": score["patches"],
        "Dice": f"{mean_over_patches(dice):.3f}",
        "95 % interval": f"{interval.low:.3f} to {interval.high:.3f}",
        "IoU": f"{float(score['iou']):.3f}",
        "IoU, all patches": f"{float(score['all_iou']):.3f}" if score.get("all_iou") else "",
    }


def _list_differences(card: CardContent) -> list[str]:
    """The last predictor's difference in Dice from what a method has to be better than."""
    lines = []
    last = card.metrics[card.split, card.predictor].dice
    for other in (FILL, INITIAL, ZERO_SHOT):
        metrics = card.metrics.get((card.split, other))
        if metrics is None or other == card.predictor:
            continue
        difference = paired_difference(metrics.dice, last, cases=card.groups)
        lines.append(
            f"* {card.predictor} against {other}: {difference.mean:+.3f} Dice "
            f"[{difference.low:+.3f}, {difference.high:+.3f}]"
        )
    return lines


def _list_worst_cases(card: CardContent) -> list[str]:
    if not card.scores or card.predictor in (FILL, ALL_FILLED):
        return ["Nothing was scored."]
    metrics = card.metrics[card.split, card.predictor]
    rows = []
    for name in sorted(metrics.dice, key=lambda patch: metrics.dice[patch])[:WORST_CASES]:
        row = {
            "patch": name,
            card.grouped_by or "case": card.groups.get(name, "not stated"),
            "Dice": f"{metrics.dice[name]:.3f}",
        }
        rows.append(row)
    text = f"The patches of {card.split} with the lowest Dice; pictures are in panels/cases.png."
    return [text, "", *_format_table(list(rows[0]), rows)]


def _describe_making(card: CardContent) -> list[str]:
    rows = stage_rows(card.stages)
    versions: dict[str, str] = {}
    for entry in card.stages.values():
        versions.update(entry.get("versions", {}))
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    return [
        *_format_table(("stage", "seconds"), rows),
        "",
        f"{describe_last_machine(card.stages)}. Packages: {packages}. Every option is in "
        f"options.json, and with digests of all inputs in record.json; seed "
        f"{card.option('seed')}.",
    ]


def _group_by_split(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    by_split: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_split.setdefault(row["split"], []).append(row)
    return by_split


def _format_table(columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> list[str]:
    """A Markdown table; nothing without rows."""
    if not rows:
        return []
    lines = [f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]
    for row in rows:
        cells = [str(row.get(column, "")).replace("|", "\\|") for column in columns]
        lines.append(f"| {' | '.join(cells)} |")
    return lines
