"""The exchangeable methods: CAM, map refiner, postprocessing, prompt rule, selection of
pseudo-labels, weak model, segmenter. Each is registered here.

A row is {value of the flag: "module:function"}, or for models {value of the flag: "module"}. The
command line lists all names without importing what stands behind them, since that takes seconds.
docs/extending.md shows how to add a row.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

from epsam.core.errors import EpsamError


class CamMethod(NamedTuple):
    """The function that makes CAMs, and the classifier that is trained for it.

    classifier: "plain" (RGB), "adl" (RGB, with attention-based dropout), or "enhanced_adl" (with
    the explicit visual prompt, too).
    """

    function: str
    classifier: str


CAM_METHODS = {
    "enhanced_adl": CamMethod("epsam.cam.cam_methods:class_activation_map", "enhanced_adl"),
    "adl": CamMethod("epsam.cam.cam_methods:class_activation_map", "adl"),
    "gradcam": CamMethod("epsam.cam.cam_methods:gradcam", "plain"),
    "gradcam++": CamMethod("epsam.cam.cam_methods:gradcam_plus_plus", "plain"),
    "eigencam": CamMethod("epsam.cam.cam_methods:eigencam", "plain"),
}
"""`--cam`: (CamClassifier, images (B, 3, H, H), block) → logits (B,) and maps (B, h, w), ≥ 0."""

MAP_REFINERS = {
    "rotation_average": "epsam.cam.refiner:average_over_rotations",
    "pam": "epsam.cam.pam:refine_by_prompt_affinity",
    "stain": "epsam.cam.stain:refine_by_stain",
    "stain_texture": "epsam.cam.stain:refine_by_stain_texture",
    "none": "epsam.cam.refiner:leave_unrefined",
    "unscaled": "epsam.cam.refiner:leave_unscaled",
}
"""`--refine`: MaskRule → an `epsam.cam.protocol.MapRefiner`."""

SAM_REFINERS = ("pam",)
"""Rows of MAP_REFINERS that need a SAM (`--map_sam`)."""

POSTPROCESSINGS = {
    "quantile_opening": "epsam.cam.postprocess:quantile_opening",
    "li": "epsam.cam.postprocess:li_threshold",
    "crf": "epsam.cam.crf:dense_crf",
    "blurred_half": "epsam.cam.postprocess:blurred_half",
    "none": "epsam.cam.postprocess:half_maximum",
    "probability": "epsam.cam.postprocess:half_probability",
}
"""`--postprocess`: (CAM (h, w) in 0..1, RGB patch, MaskRule) → mask of the patch's size."""

PROMPTS = {
    "pepm": "epsam.segment.sam.prompting.rules:pepm",
    "mask_random": "epsam.segment.sam.prompting.rules:mask_random",
    "image_random": "epsam.segment.sam.prompting.rules:image_random",
    "ground_truth_random": "epsam.segment.sam.prompting.rules:ground_truth_random",
    "box": "epsam.segment.sam.prompting.rules:box",
    "box_pepm": "epsam.segment.sam.prompting.rules:box_pepm",
    "patch_box": "epsam.segment.sam.prompting.rules:patch_box",
}
"""`--prompt`: (PromptInputs of a batch, PromptOptions, a Generator per patch) → a prompt each."""

SELECTIONS = {
    "ids": "epsam.pseudo_labels.selection:select_by_ids",
    "all": "epsam.pseudo_labels.selection:select_all",
}
"""`--selection`: SelectionOptions → an `epsam.pseudo_labels.selection.PseudoLabelSelection`."""

WEAK_MODELS = {
    "adl_resnet": "epsam.weak.adl_method",
    "sam_encoder": "epsam.weak.sam_encoder",
    "dws_mil": "epsam.mil.dws_mil",
    "sa_mil": "epsam.mil.sa_mil",
    "swin_mil": "epsam.mil.swin_mil",
    "wsss_tissue": "epsam.wsss_tissue.method",
}
"""`--weak_model`: a module with the functions of `epsam.weak.protocol.WeakMethod`."""

SAM_WEAK_MODELS = ("sam_encoder",)
"""Rows of WEAK_MODELS that start from a SAM (`--map_sam`)."""


SEGMENTERS = {
    "unet": "epsam.segment.unet",
    "deeplab": "epsam.segment.deeplab",
    "wsss_tissue": "epsam.wsss_tissue.segmenter",
}
"""`--segmenter` of train_segmenter.py: a module with the functions of
`epsam.segment.protocol.SegmenterMethod`.
"""

SAM_SEGMENTERS = {
    "sam_box": "epsam.segment.sam.whole_patch",
    "medsam_box": "epsam.segment.sam.whole_patch",
}
"""Segmenters that are a SAM with a prompt that needs no map: a module with `save` and `load`. SAM's
weights are not in their checkpoints.
"""


def load_module(table: Mapping[str, str], flag: str, name: str) -> Any:
    """Import the module that a table names. Raises EpsamError for an unknown name."""
    _require_row(table, flag, name)
    return import_module(table[name])


def load_function(table: Mapping[str, str], flag: str, name: str) -> Any:
    """Import the function that a table names.

    Raises EpsamError for an unknown name, as in a checkpoint of a method that this copy lacks.
    """
    _require_row(table, flag, name)
    module, _, function = table[name].partition(":")
    return getattr(import_module(module), function)


def _require_row(table: Mapping[str, str], flag: str, name: str) -> None:
    if name not in table:
        raise EpsamError(
            f"{flag} {name}: not known here; use {', '.join(table)}, or add it to epsam/methods.py"
        )
