"""Flags of everything that runs SAM: model, prompts, embedding cache."""

from dataclasses import dataclass

from epsam.config.flags import flag
from epsam.methods import PROMPTS


@dataclass(frozen=True)
class SamOptions:
    """The Segment Anything model."""

    sam_model_type: str = flag(
        "vit_b",
        "SAM's encoder; vit_demo is a small stand-in, no real SAM",
        source="paper 4.2",
        choices=("vit_b", "vit_l", "vit_h", "vit_demo"),
    )
    sam_checkpoint: str = flag(
        "", "SAM's weights; empty: the known file in checkpoints/, downloaded once if absent"
    )
    compile: bool = flag(
        False,
        "torch.compile SAM's encoder: minutes at first, then faster on a GPU; same numbers "
        "within 1e-4",
        affects_result=False,
    )


@dataclass(frozen=True)
class PromptOptions:
    """How SAM is asked; kept with every decoder, so that evaluation and inference ask alike."""

    prompt: str = flag(
        "pepm",
        "points by activation, uniform in mask, patch or truth (an upper bound), a box, or both",
        source="paper 3.3.1",
        choices=tuple(PROMPTS),
    )
    n_point: int = flag(50, "positive points a prompt", source="paper 3.3.1", at_least=1)
    n_negative: int = flag(
        0,
        "negative points a prompt, where the activation is lowest",
        source="this project",
        at_least=0,
    )
    n_region: int = flag(
        0,
        "regions of the initial mask, largest first, that are asked about one by one, each with a "
        "prompt of its own; 0: one prompt for the whole mask",
        at_least=0,
    )
    mask_prompt: bool = flag(False, "give SAM the activation as mask prompt, too")
    pepm_weight: str = flag(
        "activation", "what PEPM draws by", source="paper Eq. 4", choices=("activation", "entropy")
    )
    n_draw: int = flag(
        1, "prompts drawn for a patch, whose masks' probabilities are averaged", at_least=1
    )
    n_view: int = flag(
        1, "flips and rotations that are asked and averaged", choices=("1", "2", "4", "8")
    )


@dataclass(frozen=True)
class PromptOverrides:
    """How a trained decoder is asked otherwise than in training."""

    n_point: int = flag(
        0, "positive points a prompt; 0: as many as the decoder was trained with", at_least=0
    )
    n_draw: int = flag(0, "prompts a patch, averaged; 0: as in training", at_least=0)
    n_view: int = flag(
        0,
        "flips and rotations that are averaged; 0: as in training",
        choices=("0", "1", "2", "4", "8"),
    )


@dataclass(frozen=True)
class CacheOptions:
    """Embeddings that are kept on disk."""

    embedding_cache: bool = flag(
        True, "encode each patch once and keep the result on disk", affects_result=False
    )
    encoder_chunk: int = flag(
        0, "images encoded at a time; 0: 8 on a GPU, 1 on the CPU", at_least=0
    )
