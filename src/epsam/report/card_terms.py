"""Under which terms the weights and the data of a run may be used, as far as this project knows."""

from collections.abc import Mapping
from typing import Any

from epsam.methods import SAM_WEAK_MODELS
from epsam.segment.sam.map_sam import map_sam_name

CODE_TERMS = (
    "* Code of this project: Apache-2.0. The paper's authors announce a patent application on "
    "their method (KIPO 10-2024-0117533); whether it concerns your use is for you to judge."
)
DATA_TERMS = {
    "camelyon16": "CC0 1.0",
    "camelyon17": "CC0 1.0",
    "ebhi": "EBHI-Seg, listed as CC BY 4.0 (figshare, item 21540159): name its authors",
    "demo": "made up by this project, Apache-2.0",
}
"""Dataset → the terms of its images and masks."""
SAM_TERMS = {
    "vit_demo": "a small stand-in that this project has trained on made-up scenes, Apache-2.0",
    "vit_small": "those of vit_demo, a small stand-in that this project has trained on made-up "
    "scenes, Apache-2.0",
}
"""SAM type → the terms of its weights; all others are Meta's."""
MEDSAM_TERMS = "MedSAM, Apache-2.0; its training images have terms of their own"
_META_TERMS = "Meta's Segment Anything, Apache-2.0"
START_TERMS = {
    "none": "random weights: there is nothing to license",
    "imagenet": "torchvision's weights, BSD-3-Clause; they were trained on ImageNet, whose images "
    "are for non-commercial research",
}
"""Where a network starts from → its terms."""
STARTED_NETWORKS = {"train_classifier": "classifier", "train_segmenter": "segmenter"}
"""Stage → the network whose --pretrained it is."""


def find_trained_sam(options: Mapping[str, Mapping[str, Any]]) -> str:
    """The type of the SAM whose decoder the run has trained; "" without one.

    options: by stage. Evaluation has the option, too, whether or not there is a SAM to score.
    """
    for stage, flags in options.items():
        if stage != "evaluate" and flags.get("sam_model_type"):
            return str(flags["sam_model_type"])
    return ""


def weight_terms(options: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line for the code, and for each of the weights that the run's own were trained from.

    options: by stage.
    """
    lines = [CODE_TERMS]
    for stage, network in STARTED_NETWORKS.items():
        flags = options.get(stage, {})
        start = flags.get("pretrained")
        if flags.get("weak_model") in SAM_WEAK_MODELS:
            lines.append(f"* Start of the {network}: {_map_sam_terms(flags)}.")
        elif start is not None:
            terms = START_TERMS.get(start, f"{start}: its terms are not known here")
            lines.append(f"* Start of the {network}: {terms}.")

    sam = find_trained_sam(options)
    if options.get("train_box_decoder", {}).get("segmenter") == "medsam_box":
        lines.append(f"* Start of the decoder: {MEDSAM_TERMS}.")
        return lines
    files: dict[str, None] = {}
    for stage, flags in options.items():
        if stage != "evaluate" and flags.get("sam_checkpoint"):
            files[flags["sam_checkpoint"]] = None
    # A file of the user's may hold other weights of the same type.
    for file in files:
        lines.append(f"* Start of the decoder: {file}; its terms are not known here.")
    if sam and not files:
        lines.append(f"* Start of the decoder: {sam}, {SAM_TERMS.get(sam, _META_TERMS)}.")
    return lines


def _map_sam_terms(flags: Mapping[str, Any]) -> str:
    """The SAM that a stage's --map_sam names, and its terms."""
    # A file of the user's may hold other weights of the same type.
    if flags["map_sam_checkpoint"]:
        return f"{flags['map_sam_checkpoint']}; its terms are not known here"
    name = map_sam_name(flags["map_sam"], flags["dataset_type"])
    return f"{name}, {SAM_TERMS.get(name, _META_TERMS)}"


def data_terms(dataset: str) -> list[str]:
    """A line for the data, and one for what the terms of data mean for weights."""
    terms = DATA_TERMS.get(dataset, "its terms are not known here; ask who owns it")
    return [
        f"* Data, {dataset}: {terms}.",
        "* Trained weights may fall under the terms of the data that they were trained on.",
    ]
