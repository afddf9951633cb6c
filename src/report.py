"""The report of a training run: one HTML page in its folder."""

import json
import logging
from pathlib import Path

from epsam.config.command_line import run_stage
from epsam.config.report import ReportOptions
from epsam.core.errors import BusyError
from epsam.core.failures import FAILURE_FILE
from epsam.core.files import digest_of, digest_of_files, read_json, write_text
from epsam.core.locking import exclusive_lock
from epsam.engine.stage import Stage
from epsam.paths import DatasetPaths, RunPaths
from epsam.report.training import read_run, render_training_report

log = logging.getLogger(__name__)


NAME = "report"


def main(options: ReportOptions) -> None:
    """Write report.html from the files of the run; nothing is computed again."""
    run = RunPaths.of(options)
    data = DatasetPaths.of(options)
    try:
        with exclusive_lock(run.root, "look at the report of now"):
            stage = Stage(NAME, options, digest_inputs(run, data))
            if not stage.is_current():
                stage.begin()
                write_report(run, data)
                stage.finish([run.report])
    except BusyError:
        # A stage is at work, and about to write what this one's record would be of.
        write_report(run, data)
    log.info("report: %s", run.report)


def write_report(run: RunPaths, data: DatasetPaths) -> None:
    """Write report.html from what there is of the run now."""
    write_text(run.report, render_training_report(read_run(run, data)))


def digest_inputs(run: RunPaths, data: DatasetPaths) -> dict[str, str]:
    """Digests of all that the report shows; files that are not there count as such."""
    tables = [run.evaluation, run.patch_scores, run.classifier_scores, run.metrics]
    tables += [run.fraction_scores, data.slide_table, run.root / FAILURE_FILE]
    pictures = sorted([*run.panels.glob("*.png"), *(run.root / "curves").glob("*.png")])
    records = sorted((run.root / "stages").glob("*.json"))
    return {
        "tables": digest_of_files(path for path in tables if path.is_file()),
        "pictures": digest_of_files(pictures),
        "completion_records": digest_of_files(path for path in records if path.stem != NAME),
        "options": _digest_of_entries(run.options),
        "record": _digest_of_entries(run.record),
        "patch_record": _digest_of_entries(data.record),
    }


def _digest_of_entries(path: Path) -> str:
    """A digest of a JSON file of stages, without the entry of this one."""
    entries = read_json(path) if path.is_file() else {}
    entries.pop(NAME, None)
    return digest_of([json.dumps(entries, sort_keys=True)])


if __name__ == "__main__":
    run_stage(NAME, ReportOptions, main)
