"""Flags of finetune_decoder.py and retrain_decoder.py: masks → decoder and pseudo-labels."""

from dataclasses import dataclass, fields

from epsam.config.common import LeafOptions, SeedOptions, ShardedStageOptions, StageOptions
from epsam.config.flags import OldSpelling, flag
from epsam.config.presets import METHODS
from epsam.config.sam import OLD_PROMPTS, CacheOptions, PromptOptions, SamOptions
from epsam.methods import PROMPTS, SAM_SEGMENTERS, SELECTIONS


@dataclass(frozen=True)
class SelectionOptions:
    """Selection of pseudo-labels"""

    selection: str = flag(
        "ids",
        "pseudo-labels that the next round learns from: those that IDS accepts, or all that are "
        "not empty",
        source="paper 3.3.3",
        choices=tuple(SELECTIONS),
        affects_result=True,
        since="0.3",
    )
    # docs/deviations.md, "IDS".
    ids_threshold: float = flag(
        0.9,
        "a pseudo-label is accepted if its IDS exceeds this",
        source="paper 3.3.3",
        at_most=1,
        affects_result=True,
    )
    min_area_ratio: float = flag(
        0.0,
        "a pseudo-label is accepted if its area is at least this fraction of the initial mask's",
        at_least=0,
        affects_result=True,
    )


@dataclass(frozen=True)
class DecoderFitOptions(LeafOptions):
    """Training of the decoder"""

    batch_size: int = flag(
        4, "batch size", source="published code", at_least=1, affects_result=True
    )
    epoch: int = flag(20, "epochs", source="paper 4.2", at_least=1, affects_result=True)
    # docs/deviations.md, "Decoder learning rate" and "Decoder schedule".
    lr: float = flag(
        2e-4, "AdamW's learning rate", source="paper 4.2", at_least=0, affects_result=True
    )
    weight_decay: float = flag(
        1e-2, "AdamW's weight decay", source="published code", at_least=0, affects_result=True
    )
    patience: int = flag(
        10,
        "stop after this many epochs without a better validation Dice; 0: never",
        source="published code",
        at_least=0,
        affects_result=True,
    )
    embedding_transforms: int = flag(
        2,
        "flips and rotations of a training patch whose embeddings are cached, itself included",
        choices=("1", "2", "4", "8"),
        old=OldSpelling("embedding_views"),
        affects_result=True,
    )


@dataclass(frozen=True)
class CorrectionOptions:
    """Corrections"""

    # Their content is part of the key of a round.
    corrections: str = flag(
        "",
        "folder of corrections of training patches or slides; reviewed pixels are trusted in place "
        "of the pseudo-label, without IDS",
        affects_result=False,
    )
    correction_slides: str = flag(
        "",
        "folder of corrected slides and images that the dataset does not hold, or one of them: "
        "their reviewed area becomes training patches of this run alone",
        affects_result=False,
    )
    correction_weight: float = flag(
        1.0,
        "weight of a reviewed pixel in the loss; a pixel of a pseudo-label has 1",
        at_least=0.01,
        affects_result=True,
        since="0.3",
    )


@dataclass(frozen=True)
class DecoderTrainingOptions(DecoderFitOptions):
    """Training of the decoder"""

    method: str = flag(
        "paper",
        "preset of the flags that are not given: the paper's values, or the combination that did "
        "better here (docs/beyond_the_paper.md)",
        choices=tuple(METHODS),
        affects_result=False,
    )
    # docs/deviations.md, "Training prompts".
    train_prompt: str = flag(
        "mask",
        "training prompts: points uniform in the target mask; as --prompt and --n_region say "
        "(same); or another prompt rule",
        source="published code",
        choices=("mask", "same", *PROMPTS),
        old=OldSpelling(values=OLD_PROMPTS),
        affects_result=True,
    )
    soft_targets: bool = flag(
        False,
        "rounds are trained on the probabilities of the pseudo-labels, each pixel weighted by its "
        "certainty; best with more than one --n_sample or --n_transform",
        affects_result=True,
    )
    normal_patches: float = flag(
        0.0,
        "fraction of normal patches among the training patches, such as 0.2: prompted where the "
        "classifier is wrong, with an empty target",
        at_least=0,
        at_most=0.9,
        affects_result=True,
    )
    # docs/deviations.md, "Choice of the epoch".
    select_on: str = flag(
        "ground_truth",
        "epoch that is kept: best validation Dice against the ground truth, against the "
        "classifier's masks (pseudo), or the last epoch",
        source="published code",
        choices=("ground_truth", "pseudo", "last"),
        old=OldSpelling(values={"ground_truth": "truth"}),
        affects_result=True,
    )


@dataclass(frozen=True)
class DecoderOptions(
    DecoderTrainingOptions,
    PromptOptions,
    SelectionOptions,
    SamOptions,
    CacheOptions,
    SeedOptions,
    StageOptions,
):
    """Steps 4 and 5: masks → decoder and pseudo-labels."""


@dataclass(frozen=True)
class FinetuneOptions(DecoderOptions, ShardedStageOptions):
    """Step 4: initial masks → preliminary decoder and first pseudo-labels."""


@dataclass(frozen=True)
class RetrainOptions(CorrectionOptions, DecoderOptions):
    """Step 5: iterative retraining (Algorithm 1)."""

    # Not in the fingerprint of the stage: more rounds continue from those that are there.
    n_iter: int = flag(3, "rounds", source="paper Table 5", affects_result=False, at_least=1)
    # docs/deviations.md, "Pseudo-labels over rounds".
    pl_mode: str = flag(
        "replace",
        "pseudo-labels of a round: its own only, or added to those of earlier rounds",
        source="published code",
        choices=("replace", "accumulate"),
        affects_result=True,
    )


@dataclass(frozen=True)
class BoxDecoderOptions(DecoderFitOptions, SamOptions, CacheOptions, SeedOptions, StageOptions):
    """SAM's decoder on ground truth, prompted by a box round the whole patch."""

    segmenter: str = flag(
        "sam_box",
        "whose encoder and initial decoder: SAM's (sam_box), or MedSAM's, a ViT-B, from "
        "medsam_vit_b.pth in checkpoints/ or --sam_checkpoint (medsam_box)",
        source="paper Table 2",
        choices=tuple(SAM_SEGMENTERS),
        affects_result=True,
        since="0.3",
    )
    # docs/deviations.md, "Fully supervised rows".
    medsam_pixels: str = flag(
        "published",
        "pixels for MedSAM's encoder: each patch scaled to 0..1 by its lowest and highest value, "
        "as it was trained (published), or SAM's mean and standard deviation (sam)",
        source="MedSAM (Ma et al. 2024)",
        choices=("published", "sam"),
        affects_result=True,
        since="0.3",
    )

    @property
    def is_medsam(self) -> bool:
        """Whether weights and pixels are MedSAM's."""
        return self.segmenter == "medsam_box"

    def as_decoder_options(self) -> DecoderOptions:
        """The same for what trains decoders: one prompt for all patches, of a box's two corners."""
        shared = {}
        for item in fields(DecoderOptions):
            if hasattr(self, item.name):
                shared[item.name] = getattr(self, item.name)
        return DecoderOptions(**shared, prompt="patch_box", train_prompt="patch_box", n_point=1)
