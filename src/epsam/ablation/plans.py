"""What a row does with one seed: its stages, each with its options, and a key of all that decides
the result.
"""

import hashlib
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from epsam.ablation.rows import AblationRow, select_rows
from epsam.config.ablation import AblateOptions
from epsam.config.command_line import parse
from epsam.config.common import SPLITS
from epsam.config.flags import part_options, result_options
from epsam.config.masks import MaskRule, rule_before_refiner
from epsam.core.files import digest_of_names_and_sizes
from epsam.paths import RunPaths
from epsam.pipeline import STAGES, StageSpec, training_stages
from epsam.segment.sam.specs import MEDSAM_FILE

MAP_SAM_FLAGS = {"--sam_model_type": "--map_sam", "--sam_checkpoint": "--map_sam_checkpoint"}
"""Flags of SAM in --sam_flags, and what the stage of the maps calls them."""


MEDSAM = "medsam_box"


@dataclass(frozen=True)
class Step:
    """One script of a run with its options.

    stages: the names of the stages that it completes. key: a digest of all that decides its result,
    from the patches on.
    """

    script: str
    options: Any
    stages: tuple[str, ...]
    key: str


@dataclass(frozen=True)
class RunPlan:
    """A row with one seed: its run, and its steps in order, the evaluation last."""

    row: AblationRow
    seed: int
    run: RunPaths
    steps: tuple[Step, ...]

    @property
    def cam_key(self) -> tuple[str, str]:
        """What decides the CAMs: the classifier, and how they are computed from it."""
        return self._key_of_cams(self.steps[1].options)

    @property
    def base_cam_key(self) -> tuple[str, str]:
        """What decides the CAMs that --refine pam and stain start from."""
        return self._key_of_cams(rule_before_refiner(self.steps[1].options))

    def _key_of_cams(self, rule: MaskRule) -> tuple[str, str]:
        return self.steps[0].key, f"cams {json.dumps(part_options(rule, 'cams', MaskRule))}"


def digest_patches(options: AblateOptions) -> str:
    """A digest of all patches and ground-truth masks of the dataset."""
    root = Path(options.dataset_root) / options.dataset_type
    # Names and sizes alone: reading every patch would take minutes before anything runs.
    files = []
    for split in SPLITS:
        files += [path for path in (root / split).rglob("*") if path.is_file()]
    return digest_of_names_and_sizes(sorted(files))


def plan_runs(rows: Sequence[AblationRow], options: AblateOptions) -> list[RunPlan]:
    """The runs of --only's rows, seed by seed.

    Bad flags end the program with exit code 2, before anything has run.
    """
    patches_digest = digest_patches(options)
    rows_by_name = {row.name: row for row in rows}
    plans = []
    for seed in options.seeds:
        for row in select_rows(rows, options.only):
            source = None
            if row.source:
                source = plan_run(rows_by_name[row.source], seed, options, patches_digest)
            plans.append(plan_run(row, seed, options, patches_digest, source))
    return plans


def find_missing_weights(rows: Sequence[AblationRow], options: AblateOptions) -> dict[str, str]:
    """Row → the file of weights that it needs and that is absent, where no program can fetch it."""
    missing = {}
    for row in rows:
        if row.recipe == MEDSAM:
            box_options = plan_run(row, options.seeds[0], options, "").steps[0].options
            path = Path(box_options.sam_checkpoint or Path(options.checkpoint_root) / MEDSAM_FILE)
            if not path.is_file():
                missing[row.name] = path.as_posix()
    return missing


def plan_run(
    row: AblationRow,
    seed: int,
    options: AblateOptions,
    patches_digest: str,
    source: RunPlan | None = None,
) -> RunPlan:
    """The steps of one row with one seed.

    source: the run whose pseudo-labels it learns from. Bad flags end the program with exit code 2.
    """
    run_name = f"{options.name}/{row.name}/seed_{seed}"
    steps: list[Step] = []
    key = patches_digest
    if source:
        # Pseudo-labels depend on all that has made them, and on which round is the last.
        rounds = source.steps[-2]
        key = f"{rounds.key} {rounds.stages[-1]}"
    for stage in [*_stages_of_row(row), STAGES["evaluate"]]:
        sam_flags = _decoder_sam_flags(steps) if stage.name == "evaluate" else []
        sam_flags = sam_flags or shlex.split(options.sam_flags)
        words = _command_line(stage, row, seed, run_name, options, sam_flags)
        stage_options = parse(stage.name, stage.load_options_class(), words)
        key = _extend_key(key, stage.name, stage_options)
        # Scores are computed for each run anew: they name its decoders.
        completions = stage.completions(stage_options) if stage.trains else ()
        steps.append(Step(stage.name, stage_options, completions, key))
    return RunPlan(row, seed, RunPaths(Path(options.checkpoint_root) / run_name), tuple(steps))


def _stages_of_row(row: AblationRow) -> list[StageSpec]:
    """The training stages up to the one that the row ends with."""
    stages = []
    for stage in training_stages(row.recipe):
        stages.append(stage)
        if stage.until == row.until:
            break
    return stages


def _decoder_sam_flags(steps: Sequence[Step]) -> list[str]:
    """The SAM that the decoders of these steps are trained with, which may be that of the row
    alone; empty without a decoder.
    """
    for step in reversed(steps):
        if step.script in ("finetune_decoder", "retrain_decoder"):
            flags = ["--sam_model_type", step.options.sam_model_type]
            return [*flags, "--sam_checkpoint", step.options.sam_checkpoint]
    return []


def _command_line(
    stage: StageSpec,
    row: AblationRow,
    seed: int,
    run_name: str,
    options: AblateOptions,
    sam_flags: Sequence[str],
) -> list[str]:
    """The flags of a stage; later ones override earlier ones."""
    accepted = {field.name for field in fields(stage.load_options_class())}
    words = ["--dataset_type", options.dataset_type, "--dataset_root", options.dataset_root]
    words += ["--run", run_name, "--checkpoint_root", options.checkpoint_root]
    if options.replace and stage.trains:
        words.append("--replace")
    words += shlex.split(options.common_flags)
    if "seed" in accepted:
        words += ["--seed", str(seed)]
    if "recipe" in accepted:
        words += ["--recipe", row.recipe]
    if "from_run" in accepted and row.source:
        words += ["--from_run", f"{options.name}/{row.source}/seed_{seed}"]
    # MedSAM's weights are others than those of all other rows.
    if "sam_model_type" in accepted and row.recipe != MEDSAM:
        words += sam_flags
    if "map_sam" in accepted:
        words += _map_sam_flags(options.sam_flags)
    words += shlex.split(getattr(options, stage.flags_option))
    words += row.flags.get(stage.flags_variable, [])
    return words


def _map_sam_flags(sam_flags: str) -> list[str]:
    """The flags of the SAM behind the maps: the same SAM as the decoder's."""
    words = []
    for word in shlex.split(sam_flags):
        flag, equals, value = word.partition("=")
        if flag in MAP_SAM_FLAGS:
            words.append(f"{MAP_SAM_FLAGS[flag]}{equals}{value}")
        elif not flag.startswith("--"):
            words.append(word)
    return words


def _extend_key(key: str, script: str, options: Any) -> str:
    """A digest of a step's result: of what came before, and of the options that affect it."""
    # Equal keys mean equal results: rows that differ late reuse the steps before.
    text = json.dumps([key, script, result_options(options)], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
