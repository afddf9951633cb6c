"""What can be exchanged: CAM methods, post-processings, prompts. Each is one function, named here.

A row is the name that the flag takes and "module:function"; nothing is imported before it is used,
so that the command line knows every name without loading what stands behind it. docs/extending.md
shows how a row is added.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

from epsam.core.errors import EpsamError


class CamMethod(NamedTuple):
    """A map-making function, and the classifier that is trained for it.

    classifier: "plain" (RGB), "adl" (RGB, with attention-based dropout) or "enhanced_adl" (and the
    visual prompt).
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
"""`--cam`: (AdlResNet, images (B, 3, H, H), block) → logits (B,) and maps (B, h, w), none below
0.
"""

POSTPROCESSINGS = {
    "quantile_opening": "epsam.cam.postprocess:quantile_opening",
    "crf": "epsam.cam.crf:dense_crf",
    "none": "epsam.cam.postprocess:half_maximum",
}
"""`--postprocess`: (map (h, w) in 0..1, RGB patch, MaskRule) → mask in the patch's frame."""

PROMPTS = {
    "pepm": "epsam.segment.sam.prompting.rules:pepm",
    "mask_random": "epsam.segment.sam.prompting.rules:mask_random",
    "image_random": "epsam.segment.sam.prompting.rules:image_random",
    "ground_truth_random": "epsam.segment.sam.prompting.rules:truth_random",
    "box": "epsam.segment.sam.prompting.rules:box",
    "box_pepm": "epsam.segment.sam.prompting.rules:box_pepm",
}
"""`--prompt`: (Hints of a batch, PromptOptions, a Generator for each patch) → a Prompt for each."""


def load_function(table: Mapping[str, str], flag: str, name: str) -> Any:
    """The function behind a name of a table.

    Raises EpsamError if there is no such name, as in a checkpoint made with a method that this copy
    has not.
    """
    if name not in table:
        raise EpsamError(
            f"{flag} {name}: not known here; use {', '.join(table)}, or add it to epsam/methods.py"
        )
    module, _, function = table[name].partition(":")
    return getattr(import_module(module), function)
