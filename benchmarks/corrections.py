"""Rows of docs/results/corrections.csv: what corrections bring, by a simulated annotator.

    python benchmarks/corrections.py checkpoints/ebhi-22

Of a finished run, 10, 20 and 40 training patches are corrected as a person would, who never errs:
the whole patch is reviewed, and its tumour is that of the ground truth. These are either the first
ones of next_slides.py ("uncertain"), or as many at random; more patches include the fewer ones.
Each set makes one round from the run's preliminary decoder, whose epoch validation chooses, and
its decoder is scored on test. The row without corrections is the run's own first round. The new
runs stand beside it.

    python benchmarks/corrections.py --draw      the picture of the rows in asset/corrections.png
"""

import argparse
import logging
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import retrain_decoder
import reuse_run
from epsam.ablation.statistics import Scores, mean_over_patches, paired_difference
from epsam.annotations.contours import ContourTracer
from epsam.config.decoder import RetrainOptions
from epsam.config.evaluation import EvaluateOptions
from epsam.config.metadata import merge_fields
from epsam.config.reuse import ReuseOptions
from epsam.core.errors import DatasetError
from epsam.core.files import read_table, write_table
from epsam.core.seeding import generator
from epsam.corrections.document import CorrectionDocument, write_document
from epsam.corrections.patches import name_in_corrections
from epsam.data.cam_store import load_cams
from epsam.data.cases import load_groups
from epsam.data.images import Mask, write_rgb
from epsam.data.patches import Patch, list_labelled_patches, read_patch_size, select_positives
from epsam.evaluation.predictors import (
    SamPredictors,
    load_preliminary_metadata,
    metadata_by_predictor,
    open_predictors,
    prompt_options_by_predictor,
)
from epsam.metrics import count_pixels
from epsam.paths import DatasetPaths, RunPaths
from epsam.pictures.curves import Series, plot_curves
from epsam.pictures.figure import render_figure
from epsam.tables import METRIC_COLUMNS, PRELIMINARY, ZERO_SHOT
from epsam.training.round_data import find_mask_classifier
from epsam.training.sam_setup import prompt_patches
from epsam.view.next_corrections import rank_patches
from epsam.view.run_patches import TrainingRun

ROOT = Path(__file__).resolve().parents[1]
COUNTS = (10, 20, 40)
ORDERS = UNCERTAIN, RANDOM = ("uncertain", "random")
ROUND = "round 1"
COLUMNS = (
    *("dataset", "seed", "masks", "order", "corrected", "patches", "dice", "difference", "low"),
    *("high", "val_dice", "revision", "command"),
)
TIME = "2026-01-01T00:00:00+00:00"
"""Of all edits, so that a set of corrections is always the same file."""

OptionGroup = TypeVar("OptionGroup")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """The finished run whose training patches are corrected, and how its rounds were trained."""

    run: TrainingRun
    options: RetrainOptions

    @property
    def name(self) -> str:
        return self.run.run.root.name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?", type=Path, help="folder of a finished run of EP-SAM")
    parser.add_argument("--draw", action="store_true", help="draw the picture of all rows alone")
    parser.add_argument("--counts", default=",".join(map(str, COUNTS)), help="patches to correct")
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "results")
    options = parser.parse_args()
    table = options.results / "corrections.csv"
    if options.draw:
        write_rgb(ROOT / "asset" / "corrections.png", draw_rows(read_table(table, COLUMNS)))
        return

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    source = load_source(options.run)
    git = ["git", "-C", str(ROOT), "rev-parse", "--short=7", "HEAD"]
    fixed = {
        "dataset": source.options.dataset_type,
        "seed": source.options.seed,
        "revision": subprocess.run(git, capture_output=True, text=True).stdout.strip(),
        "command": f"python benchmarks/corrections.py checkpoints/{shlex.quote(source.name)}",
    }
    counts = [int(count) for count in options.counts.split(",")]
    for row in measure(source, counts):
        # At once: an interruption loses one row.
        append_row(table, fixed | row)


def load_source(folder: Path) -> Source:
    """The finished run of a folder, with its dataset.

    Raises DatasetError if it has no round.
    """
    run = TrainingRun(folder, ROOT)
    stored = run.options.get("decoder_1")
    if stored is None:
        raise DatasetError(f"{folder}: has no round; run ./train.sh first")
    options = as_options(RetrainOptions, stored)
    options = replace(
        options,
        dataset_root=str(run.data.root.parent),
        checkpoint_root=str(folder.parent),
        run=folder.name,
        n_iter=1,
    )
    return Source(run, options)


def as_options(group: type[OptionGroup], stored: Mapping[str, Any]) -> OptionGroup:
    """Options as a stage has stored them."""
    values = {}
    for name, value in stored.items():
        # JSON has no tuples.
        values[name] = tuple(value) if isinstance(value, list) else value
    return merge_fields(group, values)


def measure(source: Source, counts: Sequence[int]) -> Iterator[dict[str, Any]]:
    """A row for the run's preliminary decoder, for each of its rounds, and for each set of
    corrections.
    """
    scores = score_decoders(source, source.run.run)
    baseline = scores[ROUND]
    for name, dice in scores.items():
        yield row_of(source, name, "", 0, source.run.run, dice, baseline)

    names = {order: order_patches(source, order) for order in ORDERS}
    for count in counts:
        for order in ORDERS:
            run = train_corrected(source, order, names[order][:count])
            dice = score_decoders(source, run)[ROUND]
            yield row_of(source, ROUND, order, count, run, dice, baseline)


def order_patches(source: Source, order: str) -> list[str]:
    """The names of the training patches with tumour, those that are corrected first at the head."""
    ranked = rank_patches(source.run, set())
    names = [source.run.patches[number].patch.name for number, _, _ in ranked]
    if order == RANDOM:
        rng = generator(source.options.seed, "corrections", RANDOM)
        names = rng.permutation(sorted(names)).tolist()
    return names


def train_corrected(source: Source, order: str, names: Sequence[str]) -> RunPaths:
    """One round with corrections of these patches, in a run of its own."""
    name = f"{source.name}-{order}-{len(names)}"
    run = RunPaths(Path(source.options.checkpoint_root) / name)
    folder = run.root / "simulated_corrections"
    write_corrections(source, folder, names)
    reuse = ReuseOptions(
        dataset_type=source.options.dataset_type,
        checkpoint_root=source.options.checkpoint_root,
        run=name,
        source_run=source.name,
    )
    reuse_run.main(reuse)
    retrain_decoder.main(replace(source.options, run=name, corrections=str(folder)))
    return run


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


def score_decoders(source: Source, run: RunPaths) -> dict[str, dict[str, float]]:
    """Dice of each test patch with tumour, by decoder of a run."""
    # The flags of SAM and of prompts are the same; a run need not have been evaluated.
    options = as_options(EvaluateOptions, source.run.options["decoder_1"])
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
        if name != ZERO_SHOT:
            key = (options.seed,)
            prompted = prompt_patches(run, "test", test, cams, by_predictor[name], key)
            scores[name] = score_masks(predictors, name, test, prompted)
    return scores


def score_masks(
    predictors: SamPredictors, name: str, patches: Sequence[Patch], prompted: Sequence[Any]
) -> dict[str, float]:
    """Dice of each patch by one decoder."""
    dice = {}
    masks = predictors.predict_masks(name, prompted)
    for patch, mask in zip(patches, masks, strict=True):
        dice[patch.name] = count_pixels(mask, patch.ground_truth()).dice
    return dice


def row_of(
    source: Source,
    masks: str,
    order: str,
    corrected: int,
    run: RunPaths,
    dice: Scores,
    baseline: Scores,
) -> dict[str, Any]:
    """One row. The difference is that from the round without corrections, paired by patch, with an
    interval by case.
    """
    groups = load_groups(source.run.data.patch_table)
    difference = paired_difference(baseline, dice, cases=groups.by_patch)
    row: dict[str, Any] = {
        "masks": masks,
        "order": order,
        "corrected": corrected,
        "patches": len(dice),
        "dice": f"{mean_over_patches(dice):.3f}",
        "val_dice": f"{best_on_validation(run, masks):.3f}",
    }
    if masks != ROUND or corrected:
        row["difference"] = f"{difference.mean:+.3f}"
        row["low"] = f"{difference.low:+.3f}"
        row["high"] = f"{difference.high:+.3f}"
    return row


def best_on_validation(run: RunPaths, masks: str) -> float:
    """The validation Dice of the epoch that was chosen."""
    stage = "decoder_0" if masks == PRELIMINARY else f"decoder_{masks.split()[-1]}"
    best = 0.0
    for row in read_table(run.metrics, METRIC_COLUMNS):
        if (row["stage"], row["name"]) == (stage, "val_dice"):
            best = max(best, float(row["value"]))
    return best


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Add a row at the end of the CSV file; those of other days stay."""
    earlier = read_table(path, COLUMNS) if path.is_file() else []
    write_table(path, COLUMNS, [*earlier, row])


def draw_rows(rows: Sequence[Mapping[str, str]]) -> Any:
    """The picture of all rows."""
    figure = plot_curves(list_series(rows), "Corrections", "Dice on test")
    figure.axes[0].set_xlabel("corrected training patches")
    return render_figure(figure)


def list_series(rows: Sequence[Mapping[str, str]]) -> Series:
    """Dice over the number of corrected patches, a line for each dataset, seed and order."""
    series: Series = {}
    for row in rows:
        if row["masks"] != ROUND:
            continue
        seed = f"{row['dataset']}, seed {row['seed']}"
        # Both lines begin at the round without corrections.
        for order in [row["order"]] if row["order"] else ORDERS:
            points = series.setdefault(f"{seed}: {order}", [])
            points.append((float(row["corrected"]), float(row["dice"])))
    # Rows come in the order in which they were measured.
    for points in series.values():
        points.sort()
    return series


if __name__ == "__main__":
    main()
