"""The flags of check.py."""

from dataclasses import dataclass

from epsam.config.common import RunOptions, SeedOptions, SplitOptions
from epsam.config.flags import flag


@dataclass(frozen=True)
class CheckOptions(SeedOptions, RunOptions, SplitOptions):
    """Before a run: what would stop or spoil it later, in one list. Takes the flags of its
    stages.
    """

    sam_model_type: str = flag("", "SAM's encoder; empty: the dataset's preset, else vit_b")
    sam_checkpoint: str = flag("", "SAM's weights; empty: the known file in checkpoints/")
    patch_flags: str = flag(
        "", "further flags of extract_patches.py, in one word: --patch_flags='--stride 128'"
    )
    classifier_flags: str = flag("", "further flags of train_classifier.py")
    mask_flags: str = flag("", "further flags of generate_initial_masks.py")
    decoder_flags: str = flag("", "further flags of finetune_decoder.py")
    retrain_flags: str = flag("", "further flags of retrain_decoder.py")
    evaluate_flags: str = flag("", "further flags of evaluate.py")
