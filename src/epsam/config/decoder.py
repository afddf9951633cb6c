"""Flags of finetune_decoder.py and retrain_decoder.py: masks → decoder and pseudo-labels."""

from dataclasses import dataclass

from epsam.config.common import SeedOptions, StageOptions
from epsam.config.flags import flag
from epsam.config.presets import METHODS
from epsam.config.sam import CacheOptions, PromptOptions, SamOptions
from epsam.methods import PROMPTS


@dataclass(frozen=True)
class SelectionOptions:
    """Which pseudo-labels are kept."""

    ids_threshold: float = flag(
        0.9, "a pseudo-label is kept if its IDS is above this", source="paper 3.3.3", at_most=1
    )
    min_area_ratio: float = flag(
        0.0, "least area of a pseudo-label as a share of the initial mask", at_least=0
    )


@dataclass(frozen=True)
class DecoderOptions(
    CacheOptions, SamOptions, PromptOptions, SelectionOptions, SeedOptions, StageOptions
):
    """Step 4: initial masks → preliminary decoder and first pseudo-labels."""

    method: str = flag(
        "paper",
        "what flags that are not given are set to: the paper's values, or those together that "
        "did better here (docs/beyond_the_paper.md)",
        choices=tuple(METHODS),
        affects_result=False,
    )
    train_prompt: str = flag(
        "mask",
        "training asks with points of the mask fitted to, exactly as --prompt and "
        "--n_region do (same), or by another rule",
        source="published code",
        choices=("mask", "same", *PROMPTS),
    )
    batch_size: int = flag(4, "patches a step", source="paper 4.2", at_least=1)
    epoch: int = flag(20, "passes over the training masks", source="paper 4.2", at_least=1)
    lr: float = flag(2e-4, "AdamW's learning rate", source="paper 4.2", at_least=0)
    weight_decay: float = flag(1e-2, "AdamW's weight decay", source="published code", at_least=0)
    patience: int = flag(
        10,
        "epochs without a better validation Dice before stopping",
        source="published code",
        at_least=0,
    )
    soft_targets: bool = flag(
        False,
        "rounds are fitted to the probability of the pseudo-labels, each pixel counting "
        "by its certainty; best with more than one --n_draw or --n_view",
    )
    normal_patches: float = flag(
        0.0,
        "share of the training patches that are normal ones, asked about where the "
        "classifier is wrong, with an empty mask as target; e.g. 0.2",
        at_least=0,
        at_most=0.9,
    )
    embedding_views: int = flag(
        2, "kept flips and rotations of a training patch", choices=("1", "2", "4", "8")
    )
    select_on: str = flag(
        "truth",
        "the epoch that is kept: best Dice on validation with true masks, with the "
        "classifier's masks, or the last one",
        source="published code",
        choices=("truth", "pseudo", "last"),
    )


@dataclass(frozen=True)
class RetrainOptions(DecoderOptions):
    """Step 5: iterative retraining (Algorithm 1)."""

    n_iter: int = flag(3, "rounds", source="paper Algorithm 1", affects_result=False, at_least=1)
    pl_mode: str = flag(
        "replace",
        "pseudo-labels of a round: only its own, or added to those of earlier rounds",
        source="published code",
        choices=("replace", "accumulate"),
    )
