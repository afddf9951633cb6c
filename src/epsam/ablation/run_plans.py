"""Running the plans of an ablation: what is complete is left, what another run has is reused, the
rest is computed.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from epsam.ablation.plans import RunPlan, Step
from epsam.ablation.reuse import MASKS, read_fingerprint, reuse_cams, reuse_stage
from epsam.config.command_line import one_line
from epsam.core.errors import EpsamError, TrainingError
from epsam.core.files import read_json, write_json
from epsam.paths import RunPaths

log = logging.getLogger(__name__)

EVALUATED = "evaluated.json"
"""The file of a run that says with which options and stages it was evaluated."""

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
            if source is not None:
                reuse_stage(source, plan.run, stage)

        # Other masks can still come from the same CAMs.
        if step.stages == (MASKS,) and not read_fingerprint(plan.run, MASKS):
            source = self.sources.get(plan.cam_key)
            if source is not None:
                reuse_cams(source, plan.run)


def run_plans(plans: Sequence[RunPlan], run_script: RunScript) -> list[str]:
    """Run the plans in order; returns «row with seed N» of each that failed. A failure does not
    stop the others.
    """
    results = SharedResults()
    failures = []
    for number, plan in enumerate(plans, start=1):
        log.info("== %d/%d: %s, seed %d", number, len(plans), plan.row.name, plan.seed)
        try:
            _run_plan(plan, results, run_script)
        except (EpsamError, OSError) as error:
            reason = " ".join(str(error).split())
            log.error("row %s, seed %d failed: %s", plan.row.name, plan.seed, reason)
            failures.append(f"{plan.row.name} with seed {plan.seed}")
    return failures


def _run_plan(plan: RunPlan, results: SharedResults, run_script: RunScript) -> None:
    evaluated = plan.run.root / EVALUATED
    is_complete = evaluated.is_file() and read_json(evaluated) == _describe_completion(plan)
    if is_complete:
        log.info("done already with these flags and patches")

    for step in plan.steps:
        if not is_complete:
            results.reuse(step, plan)
            _run_step(step, run_script)
        # At once: the others can reuse what a row has computed even if it fails later.
        results.register(step, plan)

    if not is_complete:
        write_json(evaluated, _describe_completion(plan))


def _run_step(step: Step, run_script: RunScript) -> None:
    try:
        run_script(step.script, step.options)
    except torch.cuda.OutOfMemoryError as error:
        # One row's failure: another row may need less memory.
        raise TrainingError(one_line(error, step.options)) from error


def _describe_completion(plan: RunPlan) -> dict[str, Any]:
    """What identifies a complete run: all its options, and the fingerprints of its stages."""
    fingerprints = {}
    for step in plan.steps:
        for stage in step.stages:
            fingerprints[stage] = read_fingerprint(plan.run, stage)
    return {"key": plan.steps[-1].key, "stages": fingerprints}
