"""The report of a training run: one HTML page in its folder."""

import logging

from epsam.config.command_line import run_stage
from epsam.config.report import ReportOptions
from epsam.core.files import write_text
from epsam.paths import DatasetPaths, RunPaths
from epsam.report.training import read_run, render_training_report

log = logging.getLogger(__name__)


def main(options: ReportOptions) -> None:
    """Write report.html from the files of the run; nothing is computed again."""
    run = RunPaths.of(options)
    results = read_run(run, DatasetPaths.of(options))
    write_text(run.report, render_training_report(results))
    log.info("report: %s", run.report)


if __name__ == "__main__":
    run_stage("report", ReportOptions, main)
