"""What a row does with one seed: its stages, each with its options, and a key of all that decides
the result.
"""

import hashlib
import json
import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from epsam.ablation.rows import AblationRow
from epsam.config.ablation import AblateOptions
from epsam.config.command_line import parse
from epsam.config.common import SPLITS
from epsam.config.flags import part_options, result_options
from epsam.config.masks import MaskRule, rule_before_refiner
from epsam.core.files import digest_of_names_and_sizes
from epsam.paths import RunPaths
from epsam.pipeline import STAGES, StageSpec, training_stages

MAP_SAM_FLAGS = {"--sam_model_type": "--map_sam", "--sam_checkpoint": "--map_sam_checkpoint"}
"""Flags of SAM in --sam_flags, and what the stage of the maps calls them."""


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


def plan_run(row: AblationRow, seed: int, options: AblateOptions, patches_digest: str) -> RunPlan:
    """The steps of one row with one seed.

    Bad flags end the program with exit code 2, before anything has run.
    """
    run_name = f"{options.name}/{row.name}/seed_{seed}"
    steps: list[Step] = []
    key = patches_digest
    for stage in [*_stages_of_row(row), STAGES["evaluate"]]:
        words = _command_line(stage, row, seed, run_name, options)
        stage_options = parse(stage.name, stage.load_options_class(), words)
        key = _extend_key(key, stage.name, stage_options)
        # Scores are computed for each run anew: they name its decoders.
        completions = stage.completions(stage_options) if stage.trains else ()
        steps.append(Step(stage.name, stage_options, completions, key))
    return RunPlan(row, seed, RunPaths(Path(options.checkpoint_root) / run_name), tuple(steps))


def _stages_of_row(row: AblationRow) -> list[StageSpec]:
    """The training stages up to the one that the row ends with."""
    stages = []
    for stage in training_stages():
        stages.append(stage)
        if stage.until == row.until:
            break
    return stages


def _command_line(
    stage: StageSpec, row: AblationRow, seed: int, run_name: str, options: AblateOptions
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
    if "sam_model_type" in accepted:
        words += shlex.split(options.sam_flags)
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
