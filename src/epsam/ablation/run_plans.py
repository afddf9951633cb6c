"""Running the plans of an ablation: what is complete is left, what another run has is reused, the
rest is computed.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from epsam.ablation.plans import RunPlan, Step
from epsam.ablation.reuse import MASKS, read_fingerprint, reuse_cams, reuse_stage
from epsam.config.error_messages import one_line
from epsam.core.artifact import Artifact, Key, Record
from epsam.core.errors import BusyError, EpsamError, FinishedWorkError, TrainingError
from epsam.core.files import read_json, remove_leftovers
from epsam.core.locking import exclusive_lock
from epsam.core.records import reset_peak_memory
from epsam.engine.replacement import is_replaceable
from epsam.paths import RunPaths

log = logging.getLogger(__name__)

EVALUATED = "evaluated.json"
"""The file of a run that says with which options and stages it was evaluated."""

_PLAN = "flags or patches"

RunScript = Callable[[str, Any], None]
"""Runs a script, by its name, with its options."""


@dataclass
class SharedResults:
    """Which run has computed what, by key of all that decides it and stage."""

    sources: dict[tuple[str, str], RunPaths] = field(default_factory=dict)

    def register(self, step: Step, plan: RunPlan) -> None:
        """Offer a completed step to later runs; the first run that has a result stays its
        source.
        """
        for stage in step.stages:
            self.sources.setdefault((step.key, stage), plan.run)
        if step.stages == (MASKS,):
            self.sources.setdefault(plan.cam_key, plan.run)

    def reuse(self, step: Step, plan: RunPlan) -> None:
        """Give the plan's run what another one has computed and this step would only repeat."""
        for stage in step.stages:
            source = self.sources.get((step.key, stage))
            # What the plan's run has finished itself is replaced by its stage, which asks first.
            if source is not None and (step.options.replace or is_replaceable(plan.run, stage)):
                reuse_stage(source, plan.run, stage)

        # Other masks can still come from the same CAMs.
        if step.stages == (MASKS,) and not read_fingerprint(plan.run, MASKS):
            source = self.sources.get(plan.cam_key) or self.sources.get(plan.base_cam_key)
            if source is not None:
                reuse_cams(source, plan.run)


@dataclass
class Outcomes:
    """«row with seed N» of each run that failed, and of each that another process works on."""

    failures: list[str] = field(default_factory=list)
    left_to_others: list[str] = field(default_factory=list)


def run_plans(
    plans: Sequence[RunPlan], run_script: RunScript, evaluated: Sequence[RunPlan] = ()
) -> Outcomes:
    """Run the plans in order, each with its run locked. Neither a failure nor a run on which
    another process works stops the others.

    evaluated: runs of other rows, whose work is reused as far as it is still what its flags and
    patches give.
    """
    results = SharedResults()
    for plan in evaluated:
        if _evaluation(plan).is_current():
            for step in plan.steps:
                results.register(step, plan)

    outcomes = Outcomes()
    for number, plan in enumerate(plans, start=1):
        log.info("== %d/%d: %s, seed %d", number, len(plans), plan.row.name, plan.seed)
        name = f"{plan.row.name} with seed {plan.seed}"
        try:
            with exclusive_lock(plan.run.root, "run other rows meanwhile, by ONLY or --only"):
                remove_leftovers(plan.run.root)
                _run_plan(plan, results, run_script)
        except BusyError as error:
            log.warning("row %s: left to the other run: %s", name, error)
            outcomes.left_to_others.append(name)
        except FinishedWorkError as error:
            log.error(
                "row %s not run: %s; give the list a name of its own by NAME (--name), or replace "
                "old runs by REPLACE=1 (--replace)",
                name,
                error.work,
            )
            outcomes.failures.append(name)
        except (EpsamError, OSError) as error:
            reason = " ".join(str(error).split())
            log.error("row %s, seed %d failed: %s", plan.row.name, plan.seed, reason)
            outcomes.failures.append(name)
    return outcomes


def _run_plan(plan: RunPlan, results: SharedResults, run_script: RunScript) -> None:
    # The key has the fingerprints of the stages, which may change while the plan runs.
    is_complete = _evaluation(plan).is_current()
    if is_complete:
        log.info("done already with these flags and patches")

    for step in plan.steps:
        if not is_complete:
            results.reuse(step, plan)
            _run_step(step, run_script)
        # At once: the others can reuse what a row has computed even if it fails later.
        results.register(step, plan)

    if not is_complete:
        _evaluation(plan).complete()


def _run_step(step: Step, run_script: RunScript) -> None:
    # One process runs all rows: each stage records a peak of its own.
    reset_peak_memory()
    try:
        run_script(step.script, step.options)
    except torch.cuda.OutOfMemoryError as error:
        # One row's failure: another row may need less memory.
        raise TrainingError(one_line(error, step.options)) from error


def _evaluation(plan: RunPlan) -> Artifact:
    """The scores of a run: current for the same flags and patches, and the same stages as now."""
    inputs = {_PLAN: plan.steps[-1].key}
    for step in plan.steps:
        for stage in step.stages:
            inputs[stage] = read_fingerprint(plan.run, stage)
    root = plan.run.root
    return Artifact(root, Key({}, inputs), record=root / EVALUATED, read=_read_evaluated)


def _read_evaluated(path: Path) -> Record:
    """The completion record; one of an earlier version in the layout of today."""
    record = read_json(path)
    if "key" in record:
        record = {"options": {}, "inputs": {_PLAN: record["key"], **record["stages"]}}
    return record
