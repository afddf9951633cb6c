"""What a row does with one seed: its stages, each with its options, and a key of all that decides
the result.
"""

import hashlib
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epsam.ablation.reuse import CLASSIFIER, MASKS, decoder_stage
from epsam.ablation.rows import AblationRow
from epsam.config.ablation import AblateOptions
from epsam.config.classifier import ClassifierOptions
from epsam.config.command_line import parse
from epsam.config.common import SPLITS
from epsam.config.decoder import DecoderOptions, RetrainOptions
from epsam.config.evaluation import EvaluateOptions
from epsam.config.flags import result_options
from epsam.config.masks import MaskOptions
from epsam.core.files import digest_of_names_and_sizes
from epsam.paths import RunPaths


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
        masks = self.steps[1].options
        return self.steps[0].key, f"maps {masks.cam} {masks.cam_layer} {masks.rotations}"


@dataclass(frozen=True)
class _Script:
    """A script, and where its flags come from.

    common_flags: the field of AblateOptions with its flags in all rows. row_flags: the name of
    those that a row adds, if it can.
    """

    name: str
    options: type[Any]
    common_flags: str
    row_flags: str = ""
    takes_seed: bool = True
    takes_sam: bool = False


_TRAINING_SCRIPTS = (
    _Script(CLASSIFIER, ClassifierOptions, "classifier_flags", "CLASSIFIER_FLAGS"),
    _Script(MASKS, MaskOptions, "mask_flags", "MASK_FLAGS", takes_seed=False),
    _Script("finetune_decoder", DecoderOptions, "decoder_flags", "DECODER_FLAGS", takes_sam=True),
    _Script("retrain_decoder", RetrainOptions, "retrain_flags", "RETRAIN_FLAGS", takes_sam=True),
)
_EVALUATION = _Script("evaluate", EvaluateOptions, "evaluate_flags", takes_sam=True)
_N_TRAINING_SCRIPTS = {"masks": 2, "preliminary": 3, "rounds": 4}
"""How many of the training scripts a row runs, by where it ends."""


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
    scripts = [*_TRAINING_SCRIPTS[: _N_TRAINING_SCRIPTS[row.until]], _EVALUATION]
    steps: list[Step] = []
    key = patches_digest
    for script in scripts:
        words = _command_line(script, row, seed, run_name, options)
        script_options = parse(script.name, script.options, words)
        key = _extend_key(key, script.name, script_options)
        stages = _completed_stages(script.name, script_options)
        steps.append(Step(script.name, script_options, stages, key))
    return RunPlan(row, seed, RunPaths(Path(options.checkpoint_root) / run_name), tuple(steps))


def _command_line(
    script: _Script, row: AblationRow, seed: int, run_name: str, options: AblateOptions
) -> list[str]:
    """The flags of a script; later ones override earlier ones."""
    words = ["--dataset_type", options.dataset_type, "--dataset_root", options.dataset_root]
    words += ["--run", run_name, "--checkpoint_root", options.checkpoint_root]
    words += shlex.split(options.common_flags)
    if script.takes_seed:
        words += ["--seed", str(seed)]
    if script.takes_sam:
        words += shlex.split(options.sam_flags)
    words += shlex.split(getattr(options, script.common_flags))
    if script.row_flags:
        words += row.flags[script.row_flags]
    return words


def _extend_key(key: str, script: str, options: Any) -> str:
    """A digest of a step's result: of what came before, and of the options that affect it."""
    # Equal keys mean equal results: rows that differ late reuse the steps before.
    text = json.dumps([key, script, result_options(options)], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _completed_stages(script: str, options: Any) -> tuple[str, ...]:
    if script in (CLASSIFIER, MASKS):
        return (script,)

    rounds: Sequence[int] = ()
    if script == "finetune_decoder":
        rounds = (0,)
    elif script == "retrain_decoder":
        rounds = range(1, options.n_iter + 1)
    return tuple(decoder_stage(number) for number in rounds)
