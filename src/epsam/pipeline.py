"""The one list of stages; `epsam.recipes` has which of them a method consists of.

The check before a run, the ablation, the clean-up of rounds and the tests read it. train.sh shows
the same order for people; a test holds the two together.
"""

import importlib
from dataclasses import dataclass
from typing import Any

from epsam.core.errors import EpsamError
from epsam.recipes import EP_SAM, RECIPES

ROUND = "{round}"
"""Stands for the number of a round in names of files and completion records."""


@dataclass(frozen=True)
class StageSpec:
    """A stage: its script, its options, and what it reads and writes.

    options: module and class, as in "epsam.config.masks:MaskOptions". flags_variable: the variable
    of train.sh that holds its flags; "" if there is none. inputs, outputs: files and folders,
    `run/…` in the folder of the run, `dataset/…` in that of the dataset; `*` is any text and
    `{round}` the number of a round; evaluation reads what there is. completion: the name of its
    completion record. round: the number of the round that it is, which ends with
    pseudo-labels; None if it is none, or many. trains: whether it is a part of the training, which
    a row of an ablation may change. until: what a row of an ablation calls ending with this stage.
    """

    name: str
    options: str
    flags_variable: str = ""
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
        if ROUND not in self.completion:
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
        inputs=_SPLITS,
        outputs=("run/resnet_adl.pth", "run/subclasses.csv"),
        completion="train_classifier",
        trains=True,
    ),
    StageSpec(
        "generate_initial_masks",
        "epsam.config.masks:MaskOptions",
        "MASK_FLAGS",
        inputs=(*_SPLITS, "run/resnet_adl.pth"),
        outputs=(
            *_CAMS_AND_MASKS,
            "run/masks/layers",
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
        "epsam.config.decoder:FinetuneOptions",
        "DECODER_FLAGS",
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
        "train_segmenter",
        "epsam.config.segmenter:SegmenterOptions",
        "SEGMENTER_FLAGS",
        inputs=("dataset/train", "dataset/val"),
        outputs=("run/segmenter.pth", "run/gate_classifier.pth"),
        completion="train_segmenter",
        trains=True,
    ),
    StageSpec(
        "train_box_decoder",
        "epsam.config.decoder:BoxDecoderOptions",
        "BOX_FLAGS",
        inputs=("dataset/train", "dataset/val"),
        outputs=("run/segmenter.pth",),
        completion="train_box_decoder",
        trains=True,
    ),
    StageSpec(
        "evaluate",
        "epsam.config.evaluation:EvaluateOptions",
        "EVALUATE_FLAGS",
        inputs=(
            *_SPLITS,
            *_CAMS_AND_MASKS,
            "run/sam_pre_decoder.pth",
            "run/decoder_iter{round}.pth",
            "run/segmenter.pth",
            "run/gate_classifier.pth",
        ),
        outputs=(
            "run/evaluation.csv",
            "run/evaluation_patches.csv",
            "run/evaluation_classifier.csv",
            "run/evaluation_fractions.csv",
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
        inputs=("dataset/patches.csv", "run/evaluation.csv", "run/evaluation_patches.csv"),
        outputs=("run/report.html",),
        completion="report",
    ),
    StageSpec(
        "infer",
        "epsam.config.inference:InferOptions",
        "INFER_FLAGS",
        inputs=(
            "run/resnet_adl.pth",
            "run/masks/initial",
            "run/sam_pre_decoder.pth",
            "run/decoder_iter{round}.pth",
            "run/segmenter.pth",
            "run/gate_classifier.pth",
        ),
    ),
)

STAGES: dict[str, StageSpec] = {stage.name: stage for stage in _STAGES}
"""Every stage by its name. infer.py stands alone: infer.sh runs it, and no recipe holds it."""


def recipe_stages(recipe: str = EP_SAM) -> tuple[StageSpec, ...]:
    """The stages of a recipe, in order. Raises EpsamError if there is no such recipe."""
    if recipe not in RECIPES:
        raise EpsamError(f"METHOD {recipe}: no such method; use {', '.join(RECIPES)}")
    return tuple(STAGES[name] for name in RECIPES[recipe])


def training_stages(recipe: str = EP_SAM) -> tuple[StageSpec, ...]:
    """The stages of a recipe that an ablation may change, in order."""
    return tuple(stage for stage in recipe_stages(recipe) if stage.trains)


def summary_stages(recipe: str = EP_SAM) -> tuple[StageSpec, ...]:
    """The stages of a recipe that summarise what the training has left: scores and report."""
    stages = recipe_stages(recipe)
    last = max(number for number, stage in enumerate(stages) if stage.trains)
    return stages[last + 1 :]
