"""Flags of everything that runs SAM: model, prompts, embedding cache."""

from dataclasses import dataclass

from epsam.config.flags import OldSpelling, flag
from epsam.methods import PROMPTS

SAM_NAMES = ("vit_b", "vit_l", "vit_h", "vit_demo", "vit_small")

# Earlier names of prompt rules.
OLD_PROMPTS = {"ground_truth_random": "truth_random"}


@dataclass(frozen=True)
class SamWeightOptions:
    """Segment Anything"""

    sam_model_type: str = flag(
        "vit_b",
        "SAM; vit_demo and vit_small are small stand-ins, not real SAMs, and the decoder of the "
        "latter also reads the image",
        source="paper 4.2",
        choices=SAM_NAMES,
        affects_result=True,
        names_weights=True,
    )
    sam_checkpoint: str = flag(
        "",
        "SAM's weights; empty: the official file in checkpoints/, downloaded once if absent",
        affects_result=True,
        names_weights=True,
    )


@dataclass(frozen=True)
class SamOptions(SamWeightOptions):
    """SAM's encoder"""

    compile: bool = flag(
        False,
        "run SAM's image encoder through torch.compile: minutes to start, then faster on a GPU; "
        "the same numbers within 1e-4",
        affects_result=False,
    )


@dataclass(frozen=True)
class MapSamOptions:
    """SAM behind the maps

    Of --refine pam and --weak_model sam_encoder. The content of its weights is part of the key of
    what is computed with it.
    """

    map_sam: str = flag(
        "",
        "SAM whose masks refine the maps (--refine pam), or whose encoder is trained to make them "
        "(--weak_model sam_encoder); empty: that of the dataset's preset, else vit_b",
        choices=SAM_NAMES,
        affects_result=False,
    )
    map_sam_checkpoint: str = flag(
        "",
        "its weights; empty: the official file in checkpoints/, downloaded once if absent",
        affects_result=False,
    )


@dataclass(frozen=True)
class PromptOptions:
    """Prompts

    Part of every decoder's metadata, so that evaluation and inference prompt as training did.
    """

    prompt: str = flag(
        "pepm",
        "prompt rule: points by the CAM (PEPM); uniform in initial mask, patch or ground truth "
        "(an upper bound); a box, alone or with PEPM's points; or a box round the whole patch",
        source="paper 3.3.1",
        choices=tuple(PROMPTS),
        old=OldSpelling(values=OLD_PROMPTS),
        affects_result=True,
    )
    n_point: int = flag(
        50, "positive points of a prompt", source="paper Figure 7", at_least=1, affects_result=True
    )
    n_negative: int = flag(
        0, "negative points of a prompt, where the CAM is lowest", at_least=0, affects_result=True
    )
    n_region: int = flag(
        0,
        "regions of the initial mask, largest first, each with a prompt of its own; "
        "0: one prompt for the whole mask",
        at_least=0,
        affects_result=True,
    )
    mask_prompt: bool = flag(False, "give SAM the CAM as mask prompt, too", affects_result=True)
    # docs/deviations.md, "Support of PEPM".
    pepm_weight: str = flag(
        "cam",
        "PEPM samples points with probability proportional to the CAM, or to its entropy",
        source="paper Eq. 4",
        choices=("cam", "entropy"),
        old=OldSpelling(values={"cam": "activation"}),
        affects_result=True,
    )
    n_sample: int = flag(
        1,
        "prompts sampled per patch; the probabilities of their masks are averaged",
        at_least=1,
        old=OldSpelling("n_draw"),
        affects_result=True,
    )
    n_transform: int = flag(
        1,
        "flips and rotations per patch (test-time augmentation), itself included; the "
        "probabilities of their masks are averaged",
        choices=("1", "2", "4", "8"),
        old=OldSpelling("n_view"),
        affects_result=True,
    )
    # docs/beyond_the_paper.md, "Holes".
    fill_decoder_holes: bool = flag(
        False,
        "fill what a mask of the decoder encloses, in pseudo-labels, scores and inference; see "
        "--fill_holes of generate_initial_masks.py",
        affects_result=True,
        since="0.3",
    )


@dataclass(frozen=True)
class PromptOverrides:
    """Prompts other than in training"""

    n_point: int = flag(
        0,
        "positive points of a prompt; 0: as the decoder was trained",
        at_least=0,
        affects_result=True,
    )
    n_sample: int = flag(
        0,
        "prompts sampled per patch, averaged; 0: as the decoder was trained",
        at_least=0,
        old=OldSpelling("n_draw"),
        affects_result=True,
    )
    n_transform: int = flag(
        0,
        "flips and rotations per patch, averaged; 0: as the decoder was trained",
        choices=("0", "1", "2", "4", "8"),
        old=OldSpelling("n_view"),
        affects_result=True,
    )


@dataclass(frozen=True)
class EmbeddingCacheOptions:
    """Cache of SAM's embeddings"""

    embedding_cache: bool = flag(
        True, "encode each patch once and keep its embedding on disk", affects_result=False
    )


@dataclass(frozen=True)
class CacheOptions(EmbeddingCacheOptions):
    """Cache of SAM's embeddings"""

    # Part of the fingerprint: sums in another order round differently.
    encoder_chunk: int = flag(
        0,
        "patches per pass of the image encoder; 0: 8 on a GPU, 1 on a CPU",
        at_least=0,
        affects_result=True,
    )
