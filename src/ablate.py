"""Every row of the list over every seed, shared work done once, then Tables 1 to 6 (paper 4)."""

import hashlib
import json
import logging
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import evaluate
import finetune_decoder
import generate_initial_masks
import retrain_decoder
import train_classifier
from epsam.ablation import data_table
from epsam.ablation.results import read_scores
from epsam.ablation.reuse import CLASSIFIER, MASKS, decoder_stage, marker, reuse_cams, reuse_stage
from epsam.ablation.rows import Row, read_rows, select_rows
from epsam.ablation.tables import NOTE, all_tables, markdown, records_of
from epsam.config.ablation import AblateOptions
from epsam.config.classifier import ClassifierOptions
from epsam.config.command_line import one_line, parse, run_stage
from epsam.config.common import SPLITS
from epsam.config.decoder import DecoderOptions, RetrainOptions
from epsam.config.evaluation import EvaluateOptions
from epsam.config.flags import result_options
from epsam.config.masks import MaskOptions
from epsam.core.errors import EpsamError, TrainingError
from epsam.core.files import (
    digest_of_names_and_sizes,
    read_json,
    write_json,
    write_table,
    write_text,
)
from epsam.paths import DatasetPaths, RunPaths
from epsam.tables import ABLATION_COLUMNS, DATA_TABLE_COLUMNS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """One script of a run with its options; `stages` are the names of what it finishes, `key`
    digests all up to it.
    """

    script: Any
    options: Any
    stages: tuple[str, ...]
    key: str


@dataclass(frozen=True)
class Plan:
    """A row with one seed: its run, and its steps in order, the evaluation last."""

    row: Row
    seed: int
    run: RunPaths
    steps: tuple[Step, ...]


def main(options: AblateOptions) -> None:
    """Run what is missing, then write and print the tables."""
    rows = read_rows(options.rows)
    if not rows:
        raise EpsamError("--rows: no flag set given; ./ablate.sh passes its list")
    wanted = select_rows(rows, options.only)
    data = _digest_of_patches(options)
    plans = [plan_of(row, seed, options, data) for seed in options.seeds for row in wanted]
    failures = list(_run_all(plans))
    _write_tables(options, rows)
    if failures:
        raise TrainingError(
            f"{len(failures)} of {len(plans)} runs failed, the first being {failures[0]}; "
            "mend what the messages above say and run the same command again"
        )


def folder_of(options: AblateOptions) -> Path:
    """The folder of all runs of the list and of the tables."""
    return Path(options.checkpoint_root) / options.name


def plan_of(row: Row, seed: int, options: AblateOptions, data: str) -> Plan:
    """The steps of one row with one seed. Bad flags end the program with 2 before anything has
    run.
    """
    run = f"{options.name}/{row.name}/seed_{seed}"
    place = [
        "--dataset_type",
        options.dataset_type,
        "--dataset_root",
        options.dataset_root,
        "--run",
        run,
        "--checkpoint_root",
        options.checkpoint_root,
        *shlex.split(options.common_flags),
    ]
    seeded, sam = ["--seed", str(seed)], shlex.split(options.sam_flags)
    parts = [
        (
            train_classifier,
            ClassifierOptions,
            seeded,
            options.classifier_flags,
            row.flags["CLASSIFIER_FLAGS"],
        ),
        (generate_initial_masks, MaskOptions, [], options.mask_flags, row.flags["MASK_FLAGS"]),
        (
            finetune_decoder,
            DecoderOptions,
            seeded + sam,
            options.decoder_flags,
            row.flags["DECODER_FLAGS"],
        ),
        (
            retrain_decoder,
            RetrainOptions,
            seeded + sam,
            options.retrain_flags,
            row.flags["RETRAIN_FLAGS"],
        ),
    ][: {"masks": 2, "preliminary": 3, "rounds": 4}[row.until]]
    parts.append((evaluate, EvaluateOptions, seeded + sam, options.evaluate_flags, []))
    steps, key = [], data
    for script, kind, given, common, own in parts:
        parsed: Any = parse(script.__name__, kind, [*place, *given, *shlex.split(common), *own])
        key = _key(key, script.__name__, parsed)
        steps.append(Step(script, parsed, _stages_of(script.__name__, parsed), key))
    return Plan(row, seed, RunPaths(Path(options.checkpoint_root) / run), tuple(steps))


def _stages_of(script: str, options: Any) -> tuple[str, ...]:
    rounds = {
        "finetune_decoder": range(1),
        "retrain_decoder": range(1, getattr(options, "n_iter", 0) + 1),
    }
    if script in rounds:
        return tuple(decoder_stage(number) for number in rounds[script])
    return (script,) if script in (CLASSIFIER, MASKS) else ()


def _run_all(plans: Sequence[Plan]) -> Iterator[str]:
    """Run the plans in order and yield a line for each that failed; the others go on."""
    donors: dict[tuple[str, str], RunPaths] = {}
    for number, plan in enumerate(plans, start=1):
        log.info("== %d/%d: %s, seed %d", number, len(plans), plan.row.name, plan.seed)
        try:
            _run_plan(plan, donors)
        except (EpsamError, OSError) as error:
            log.error(
                "row %s, seed %d failed: %s", plan.row.name, plan.seed, " ".join(str(error).split())
            )
            yield f"{plan.row.name} with seed {plan.seed}"


def _run_plan(plan: Plan, donors: dict[tuple[str, str], RunPaths]) -> None:
    done = plan.run.root / "evaluated.json"
    complete = done.is_file() and read_json(done) == _state(plan)
    if complete:
        log.info("done already with these flags and patches")
    for step in plan.steps:
        if not complete:
            _adopt_all(step, plan, donors)
            _run_step(step)
        # At once: what a row has made is there for the others, too, if it fails later.
        donors.update(
            {
                (step.key, stage): plan.run
                for stage in step.stages
                if (step.key, stage) not in donors
            }
        )
        if step.stages == (MASKS,):
            donors.setdefault(_maps_key(plan), plan.run)
    if not complete:
        write_json(done, _state(plan))


def _adopt_all(step: Step, plan: Plan, donors: dict[tuple[str, str], RunPaths]) -> None:
    """Take over what another row has made that this step would only make again."""
    for stage in step.stages:
        if (step.key, stage) in donors:
            reuse_stage(donors[step.key, stage], plan.run, stage)
    if step.stages == (MASKS,) and not marker(plan.run, MASKS) and _maps_key(plan) in donors:
        reuse_cams(donors[_maps_key(plan)], plan.run)


def _run_step(step: Step) -> None:
    try:
        step.script.main(step.options)
    except torch.cuda.OutOfMemoryError as error:
        # Another row may ask for less.
        raise TrainingError(one_line(error, step.options)) from error


def _maps_key(plan: Plan) -> tuple[str, str]:
    """What decides the activation maps: the classifier, and how they are made of it."""
    masks = plan.steps[1].options
    return plan.steps[0].key, f"maps {masks.cam} {masks.cam_layer} {masks.rotations}"


def _state(plan: Plan) -> dict[str, Any]:
    """What a complete run is known by: all its options, and the fingerprints of its stages."""
    markers = {stage: marker(plan.run, stage) for step in plan.steps for stage in step.stages}
    return {"key": plan.steps[-1].key, "stages": markers}


def _key(before: str, script: str, options: Any) -> str:
    text = json.dumps([before, script, result_options(options)], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _digest_of_patches(options: AblateOptions) -> str:
    root = Path(options.dataset_root) / options.dataset_type
    files = sorted(path for split in SPLITS for path in (root / split).rglob("*") if path.is_file())
    return digest_of_names_and_sizes(files)


def _write_tables(options: AblateOptions, rows: Sequence[Row]) -> None:
    """Tables 1 to 6 and one for the other rows, out of every run that was evaluated, now or
    earlier.
    """
    root = folder_of(options)
    results = {
        row.name: {
            seed: read_scores(RunPaths(root / row.name / f"seed_{seed}"))
            for seed in options.seeds
            if (root / row.name / f"seed_{seed}" / "evaluated.json").is_file()
        }
        for row in rows
    }
    counts = data_table.count_patches(
        DatasetPaths.of(
            EvaluateOptions(dataset_type=options.dataset_type, dataset_root=options.dataset_root)
        )
    )
    write_table(root / "tables" / "table_1.csv", DATA_TABLE_COLUMNS, counts)
    heading = f"## {options.dataset_type}, seeds {', '.join(map(str, options.seeds))}\n"
    texts = [heading, f"{NOTE}\n", data_table.markdown(counts)]
    for table in all_tables(rows):
        records = records_of(table, results, rows)
        write_table(root / "tables" / f"table_{table.number}.csv", ABLATION_COLUMNS, records)
        texts.append(markdown(table, records))
    write_text(root / "tables" / "tables.md", "\n".join(texts))
    log.info(
        "%s\n%s: these tables, and each as CSV", "\n".join(texts), root / "tables" / "tables.md"
    )


if __name__ == "__main__":
    run_stage("ablate", AblateOptions, main, owns=folder_of)
