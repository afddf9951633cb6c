"""Flags of extract_patches.py: slides and annotations → patches."""

from dataclasses import dataclass

from epsam.config.common import PerSplit, RestartOptions, SeedOptions, ShardOptions, SplitOptions
from epsam.config.flags import flag, fraction


@dataclass(frozen=True)
class PatchOptions(ShardOptions, RestartOptions, SeedOptions, SplitOptions):
    """Step 1: slides and outlines → patches."""

    patch_size: int = flag(512, "side of a patch, px", source="paper 4.1", at_least=1)
    stride: int = flag(
        256, "step of the window grid, px of the patch's resolution", source="paper 4.1", at_least=1
    )
    mpp: float = flag(
        0.0, "resolution of the patches, µm/px; 0: the slide's finest level as it is", at_least=0
    )
    slide_mpp: float = flag(
        0.0, "resolution of slides whose file does not tell it, µm/px; 0: not known", at_least=0
    )
    min_tumour: float = fraction(0.2, "least tumour share of a positive patch", source="paper 4.1")
    max_tumour: float = fraction(
        0.9, "largest tumour share of a positive patch", source="paper 4.1"
    )
    min_tissue: float = fraction(0.25, "least tissue share of a negative patch")
    max_per_bin: PerSplit = flag(
        (500, 50, 0),
        "positives per 5 %-bin of tumour share (train,val,test); 0: no bins",
        source="published code, CAMELYON17",
        at_least=0,
    )
    max_positive: PerSplit = flag(
        (0, 0, 2000), "positives at most; 0: all", source="published code, CAMELYON17", at_least=0
    )
    max_negative: PerSplit = flag(
        (6000, 700, 2000), "negatives at most; 0: all", source="published code, Table 1", at_least=0
    )
    split: str = flag(
        "patient",
        "which table splits CAMELYON: no patient in two splits, or the authors' own lists",
        choices=("patient", "authors"),
    )
    split_ratio: tuple[float, float, float] = flag(
        (0.7, 0.1, 0.2),
        "shares of slides for train,val,test where neither a table nor splits.csv decides",
        at_least=0,
    )
    workers: int = flag(0, "processes over slides; 0: one a core", affects_result=False, at_least=0)
    strict: bool = flag(
        False,
        "fail if any slide fails, instead of listing it in slides.csv and going on",
        affects_result=False,
    )
