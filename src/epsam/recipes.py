"""The recipes: which stages a method consists of, in order.

`epsam.config.method_presets` has the flags that make a method of them, `epsam.pipeline` the stages
themselves.
"""

EP_SAM = "ep_sam"

_ROUND_STAGES = (
    "extract_patches",
    "train_classifier",
    "generate_initial_masks",
    "finetune_decoder",
    "retrain_decoder",
    "evaluate",
    "report",
)
# The initial masks are the answer (paper Table 2).
_MAP_STAGES = (
    "extract_patches",
    "train_classifier",
    "generate_initial_masks",
    "evaluate",
    "report",
)
_SEGMENTER_STAGES = ("extract_patches", "train_segmenter", "evaluate", "report")
_BOX_STAGES = ("extract_patches", "train_box_decoder", "evaluate", "report")
# From patch labels to a segmenter that learns from the initial masks.
_MAP_SEGMENTER_STAGES = (
    "extract_patches",
    "train_classifier",
    "generate_initial_masks",
    "train_segmenter",
    "evaluate",
    "report",
)

RECIPES: dict[str, tuple[str, ...]] = {
    EP_SAM: _ROUND_STAGES,
    "strong": _ROUND_STAGES,
    "unet": _SEGMENTER_STAGES,
    "deeplab": _SEGMENTER_STAGES,
    "unet_pseudo": _SEGMENTER_STAGES,
    "sam_box": _BOX_STAGES,
    "medsam_box": _BOX_STAGES,
    "weakmedsam": _MAP_SEGMENTER_STAGES,
    "wsss_tissue": _MAP_SEGMENTER_STAGES,
    "enhanced_adl": _MAP_STAGES,
    "adl": _MAP_STAGES,
    "gradcam": _MAP_STAGES,
    "gradcam++": _MAP_STAGES,
    "eigencam": _MAP_STAGES,
    "dws_mil": _MAP_STAGES,
    "sa_mil": _MAP_STAGES,
    "swin_mil": _MAP_STAGES,
}
"""METHOD of train.sh → the names of its stages, in the order in which train.sh runs them."""
