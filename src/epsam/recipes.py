"""The recipes: which stages a method consists of, in order, and the flags that make it this method.

`epsam.pipeline` has the stages themselves.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

EP_SAM = "ep_sam"


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
    masks = ("--refine", "unscaled", "--postprocess", "probability")
    return Recipe(
        _MAP_STAGES, {"train_classifier": ("--weak_model", name), "generate_initial_masks": masks}
    )


def _segmenter_recipe(name: str, targets: str = "ground_truth") -> Recipe:
    """A segmenter that learns from the ground truth (paper Table 2), or from other targets."""
    flags = ("--segmenter", name, "--targets", targets)
    return Recipe(_SEGMENTER_STAGES, {"train_segmenter": flags})


_SAM_CLASSIFIER = ("--weak_model", "sam_encoder", "--subclasses", "8", "--lr", "1e-4")
_PAM_MASKS = ("--refine", "pam", "--rotations", "1", "--postprocess", "blurred_half")
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

# What exceeds the map of normal tissue, as it is.
_BARE_MASKS = ("--refine", "none", "--quantile", "0", "--open_kernel", "0", "--open_at", "image")
_LAYERED = ("--segmenter", "wsss_tissue", "--targets", "layers", "--normal_patches")
_WSSS_TISSUE = Recipe(
    (*_MAP_STAGES[:3], *_SEGMENTER_STAGES[1:]),
    {
        "train_classifier": ("--weak_model", "wsss_tissue"),
        "generate_initial_masks": _BARE_MASKS,
        "train_segmenter": _LAYERED,
        "evaluate": ("--gate_threshold", "0.1"),
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
    "wsss_tissue": _WSSS_TISSUE,
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
