"""The one list of stages, and the recipes: which stages a method consists of, in order, and the
flags that make it this method.

The check before a run, the ablation, the clean-up of rounds and the tests read it. train.sh shows
the same order for people; a test holds the two together.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from epsam.core.errors import EpsamError

EP_SAM = "ep_sam"
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
        outputs=("run/segmenter.pth",),
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
        ),
    ),
)

STAGES: dict[str, StageSpec] = {stage.name: stage for stage in _STAGES}
"""Every stage by its name. infer.py stands alone: infer.sh runs it, and no recipe holds it."""


@dataclass(frozen=True)
class Recipe:
    """The names of a method's stages, in the order in which train.sh runs them.

    flags: by stage, those that make it this method; a user's own come after them.
    """

    stages: tuple[str, ...]
    flags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


_EP_SAM_STAGES = (
    "extract_patches",
    "train_classifier",
    "generate_initial_masks",
    "finetune_decoder",
    "retrain_decoder",
    "evaluate",
    "report",
)
_MAP_STAGES = (
    "extract_patches",
    "train_classifier",
    "generate_initial_masks",
    "evaluate",
    "report",
)
_SEGMENTER_STAGES = ("extract_patches", "train_segmenter", "evaluate", "report")


def _map_recipe(cam: str) -> Recipe:
    """A classifier whose initial masks are the answer (paper Table 2)."""
    return Recipe(_MAP_STAGES, {"train_classifier": ("--cam", cam)})


def _mil_recipe(name: str) -> Recipe:
    """Multiple-instance learning, whose maps are probabilities and, above ½, the answer."""
    masks = ("--refiner", "unscaled", "--postprocess", "probability")
    return Recipe(
        _MAP_STAGES, {"train_classifier": ("--weak_model", name), "generate_initial_masks": masks}
    )


def _segmenter_recipe(name: str, targets: str = "ground_truth") -> Recipe:
    """A segmenter that learns from the ground truth (paper Table 2), or from other targets."""
    flags = ("--segmenter", name, "--targets", targets)
    return Recipe(_SEGMENTER_STAGES, {"train_segmenter": flags})


_SAM_CLASSIFIER = ("--weak_model", "sam_encoder", "--subclasses", "8", "--lr", "1e-4")
_PAM_MASKS = ("--refiner", "pam", "--rotations", "1", "--postprocess", "blurred_half")
_MASKED_UNET = ("--segmenter", "unet", "--targets", "initial", "--normal_patches")
# From patch labels to a U-Net (arXiv 2503.04106).
_WEAKMEDSAM = Recipe(
    (*_MAP_STAGES[:3], *_SEGMENTER_STAGES[1:]),
    {
        "train_classifier": (*_SAM_CLASSIFIER, "--weight_decay", "0.01"),
        "generate_initial_masks": _PAM_MASKS,
        "train_segmenter": _MASKED_UNET,
    },
)

_STRONG = ("--method", "strong")

RECIPES: dict[str, Recipe] = {
    EP_SAM: Recipe(_EP_SAM_STAGES),
    "strong": Recipe(_EP_SAM_STAGES, {"finetune_decoder": _STRONG, "retrain_decoder": _STRONG}),
    "unet": _segmenter_recipe("unet"),
    "deeplab": _segmenter_recipe("deeplab"),
    "unet_pseudo": _segmenter_recipe("unet", "pseudo"),
    "sam_box": Recipe(("extract_patches", "train_box_decoder", "evaluate", "report")),
    # MedSAM is a ViT-B, whatever SAM the preset names.
    "medsam_box": Recipe(
        ("extract_patches", "train_box_decoder", "evaluate", "report"),
        {"train_box_decoder": ("--segmenter", "medsam_box", "--sam_model_type", "vit_b")},
    ),
    "weakmedsam": _WEAKMEDSAM,
    "enhanced_adl": _map_recipe("enhanced_adl"),
    "adl": _map_recipe("adl"),
    "gradcam": _map_recipe("gradcam"),
    "gradcam++": _map_recipe("gradcam++"),
    "eigencam": _map_recipe("eigencam"),
    "dws_mil": _mil_recipe("dws_mil"),
    "sa_mil": _mil_recipe("sa_mil"),
    "swin_mil": _mil_recipe("swin_mil"),
}
"""METHOD of train.sh → its recipe."""


def recipe_stages(recipe: str = EP_SAM) -> tuple[StageSpec, ...]:
    """The stages of a recipe, in order. Raises EpsamError if there is no such recipe."""
    if recipe not in RECIPES:
        raise EpsamError(f"METHOD {recipe}: no such method; use {', '.join(RECIPES)}")
    return tuple(STAGES[name] for name in RECIPES[recipe].stages)


def training_stages(recipe: str = EP_SAM) -> tuple[StageSpec, ...]:
    """The stages of a recipe that an ablation may change, in order."""
    return tuple(stage for stage in recipe_stages(recipe) if stage.trains)


def summary_stages(recipe: str = EP_SAM) -> tuple[StageSpec, ...]:
    """The stages of a recipe that summarise what the training has left: scores and report."""
    stages = recipe_stages(recipe)
    last = max(number for number, stage in enumerate(stages) if stage.trains)
    return stages[last + 1 :]
