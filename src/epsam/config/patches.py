"""Flags of extract_patches.py: slides and annotations → patches."""

from dataclasses import dataclass

from epsam.config.common import (
    AnnotationOptions,
    MergeOptions,
    PerSplit,
    RestartOptions,
    SeedOptions,
    SlideResolutionOptions,
    SplitOptions,
)
from epsam.config.flags import flag, fraction


@dataclass(frozen=True)
class TileOptions:
    """Tiles and patches"""

    patch_size: int = flag(
        512, "side of a patch, px", source="paper 4.1", at_least=1, affects_result=True
    )
    # docs/deviations.md, "Tile grid", "Tumour fraction of a patch" and "Tissue of negatives".
    stride: int = flag(
        256,
        "stride of the tile grid, px at the patch's resolution",
        source="paper 4.1",
        at_least=1,
        affects_result=True,
    )
    mpp: float = flag(
        0.0,
        "pixel size of the patches, µm/px; 0: that of the slide's finest level",
        at_least=0,
        affects_result=True,
    )
    min_tumour: float = fraction(
        0.2, "minimum tumour fraction of a positive patch", source="paper 4.1", affects_result=True
    )
    max_tumour: float = fraction(
        0.9, "maximum tumour fraction of a positive patch", source="paper 4.1", affects_result=True
    )
    min_tissue: float = fraction(
        0.25, "minimum tissue fraction of a negative patch", affects_result=True
    )


@dataclass(frozen=True)
class PatchCountOptions:
    """Number of patches"""

    # docs/deviations.md, "Tumour-fraction bins".
    max_per_bin: PerSplit = flag(
        (500, 50, 0),
        "maximum of positives per 5 %-bin of the tumour fraction (train,val,test); 0: no bins",
        source="published code, CAMELYON17",
        at_least=0,
        affects_result=True,
        affects_only=("selection",),
    )
    max_positive: PerSplit = flag(
        (0, 0, 2000),
        "maximum of positives (train,val,test); 0: all",
        source="published code, CAMELYON17",
        at_least=0,
        affects_result=True,
        affects_only=("selection",),
    )
    max_negative: PerSplit = flag(
        (6000, 700, 2000),
        "maximum of negatives (train,val,test); 0: all",
        source="published code, paper Table 1",
        at_least=0,
        affects_result=True,
        affects_only=("selection",),
    )


@dataclass(frozen=True)
class SplittingOptions:
    """Splits"""

    # docs/deviations.md, "Patients across splits".
    split: str = flag(
        "patient",
        "table that splits CAMELYON: no patient in two splits, or the authors' own lists",
        choices=("patient", "authors"),
        affects_result=True,
        affects_only=("selection",),
    )
    split_ratio: tuple[float, float, float] = flag(
        (0.7, 0.1, 0.2),
        "fractions of the slides for train,val,test if neither a table nor splits.csv decides",
        at_least=0,
        affects_result=True,
        affects_only=("selection",),
    )


@dataclass(frozen=True)
class PatchOptions(
    TileOptions,
    PatchCountOptions,
    SplittingOptions,
    AnnotationOptions,
    SlideResolutionOptions,
    MergeOptions,
    RestartOptions,
    SeedOptions,
    SplitOptions,
):
    """Step 1: slides and annotations → patches."""

    workers: int = flag(
        0, "processes, each with a slide; 0: one per core", affects_result=False, at_least=0
    )
    strict: bool = flag(
        False,
        "fail if any slide fails, instead of listing it in slides.csv and continuing",
        affects_result=False,
    )
