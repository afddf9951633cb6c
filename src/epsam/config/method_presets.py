"""Presets of methods: the constants that a method needs where they are not the flags' defaults.

`METHOD_PRESET` of train.sh chooses between the rows. See docs/deviations.md, "Constants of the
methods that are compared".
"""

from epsam.config.presets import PRESETS, Row

ANY_DATASET = ""
DEFAULT = "default"
AUTHORS = "authors"

StageRows = dict[str, Row]
"""{stage: {flag: value}}."""

# Authors' history: a mask of the Grad-CAM family is cut at another quantile on each dataset.
_GRADCAM_FAMILY: dict[str, StageRows] = {
    ANY_DATASET: {"generate_initial_masks": {"quantile": 0.2, "open_kernel": 5, "open_at": "cam"}},
    "camelyon16": {
        "generate_initial_masks": {"quantile": 0.2, "open_kernel": 75, "open_at": "image"}
    },
    "camelyon17": {"generate_initial_masks": {"quantile": 0.3}},
}
# Authors' history: their row named Grad-CAM holds maps of Grad-CAM++.
_GRADCAM: dict[str, StageRows] = {
    dataset: {"generate_initial_masks": {"cam": "gradcam++", **rows["generate_initial_masks"]}}
    for dataset, rows in _GRADCAM_FAMILY.items()
}
_SEGMENTER: dict[str, StageRows] = {
    ANY_DATASET: {
        "train_segmenter": {
            "encoder": "resnet50",
            "pretrained": "imagenet",
            "batch_size": 4,
            "epoch": 20,
            "lr": 2e-4,
            "weight_decay": 1e-3,
            "patience": 10,
        }
    }
}
_BOX_DECODER: Row = {
    "batch_size": 4,
    "epoch": 20,
    "lr": 2e-4,
    "weight_decay": 1e-2,
    "patience": 10,
}

# SA-MIL's published code, whose recipe all three share.
_MIL_TRAINING: Row = {
    "input_size": 256,
    "batch_size": 4,
    "epoch": 60,
    "lr": 1e-5,
    "weight_decay": 5e-4,
    "lr_step": 0,
}
# This project, for a CPU and random weights. At 64 px a training patch takes 0.1 s of a processor
# (SA-MIL 0.2 s). Side outputs that start from random weights have to learn as fast as the rest.
_SHORT_MIL: StageRows = {
    "train_classifier": {
        "input_size": 64,
        "batch_size": 8,
        "epoch": 8,
        "lr": 1e-3,
        "side_lr_factor": 1.0,
    }
}
_MIL: dict[str, StageRows] = {
    ANY_DATASET: {"train_classifier": _MIL_TRAINING},
    "demo": _SHORT_MIL,
    "bcss": _SHORT_MIL,
    # It has four times the patches of the demo, and its epochs as many steps.
    "ebhi": {"train_classifier": {**_SHORT_MIL["train_classifier"], "epoch": 5}},
    "glas": _SHORT_MIL,
}
# WSSS-Tissue's published code, but for its SGD.
_TISSUE_TRAINING: Row = {
    "input_size": 224,
    "batch_size": 20,
    "epoch": 20,
    "lr": 1e-4,
    "weight_decay": 5e-4,
}

METHOD_PRESETS: dict[str, dict[str, dict[str, StageRows]]] = {
    DEFAULT: {
        "dws_mil": _MIL,
        "sa_mil": _MIL,
        "swin_mil": _MIL,
        "wsss_tissue": {ANY_DATASET: {"train_classifier": _TISSUE_TRAINING}},
    },
    AUTHORS: {
        "unet": _SEGMENTER,
        "deeplab": _SEGMENTER,
        "unet_pseudo": _SEGMENTER,
        "sam_box": {ANY_DATASET: {"train_box_decoder": _BOX_DECODER}},
        # SAM's mean and standard deviation for MedSAM's encoder, too.
        "medsam_box": {
            ANY_DATASET: {"train_box_decoder": {**_BOX_DECODER, "medsam_pixels": "sam"}}
        },
        "enhanced_adl": {
            ANY_DATASET: {
                "generate_initial_masks": {"quantile": 0.2, "open_kernel": 5, "open_at": "cam"}
            },
            "camelyon16": {
                "generate_initial_masks": {"quantile": 0.1, "open_kernel": 21, "open_at": "image"}
            },
            "camelyon17": {"generate_initial_masks": {"quantile": 0.3}},
        },
        "adl": {
            ANY_DATASET: {
                "generate_initial_masks": {"quantile": 0.2, "open_kernel": 5, "open_at": "cam"}
            }
        },
        "gradcam": _GRADCAM,
        "gradcam++": _GRADCAM_FAMILY,
        "eigencam": _GRADCAM_FAMILY,
    },
}
"""{preset: {METHOD: {dataset: {stage: {flag: value}}}}}; the row `ANY_DATASET` is for all datasets.

A method without a row has the flags' defaults.
"""


def stage_preset(
    dataset_type: str, stage: str, recipe: str = "", method_preset: str = DEFAULT
) -> Row:
    """What takes the place of a stage's defaults: {flag: value}.

    The method's constants come first; what a dataset is known to need goes over them; the authors'
    constants, which somebody has to ask for, go over both.
    """
    of_method = METHOD_PRESETS[DEFAULT].get(recipe, {})
    layers = [
        of_method.get(ANY_DATASET, {}),
        PRESETS.get(dataset_type, {}),
        of_method.get(dataset_type, {}),
    ]
    if method_preset != DEFAULT:
        of_authors = METHOD_PRESETS[method_preset].get(recipe, {})
        layers += [of_authors.get(ANY_DATASET, {}), of_authors.get(dataset_type, {})]

    row: Row = {}
    for rows_by_stage in layers:
        row |= rows_by_stage.get(stage, {})
    return row
