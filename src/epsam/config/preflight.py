"""Flags of check.py."""

from dataclasses import dataclass

from epsam.config.common import (
    RecipeOptions,
    ReplaceOptions,
    RunOptions,
    SeedOptions,
    SplitOptions,
)
from epsam.config.flags import flag


@dataclass(frozen=True)
class CheckOptions(RecipeOptions, SeedOptions, ReplaceOptions, RunOptions, SplitOptions):
    """Before a run: list what would stop or spoil it. Takes the flags of its stages."""

    from_run: str = flag(
        "",
        "finished EP-SAM run whose pseudo-labels METHOD=unet_pseudo learns from, FROM of train.sh",
        affects_result=False,
    )
    sam_model_type: str = flag(
        "", "SAM's image encoder; empty: the dataset's preset, else vit_b", affects_result=True
    )
    sam_checkpoint: str = flag(
        "", "SAM's weights; empty: the official file in checkpoints/", affects_result=True
    )
    patch_flags: str = flag(
        "",
        "flags of extract_patches.py, as one argument: --patch_flags='--stride 128'",
        affects_result=True,
    )
    classifier_flags: str = flag("", "flags of train_classifier.py", affects_result=True)
    mask_flags: str = flag("", "flags of generate_initial_masks.py", affects_result=True)
    decoder_flags: str = flag("", "flags of finetune_decoder.py", affects_result=True)
    retrain_flags: str = flag("", "flags of retrain_decoder.py", affects_result=True)
    segmenter_flags: str = flag("", "flags of train_segmenter.py", affects_result=True)
    box_flags: str = flag("", "flags of train_box_decoder.py", affects_result=True)
    evaluate_flags: str = flag("", "flags of evaluate.py", affects_result=True)
