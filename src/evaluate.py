"""Scores, panels and curves of everything that a run kept."""

import logging
import time
from collections.abc import Sequence

from epsam.config.command_line import run_stage
from epsam.config.common import SPLITS
from epsam.config.evaluation import EvaluateOptions
from epsam.config.flags import stored_options
from epsam.core.files import read_table, write_table
from epsam.core.records import add_to_record
from epsam.data.images import Mask, write_rgb
from epsam.engine.metric_logger import open_metric_logger
from epsam.evaluation.score_run import (
    Evaluation,
    SplitCase,
    extreme_cases,
    prepare_evaluation,
    score_all,
)
from epsam.paths import run_folder
from epsam.pictures.curves import curves_from_metrics, draw_curves
from epsam.segment.sam.prompting.point_sampling import PointPrompt
from epsam.tables import METRIC_COLUMNS, PATCH_SCORE_COLUMNS, SCORE_COLUMNS
from epsam.training.decoder import PromptedPatch
from epsam.training.panels import pick_evenly, write_panel

log = logging.getLogger(__name__)


def main(options: EvaluateOptions) -> None:
    """Write the scores, a panel for each split and of the extreme test patches, and the training
    curves.
    """
    started = time.monotonic()
    evaluation = prepare_evaluation(options)
    run = evaluation.run
    scored = score_all(evaluation)
    rows = [found.row() for found in scored]
    write_table(run.evaluation, SCORE_COLUMNS, rows)
    write_table(
        run.patch_scores,
        PATCH_SCORE_COLUMNS,
        [row for found in scored for row in found.patch_rows()],
    )
    for row in rows:
        log.info(
            "%-5s  %-20s  %4d patches  Dice %.4f  IoU %.4f",
            *(row[name] for name in SCORE_COLUMNS[:5]),
        )
    if not rows:
        log.warning("no patch of any split has a truth mask: nothing can be scored")

    for case in evaluation.cases:
        asked = case.asked[evaluation.last]
        draw(case.split, evaluation, case, [asked[index] for index in pick_evenly(len(asked))])
    if evaluation.cases:
        by_name = {
            prompted.patch.name: prompted
            for prompted in evaluation.cases[-1].asked[evaluation.last]
        }
        draw(
            "cases",
            evaluation,
            evaluation.cases[-1],
            [by_name[name] for name in extreme_cases(scored[-1])],
        )
    for title, series in curves_from_metrics(read_table(run.metrics, METRIC_COLUMNS)).items():
        write_rgb(
            run.root / "curves" / f"{title.replace(' ', '_')}.png", draw_curves(series, title)
        )
    metric_logger = open_metric_logger(run, "evaluate", options.tensorboard)
    for path in sorted(path for path in run.panels.iterdir() if path.stem in (*SPLITS, "cases")):
        metric_logger.log_image(path, 0)
    add_to_record(run.record, "evaluate", stored_options(options), time.monotonic() - started)
    log.info("%s, panels and curves are in %s", run.evaluation.name, run.root)


def draw(
    name: str, evaluation: Evaluation, case: SplitCase, chosen: Sequence[PromptedPatch]
) -> None:
    """Write panels/<name>.png: some patches of a split with the masks of the last decoder, if the
    run has any.
    """
    patches = [prompted.patch for prompted in chosen]
    prompts: list[PointPrompt] = []
    masks: dict[str, Mask] = {}
    if evaluation.decoders:
        prompts = [prompted.first_points for prompted in chosen]
        found = evaluation.decoders.masks(evaluation.last, chosen)
        masks = {patch.name: mask for patch, mask in zip(patches, found, strict=True)}
    write_panel(
        evaluation.run.panels / f"{name}.png",
        evaluation.run,
        case.split,
        patches,
        case.maps,
        prompts,
        masks,
    )


if __name__ == "__main__":
    run_stage("evaluate", EvaluateOptions, main, owns=run_folder)
