"""Every row of the list over every seed, shared work done once, then Tables 1 to 6 (paper 4)."""

import dataclasses
import importlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from epsam.ablation.plans import RunPlan, find_missing_weights, plan_runs
from epsam.ablation.rows import AblationRow, read_rows, select_rows
from epsam.ablation.run_plans import EVALUATED, run_plans
from epsam.ablation.tables import write_tables
from epsam.config.ablation import AblateOptions
from epsam.config.command_line import run_stage
from epsam.config.evaluation import EvaluateOptions
from epsam.core.errors import EpsamError, PreflightError, TrainingError
from epsam.core.output_folders import claim_output_folder
from epsam.paths import DatasetPaths
from epsam.preflight.method import check_soft_targets

log = logging.getLogger(__name__)


def main(options: AblateOptions) -> None:
    """Run what is missing, then write and print the tables."""
    rows = read_rows(options.rows)
    if not rows:
        raise EpsamError("--rows: no flag set given; ./ablate.sh passes its list")

    data = _dataset_paths(options)
    folders = [data.root, *data.split_dirs]
    claim_output_folder(ablation_folder(options), "ablate", folders, "NAME or --name")
    # All flags are parsed before the first run, which may take hours.
    missing = find_missing_weights(select_rows(rows, options.only), options)
    plans = [plan for plan in plan_runs(rows, options) if plan.row.name not in missing]
    require_fitting_flags(plans)
    for name, path in missing.items():
        log.warning("row %s is left out: %s is missing (checkpoints/README.md)", name, path)

    # A failed row leaves its lines empty; the tables of the others are worth having.
    outcomes = run_plans(plans, run_script, plan_evaluated_runs(rows, options))
    print_tables(options)
    if outcomes.left_to_others:
        log.warning(
            "%d runs are left to the other ablate.sh, the first being %s; once it has ended, the "
            "same command again makes the whole tables",
            len(outcomes.left_to_others),
            outcomes.left_to_others[0],
        )
    if outcomes.failures:
        raise TrainingError(
            f"{len(outcomes.failures)} of {len(plans)} runs failed, the first being "
            f"{outcomes.failures[0]}; mend what the messages above say and run the same command "
            "again"
        )


def require_fitting_flags(plans: Sequence[RunPlan]) -> None:
    """Raises PreflightError for a row whose stages have flags that do not fit one another."""
    for plan in plans:
        of_stage = {step.script: step.options for step in plan.steps}
        for finding in check_soft_targets(of_stage):
            raise PreflightError(f"row {plan.row.name}: {finding.message}")


def ablation_folder(options: AblateOptions) -> Path:
    """The folder of all runs of the list and of the tables."""
    return Path(options.checkpoint_root) / options.name


def plan_evaluated_runs(rows: Sequence[AblationRow], options: AblateOptions) -> list[RunPlan]:
    """The runs that --only leaves out and that were evaluated before: others reuse their work."""
    chosen = select_rows(rows, options.only)
    evaluated = []
    for row in rows:
        runs = (ablation_folder(options) / row.name).glob(f"seed_*/{EVALUATED}")
        if row not in chosen and any(runs):
            evaluated.append(row.name)
    # An empty --only would mean all rows.
    if not evaluated:
        return []
    return plan_runs(rows, dataclasses.replace(options, only=tuple(evaluated)))


def run_script(name: str, options: Any) -> None:
    """Run the script of a stage of `epsam.pipeline` in this process: PyTorch is imported once for
    all runs.
    """
    importlib.import_module(name).main(options)


def print_tables(options: AblateOptions) -> None:
    """Write and log the tables of all rows, whether or not they ran now."""
    folder = ablation_folder(options)
    data = _dataset_paths(options)
    seeds = ", ".join(str(seed) for seed in options.seeds)
    heading = f"## {options.dataset_type}, seeds {seeds}\n"
    rows = read_rows(options.rows)
    missing = find_missing_weights(rows, options)
    text = write_tables(folder, data, rows, options.seeds, heading, missing)
    log.info("%s\n%s: these tables, and each as CSV", text, folder / "tables" / "tables.md")


def _dataset_paths(options: AblateOptions) -> DatasetPaths:
    return DatasetPaths.of(
        EvaluateOptions(dataset_type=options.dataset_type, dataset_root=options.dataset_root)
    )


if __name__ == "__main__":
    run_stage("ablate", AblateOptions, main)
