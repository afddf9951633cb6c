"""Presets of methods: the flags that make a method of its stages, and the constants that it needs
where they are not the flags' defaults.

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
# At 1e-3 the transformer learns next to nothing from EBHI: a validation AUROC of 0.84 after five
# epochs and 0.85 after ten; at this rate 0.94 after five.
_SWIN_ON_EBHI: StageRows = {
    "train_classifier": {**_SHORT_MIL["train_classifier"], "lr": 2e-4},
}
# WSSS-Tissue's published code, but for its SGD.
_TISSUE_TRAINING: Row = {
    "input_size": 224,
    "batch_size": 20,
    "epoch": 20,
    "lr": 1e-4,
    "weight_decay": 5e-4,
}
# This project, for two CPU cores: at most five minutes on the demo, ten on EBHI. Half of the
# default batch gives as many steps in half of the epochs; with fewer epochs the training loss
# still falls fast, and the reference that EP-SAM is measured by would be too low.
_SHORT_SEGMENTERS: dict[str, StageRows] = {
    "demo": {"train_segmenter": {"batch_size": 4, "epoch": 12}},
    "ebhi": {"train_segmenter": {"batch_size": 4, "epoch": 10}},
}
# This project, for two CPU cores. Its trunk keeps a resolution of 1/8, four times the operations of
# ours at the same input. From random weights, a class that every patch has stays above tumour all
# over, and the masks are empty (docs/results.md, "The methods of Table 2").
_SHORT_TISSUE: Row = {"input_size": 112, "tissue_labels": "single"}
_TISSUE: dict[str, StageRows] = {
    ANY_DATASET: {"train_classifier": _TISSUE_TRAINING},
    "demo": {
        "train_classifier": _SHORT_TISSUE,
        "train_segmenter": {"batch_size": 4, "epoch": 3},
    },
    "ebhi": {
        "train_classifier": {**_SHORT_TISSUE, "epoch": 6},
        "train_segmenter": {"batch_size": 4, "epoch": 2},
    },
}


def _map_rows(cam: str) -> StageRows:
    """A classifier whose initial masks are the answer (paper Table 2)."""
    return {"train_classifier": {"cam": cam}, "infer": {"segment_by": "maps"}}


def _mil_rows(name: str) -> StageRows:
    """Multiple-instance learning, whose maps are probabilities and, above ½, the answer."""
    return {
        "train_classifier": {"weak_model": name},
        "generate_initial_masks": {"refine": "unscaled", "postprocess": "probability"},
        "infer": {"segment_by": "maps"},
    }


def _segmenter_rows(name: str, targets: str) -> StageRows:
    return {"train_segmenter": {"segmenter": name, "targets": targets}}


# WSSS-Tissue's published code: a class below this probability is not segmented.
_TISSUE_GATE: Row = {"gate_threshold": 0.1}

METHOD_FLAGS: dict[str, StageRows] = {
    "strong": {
        "finetune_decoder": {"method": "strong"},
        "retrain_decoder": {"method": "strong"},
    },
    "unet": _segmenter_rows("unet", "ground_truth"),
    "deeplab": _segmenter_rows("deeplab", "ground_truth"),
    "unet_pseudo": _segmenter_rows("unet", "pseudo"),
    # MedSAM is a ViT-B, whatever SAM the preset names.
    "medsam_box": {"train_box_decoder": {"segmenter": "medsam_box", "sam_model_type": "vit_b"}},
    # From patch labels to a U-Net (arXiv 2503.04106).
    "weakmedsam": {
        "train_classifier": {
            "weak_model": "sam_encoder",
            "subclasses": 8,
            "lr": 1e-4,
            "weight_decay": 0.01,
        },
        "generate_initial_masks": {
            "refine": "pam",
            "rotations": 1,
            "postprocess": "blurred_half",
        },
        "train_segmenter": {"segmenter": "unet", "targets": "initial", "normal_patches": True},
    },
    "wsss_tissue": {
        "train_classifier": {"weak_model": "wsss_tissue"},
        # What exceeds the map of normal tissue, as it is.
        "generate_initial_masks": {
            "refine": "none",
            "quantile": 0.0,
            "open_kernel": 0,
            "open_at": "image",
        },
        "train_segmenter": {
            "segmenter": "wsss_tissue",
            "targets": "layers",
            "normal_patches": True,
        },
        "evaluate": _TISSUE_GATE,
        "infer": _TISSUE_GATE,
    },
    "enhanced_adl": _map_rows("enhanced_adl"),
    "adl": _map_rows("adl"),
    "gradcam": _map_rows("gradcam"),
    "gradcam++": _map_rows("gradcam++"),
    "eigencam": _map_rows("eigencam"),
    "dws_mil": _mil_rows("dws_mil"),
    "sa_mil": _mil_rows("sa_mil"),
    "swin_mil": _mil_rows("swin_mil"),
}
"""{METHOD: {stage: {flag: value}}}: what makes a method of its stages, on every dataset."""

METHOD_PRESETS: dict[str, dict[str, dict[str, StageRows]]] = {
    DEFAULT: {
        "dws_mil": _MIL,
        "sa_mil": _MIL,
        "swin_mil": {**_MIL, "ebhi": _SWIN_ON_EBHI},
        "wsss_tissue": _TISSUE,
        "unet": _SHORT_SEGMENTERS,
        "deeplab": _SHORT_SEGMENTERS,
        "unet_pseudo": _SHORT_SEGMENTERS,
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
    constants, which somebody has to ask for, go over both. What makes the method is above all.
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
    layers.append(METHOD_FLAGS.get(recipe, {}))

    row: Row = {}
    for rows_by_stage in layers:
        row |= rows_by_stage.get(stage, {})
    return row
