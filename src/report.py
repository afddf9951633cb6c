"""The report of a training run: one HTML page in its folder."""

import logging

from command_line import run_stage
from epsam.files import write_text
from epsam.paths import DatasetPaths, RunPaths
from epsam.report.options import ReportOptions
from epsam.report.training import read_run, training_report

log = logging.getLogger(__name__)


def main(options: ReportOptions) -> None:
    """Write report.html from what the run kept; nothing is computed again."""
    run = RunPaths.of(options)
    write_text(run.report, training_report(read_run(run, DatasetPaths.of(options))))
    log.info("report: %s", run.report)


if __name__ == "__main__":
    run_stage("report", ReportOptions, main)
