"""Scores, panels and curves of all predictors of a run."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epsam.config.command_line import run_stage
from epsam.config.common import SPLITS
from epsam.config.evaluation import EvaluateOptions
from epsam.core.distributed import is_main_process
from epsam.core.files import read_table, write_table, write_text
from epsam.data.cases import PatchGroups, load_groups
from epsam.data.images import Mask, write_rgb
from epsam.data.patches import Patch
from epsam.engine.metric_logger import open_metric_logger
from epsam.engine.stage import Stage
from epsam.evaluation.inputs import digest_inputs
from epsam.paths import DatasetPaths, RunPaths, run_folder
from epsam.pictures.curves import curves_from_metrics, draw_curves
from epsam.tables import (
    ALL_PATCH_COLUMNS,
    CASE_COLUMN,
    CLASSIFIER_COLUMNS,
    FRACTION_COLUMNS,
    IMAGE_SCORE_COLUMNS,
    INITIAL,
    METRIC_COLUMNS,
    PATCH_SCORE_COLUMNS,
    SCORE_COLUMNS,
)

if TYPE_CHECKING:
    from epsam.evaluation.classification import Classification
    from epsam.evaluation.score_run import Evaluation, SplitCase, SplitScores
    from epsam.segment.sam.prompting.point_sampling import PointPrompt

NAME = "evaluate"

log = logging.getLogger(__name__)


def main(options: EvaluateOptions) -> None:
    """Write the scores, a panel for each split and of the extreme test patches, and the training
    curves.
    """
    run = RunPaths.of(options)
    stage = Stage(NAME, options, digest_inputs(run, options))
    if stage.is_current():
        # It tells seconds, so it is no file of the completion record.
        if not run.model_card.is_file() and is_main_process():
            write_model_card(run, DatasetPaths.of(options))
        return

    # PyTorch takes seconds to import, and a finished stage has no use for it.
    from epsam.evaluation.predictors import check_decoders
    from epsam.evaluation.prepare_run import prepare_evaluation
    from epsam.evaluation.score_run import score_splits

    # Before the scores of an earlier evaluation are given up.
    check_decoders(run, options)
    stage.begin()
    evaluation = prepare_evaluation(options)
    scores = score_splits(evaluation, options.batch_size)
    outputs = write_results(run, options, evaluation, scores) if is_main_process() else []
    stage.finish(outputs)
    if is_main_process():
        write_model_card(run, DatasetPaths.of(options))
    log.info("%s, panels and curves are in %s", run.evaluation.name, run.root)


def write_results(
    run: RunPaths,
    options: EvaluateOptions,
    evaluation: "Evaluation",
    scores: Sequence["SplitScores"],
) -> list[Path]:
    """Write tables, panels and curves; returns their files."""
    from epsam.evaluation.flat_masks import describe_flat_predictors
    from epsam.training.panels import pick_evenly

    groups = load_groups(DatasetPaths.of(options).patch_table)
    write_scores(run, scores, groups)
    for sentence in describe_flat_predictors(scores):
        log.warning(
            "%s: it tells no pixel from another; look at panels/, and try a lower --lr, more "
            "epochs, or other initial masks",
            sentence,
        )
    write_thresholds(run, evaluation)
    write_classifier_scores(run, list(evaluation.classifications.values()), groups)

    for case in evaluation.cases:
        chosen = [case.patches[index] for index in pick_evenly(len(case.patches))]
        write_prediction_panel(case.split, evaluation, case, chosen)
    if evaluation.cases:
        write_extreme_cases(evaluation, scores[-1])
    write_training_curves(run)

    # The panels again, for TensorBoard.
    panels = [path for path in sorted(run.panels.iterdir()) if path.stem in (*SPLITS, "cases")]
    metric_logger = open_metric_logger(run, NAME, options.tensorboard)
    for path in panels:
        metric_logger.log_image(path, 0)

    curves = sorted((run.root / "curves").glob("*.png"))
    tables = [run.evaluation, run.patch_scores, run.classifier_scores, run.fraction_scores]
    thresholds = [run.thresholds] if run.thresholds.is_file() else []
    return [*tables, *thresholds, *panels, *curves]


def write_model_card(run: RunPaths, data: DatasetPaths) -> None:
    """Write model_card.md from the files of the run."""
    from epsam.report.card_content import read_card_content
    from epsam.report.model_card import render_model_card

    write_text(run.model_card, render_model_card(read_card_content(run, data)))


def write_scores(run: RunPaths, scores: Sequence["SplitScores"], groups: PatchGroups) -> None:
    """Write evaluation.csv, evaluation_patches.csv and evaluation_fractions.csv, and log the first.

    groups: the case or slide of each patch, where patches.csv states one.
    """
    cases = groups.by_patch if groups.column == CASE_COLUMN else {}
    rows = [split_scores.summary_row(cases) for split_scores in scores]
    columns = (*SCORE_COLUMNS, *ALL_PATCH_COLUMNS, *IMAGE_SCORE_COLUMNS)
    write_table(run.evaluation, columns, rows)

    patch_rows = []
    for split_scores in scores:
        patch_rows += split_scores.patch_rows()
    write_patch_table(run.patch_scores, PATCH_SCORE_COLUMNS, patch_rows, groups)

    fraction_rows = []
    for split_scores in scores:
        fraction_rows += split_scores.fraction_rows()
    write_table(run.fraction_scores, ("split", "what", *FRACTION_COLUMNS), fraction_rows)

    for row in rows:
        log.info(
            "%-5s  %-20s  %4d patches  Dice %.4f  IoU %.4f",
            row["split"],
            row["what"],
            row["patches"],
            row["dice"],
            row["iou"],
        )
    if not rows:
        log.warning("no patch of any split has a ground-truth mask: nothing can be scored")


def write_thresholds(run: RunPaths, evaluation: "Evaluation") -> None:
    """Write thresholds.json, and log the gate that validation would choose."""
    from epsam.evaluation.classification import find_thresholds
    from epsam.evaluation.thresholds import save_thresholds

    thresholds = find_thresholds(evaluation.classifications)
    # Those of another classifier would be taken for this one's.
    run.thresholds.unlink(missing_ok=True)
    if thresholds is None:
        return
    thresholds = replace(
        thresholds,
        mask=evaluation.mask_threshold,
        mask_on_validation=evaluation.mask_on_validation,
    )
    save_thresholds(run, thresholds)
    if thresholds.gate_on_validation is not None:
        log.info(
            "gate: scored at probability %g; %.3f separates the validation patches best "
            "(--gate_from validation)",
            thresholds.gate,
            thresholds.gate_on_validation,
        )


def write_classifier_scores(
    run: RunPaths, classifications: Sequence["Classification"], groups: PatchGroups
) -> None:
    """Write evaluation_classifier.csv, and log the classifier's figures of each split."""
    rows = []
    for classification in classifications:
        rows += classification.patch_rows()
        columns = classification.summary_columns()
        log.info(
            "%-5s  classifier: AUROC %s, sensitivity %s of %d, specificity %s of %d",
            classification.split,
            columns["auroc"],
            columns["sensitivity"],
            columns["positives"],
            columns["specificity"],
            columns["negatives"],
        )
    write_patch_table(run.classifier_scores, CLASSIFIER_COLUMNS, rows, groups)


def write_patch_table(
    table: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]], groups: PatchGroups
) -> None:
    """Write a table with a row for each patch, and with its case or slide where any is stated."""
    if not groups.by_patch:
        write_table(table, columns, rows)
        return
    grouped_rows = []
    for row in rows:
        grouped_rows.append({**row, groups.column: groups.by_patch.get(row["id"], "")})
    write_table(table, (*columns, groups.column), grouped_rows)


def write_prediction_panel(
    name: str, evaluation: "Evaluation", case: "SplitCase", patches: Sequence[Patch]
) -> None:
    """Write panels/<name>.png: some patches of a split with the masks of the last predictor, and
    with its prompts, if it has any.
    """
    from epsam.evaluation.predictors import DecoderPredictor
    from epsam.training.panels import write_panel

    predictor = evaluation.last_predictor
    masks_by_name: dict[str, Mask] = {}
    # Every panel shows the initial masks anyway.
    if predictor.name != INITIAL:
        masks = predictor.masks(case.split, patches)
        masks_by_name = {patch.name: mask for patch, mask in zip(patches, masks, strict=True)}

    points: list[PointPrompt] = []
    if isinstance(predictor, DecoderPredictor):
        by_name = {
            prompted.patch.name: prompted for prompted in case.prompted_patches[predictor.name]
        }
        points = [by_name[patch.name].first_points for patch in patches]
    write_panel(
        evaluation.run.panels / f"{name}.png",
        evaluation.run,
        case.split,
        patches,
        case.cams,
        points,
        masks_by_name,
    )


def write_extreme_cases(evaluation: "Evaluation", scores: "SplitScores") -> None:
    """Write panels/cases.png: patches of the last split of lowest, middle and highest Dice, by the
    `scores` of the last predictor.
    """
    from epsam.evaluation.score_run import select_extreme_patches

    case = evaluation.cases[-1]
    by_name = {patch.name: patch for patch in case.patches}
    chosen = [by_name[name] for name in select_extreme_patches(scores)]
    write_prediction_panel("cases", evaluation, case, chosen)


def write_training_curves(run: RunPaths) -> None:
    """Write curves/<title>.png for each family of metrics that metrics.csv holds."""
    # A family for an image: losses and Dice have no common scale.
    rows = read_table(run.metrics, METRIC_COLUMNS)
    for title, series in curves_from_metrics(rows).items():
        path = run.root / "curves" / f"{title.replace(' ', '_')}.png"
        write_rgb(path, draw_curves(series, title))


if __name__ == "__main__":
    run_stage(NAME, EvaluateOptions, main, owns=run_folder, is_shared=True)
