"""Scores, panels and curves of everything that a run kept."""

import logging

from command_line import run_stage
from epsam.data.images import write_rgb
from epsam.files import read_table, write_table
from epsam.options import EvaluateOptions
from epsam.pictures.curves import curves_from_metrics, draw_curves
from epsam.training.evaluation import COLUMNS, last_masks, open_evaluation, score_all
from epsam.training.panels import spread, write_panel
from epsam.training.stage import METRIC_COLUMNS

log = logging.getLogger(__name__)


def main(options: EvaluateOptions) -> None:
    """Write evaluation.csv, a panel for each split, and the training curves."""
    evaluation = open_evaluation(options)
    run = evaluation.run
    rows = score_all(evaluation, options.batch_size)
    write_table(run.evaluation, COLUMNS, rows)
    for row in rows:
        log.info("%-5s  %-20s  %4d patches  Dice %.4f  IoU %.4f", *(row[name] for name in COLUMNS[:5]))
    if not rows:
        log.warning("no patch of any split has a truth mask: nothing can be scored")

    for case in evaluation.cases:
        chosen = [case.asked[index] for index in spread(len(case.asked))]
        masks = last_masks(evaluation, chosen, options.batch_size)
        write_panel(run.panels / f"{case.split}.png", run, case.split, [p.patch for p in chosen], case.maps,
                    [p.points_xy_patch for p in chosen], masks)
    for title, series in curves_from_metrics(read_table(run.metrics, METRIC_COLUMNS)).items():
        write_rgb(run.root / "curves" / f"{title.replace(' ', '_')}.png", draw_curves(series, title))
    log.info("%s, panels and curves are in %s", run.evaluation.name, run.root)


if __name__ == "__main__":
    run_stage("evaluate", EvaluateOptions, main)
