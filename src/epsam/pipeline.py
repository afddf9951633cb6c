"""The one list of stages, and the recipes: which stages a method consists of, in order.

The check before a run, the ablation, the clean-up of rounds and the tests read it. train.sh shows
the same order for people; a test holds the two together.
"""

import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EP_SAM = "ep_sam"
_ROUND = "{round}"


@dataclass(frozen=True)
class StageSpec:
    """A stage: its script, its options, and what it reads and writes.

    options: module and class, as in "epsam.config.masks:MaskOptions". flags_variable: the variable
    of train.sh that holds its flags; "" if there is none. previous: the stage before it; "" if it
    is the first. inputs, outputs: files and folders, `run/…` in the folder of the run, `dataset/…`
    in that of the dataset; `*` is any text and `{round}` the number of a round. completion: the
    name of its completion record. round: the number of the round that it is, which ends with
    pseudo-labels; None if it is none, or many. trains: whether it is a part of the training, which
    a row of an ablation may change. until: what a row of an ablation calls ending with this stage.
    """

    name: str
    options: str
    flags_variable: str = ""
    previous: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    completion: str = ""
    round: int | None = None
    trains: bool = False
    until: str = ""

    @property
    def script(self) -> str:
        """The script, from the folder of the repository."""
        return f"src/{self.name}.py"

    @property
    def flags_option(self) -> str:
        """The option of check.py and ablate.py that holds this stage's flags."""
        return self.flags_variable.lower()

    def load_options_class(self) -> type[Any]:
        """The dataclass of the stage's options."""
        module, _, name = self.options.partition(":")
        options_class: type[Any] = getattr(importlib.import_module(module), name)
        return options_class

    def completions(self, options: Any) -> tuple[str, ...]:
        """The names of the completion records that the stage leaves with these options."""
        if _ROUND not in self.completion:
            return (self.completion,)
        return tuple(self.completion.format(round=n) for n in range(1, options.n_iter + 1))

    def run_outputs(self) -> tuple[str, ...]:
        """The outputs in the folder of the run, relative to it."""
        prefix = "run/"
        return tuple(item[len(prefix) :] for item in self.outputs if item.startswith(prefix))


_SPLITS = ("dataset/train", "dataset/val", "dataset/test")
_CAMS_AND_MASKS = ("run/activation", "run/masks/initial")

_STAGES = (
    StageSpec(
        "extract_patches",
        "epsam.config.patches:PatchOptions",
        "PATCH_FLAGS",
        inputs=("dataset/images", "dataset/annotations", "dataset/splits.csv"),
        outputs=(
            *_SPLITS,
            "dataset/patches.csv",
            "dataset/slides.csv",
            "dataset/patches.json",
            "dataset/record.json",
        ),
    ),
    StageSpec(
        "train_classifier",
        "epsam.config.classifier:ClassifierOptions",
        "CLASSIFIER_FLAGS",
        previous="extract_patches",
        inputs=_SPLITS,
        outputs=("run/resnet_adl.pth",),
        completion="train_classifier",
        trains=True,
    ),
    StageSpec(
        "generate_initial_masks",
        "epsam.config.masks:MaskOptions",
        "MASK_FLAGS",
        previous="train_classifier",
        inputs=(*_SPLITS, "run/resnet_adl.pth"),
        outputs=(
            *_CAMS_AND_MASKS,
            "run/grid_search.csv",
            "run/grid_search.png",
            "run/panels/initial_masks_*.png",
        ),
        completion="generate_initial_masks",
        trains=True,
        until="masks",
    ),
    StageSpec(
        "finetune_decoder",
        "epsam.config.decoder:DecoderOptions",
        "DECODER_FLAGS",
        previous="generate_initial_masks",
        inputs=("dataset/train", "dataset/val", *_CAMS_AND_MASKS),
        outputs=("run/sam_pre_decoder.pth", "run/masks/iter_0", "run/panels/decoder_0.png"),
        completion="decoder_0",
        round=0,
        trains=True,
        until="preliminary",
    ),
    StageSpec(
        "retrain_decoder",
        "epsam.config.decoder:RetrainOptions",
        "RETRAIN_FLAGS",
        previous="finetune_decoder",
        inputs=("dataset/train", "dataset/val", *_CAMS_AND_MASKS, "run/masks/iter_0"),
        outputs=(
            "run/decoder_iter{round}.pth",
            "run/masks/iter_{round}",
            "run/panels/decoder_{round}.png",
        ),
        completion="decoder_{round}",
        trains=True,
        until="rounds",
    ),
    StageSpec(
        "evaluate",
        "epsam.config.evaluation:EvaluateOptions",
        "EVALUATE_FLAGS",
        previous="retrain_decoder",
        inputs=(
            *_SPLITS,
            *_CAMS_AND_MASKS,
            "run/sam_pre_decoder.pth",
            "run/decoder_iter{round}.pth",
        ),
        outputs=(
            "run/evaluation.csv",
            "run/evaluation_patches.csv",
            "run/evaluation_classifier.csv",
            "run/thresholds.json",
            "run/model_card.md",
            "run/panels/train.png",
            "run/panels/val.png",
            "run/panels/test.png",
            "run/panels/cases.png",
            "run/curves",
        ),
        completion="evaluate",
    ),
    StageSpec(
        "report",
        "epsam.config.report:ReportOptions",
        previous="evaluate",
        inputs=("dataset/patches.csv", "run/evaluation.csv", "run/evaluation_patches.csv"),
        outputs=("run/report.html",),
        completion="report",
    ),
    StageSpec(
        "infer",
        "epsam.config.inference:InferOptions",
        "INFER_FLAGS",
        inputs=("run/resnet_adl.pth", "run/sam_pre_decoder.pth", "run/decoder_iter{round}.pth"),
    ),
)

STAGES: dict[str, StageSpec] = {stage.name: stage for stage in _STAGES}
"""Every stage by its name. infer.py stands alone: infer.sh runs it, and no recipe holds it."""

RECIPES: dict[str, tuple[str, ...]] = {
    EP_SAM: (
        "extract_patches",
        "train_classifier",
        "generate_initial_masks",
        "finetune_decoder",
        "retrain_decoder",
        "evaluate",
        "report",
    ),
}
"""Method → the names of its stages, in the order in which train.sh runs them."""

_LEFT_BY_EACH_COMPLETION = (
    "stages/{completion}.json",
    "tensorboard/{completion}",
    "unfinished/{completion}",
)


def recipe_stages(recipe: str = EP_SAM) -> tuple[StageSpec, ...]:
    """The stages of a recipe, in order."""
    return tuple(STAGES[name] for name in RECIPES[recipe])


def training_stages(recipe: str = EP_SAM) -> tuple[StageSpec, ...]:
    """The stages of a recipe that an ablation may change, in order."""
    return tuple(stage for stage in recipe_stages(recipe) if stage.trains)


def summary_stages(recipe: str = EP_SAM) -> tuple[StageSpec, ...]:
    """The stages of a recipe that summarise what the training has left: scores and report."""
    stages = recipe_stages(recipe)
    last = max(number for number, stage in enumerate(stages) if stage.trains)
    return stages[last + 1 :]


def stage_of_completion(completion: str) -> tuple[StageSpec, int | None]:
    """The stage that leaves a completion record of this name, and the number of its round.

    The number is None if the stage is no round. Raises KeyError if no stage leaves such a record.
    """
    for stage in _STAGES:
        if completion and stage.completion == completion:
            return stage, stage.round
    for stage in _STAGES:
        number = _round_in(stage.completion, completion)
        if number is not None:
            return stage, number
    raise KeyError(completion)


def round_of_completion(completion: str) -> int | None:
    """The number of the round that leaves a completion record of this name; None if none does."""
    try:
        return stage_of_completion(completion)[1]
    except KeyError:
        return None


def list_later_completions(root: Path, completion: str) -> list[str]:
    """The completion records below a run's `root` of training that comes after `completion`."""
    names = []
    for path in (root / "stages").glob("*.json"):
        if _is_training(path.stem) and _order(path.stem) > _order(completion):
            names.append(path.stem)
    return sorted(names, key=_order)


def _is_training(completion: str) -> bool:
    try:
        return stage_of_completion(completion)[0].trains
    except KeyError:
        return False


def _order(completion: str) -> tuple[int, int]:
    """Where a completion record stands in the order of the stages; after all of them if none of
    them leaves it.
    """
    try:
        stage, number = stage_of_completion(completion)
    except KeyError:
        return len(_STAGES), 0
    return _STAGES.index(stage), number or 0


def list_outputs(root: Path, completion: str) -> list[Path]:
    """The files and folders below a run's `root` that belong to a completion record, there or not.

    Names with a `*` stand for the files that are there.
    """
    stage, number = stage_of_completion(completion)
    paths: list[Path] = []
    for output in stage.run_outputs():
        name = output.format(round=number)
        paths += sorted(root.glob(name)) if "*" in name else [root / name]
    return paths


def list_round_files(root: Path, after: int) -> Iterator[Path]:
    """Everything below a run's `root` that rounds with a number above `after` have left, their
    completion records and unfinished work included.
    """
    for stage in _STAGES:
        if _ROUND not in stage.completion:
            continue
        names = list(stage.run_outputs())
        names += [name.format(completion=stage.completion) for name in _LEFT_BY_EACH_COMPLETION]
        for name in names:
            for path in sorted(root.glob(name.format(round="*"))):
                number = _round_in(name, path.relative_to(root).as_posix())
                if number is not None and number > after:
                    yield path


def _round_in(template: str, text: str) -> int | None:
    """The number of the round in a name that follows the template; None if it does not."""
    if _ROUND not in template:
        return None
    before, _, rest = template.partition(_ROUND)
    match = re.fullmatch(f"{re.escape(before)}([0-9]{{1,9}}){re.escape(rest)}", text)
    return int(match[1]) if match else None
