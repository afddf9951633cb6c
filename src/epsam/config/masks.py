"""Flags of generate_initial_masks.py: classifier → class activation maps and initial masks."""

from dataclasses import dataclass, fields, replace
from typing import Any

from epsam.config.common import ShardedStageOptions
from epsam.config.flags import OldSpelling, flag, fraction
from epsam.config.sam import EmbeddingCacheOptions, MapSamOptions
from epsam.methods import CAM_METHODS, MAP_REFINERS, POSTPROCESSINGS

# The authors' values are of their research scripts (docs/deviations.md, "Raw maps and DenseCRF").
CRF_SETTINGS = {"affinitynet": (80, 13, 10), "authors": (30, 3, 3, 1, 5, 70)}
"""Settings of `--crf` that have a name."""


@dataclass(frozen=True)
class PamOptions(MapSamOptions):
    """Prompt affinity mining (--refine pam)

    WeakMedSAM's walk of the map along SAM's masks; docs/deviations.md, "Random walk of PAM".
    """

    pam_grid: int = flag(
        8,
        "points of a side of the grid that prompts SAM over the whole patch; the released code has "
        "4",
        at_least=1,
        affects_result=True,
        affects_only=("cams",),
        since="0.3",
    )
    pam_map: str = flag(
        "sum",
        "what two cells are compared by: the sum of the masks' probabilities, or each mask (stack)",
        source="WeakMedSAM, repaired",
        choices=("sum", "stack"),
        affects_result=True,
        affects_only=("cams",),
        since="0.3",
    )
    pam_radius: int = flag(
        5,
        "cells of the 64 × 64 lattice that are nearer than this are joined",
        source="WeakMedSAM",
        at_least=1,
        at_most=64,
        affects_result=True,
        affects_only=("cams",),
        since="0.3",
    )
    pam_beta: float = flag(
        4.0,
        "power of the affinities: the higher, the less a map crosses the borders of masks",
        source="WeakMedSAM",
        at_least=0,
        affects_result=True,
        affects_only=("cams",),
        since="0.3",
    )
    pam_steps: int = flag(
        4,
        "steps of the random walk; 0: none",
        source="WeakMedSAM",
        at_least=0,
        affects_result=True,
        affects_only=("cams",),
        since="0.3",
    )
    refiner_sam_sha256: str = flag(
        "",
        "SHA-256 that SAM's weights must have; empty: any. Runs hold that of their weights",
        affects_result=True,
        affects_only=("cams",),
        since="0.3",
    )


@dataclass(frozen=True)
class StainOptions:
    """Stain regression (--refine stain, stain_texture)

    The CAM as a function of the stain; docs/beyond_the_paper.md, "Stain regression".
    """

    stain_ridge: float = flag(
        1.0,
        "ridge of the regression, of a density's variance: the higher, the more all densities "
        "count alike",
        at_least=0,
        affects_result=True,
        affects_only=("cams",),
        since="0.3",
    )
    stain_weights: tuple[float, ...] = flag(
        (),
        "weights of the nine densities, and of nine textures; empty: fitted to the CAMs of the "
        "training patches. Runs hold theirs",
        affects_result=True,
        affects_only=("cams",),
        since="0.3",
    )


@dataclass(frozen=True)
class MaskRule(PamOptions, StainOptions):
    """Class activation maps and initial masks

    How a patch becomes a CAM, and the CAM an initial mask. Part of every decoder's metadata.
    """

    cam: str = flag(
        "",
        "CAM method; empty: the one that the classifier was trained for",
        source="paper Table 2",
        choices=tuple(CAM_METHODS),
        affects_result=True,
    )
    # docs/deviations.md, "Layer of the map" and "Average over rotations".
    cam_layer: str = flag(
        "",
        "block whose features make the CAM, such as 4.0; empty: the last block",
        affects_result=True,
    )
    refine: str = flag(
        "rotation_average",
        "what makes the CAM better before it becomes a mask: an average over rotations, such an "
        "average and a walk along SAM's masks (pam), what the stain, or the stain and its texture, "
        "say of such averages (stain, stain_texture), or nothing (none; unscaled, for maps that "
        "are probabilities, does not even scale to 1)",
        source="paper 3.2.2",
        choices=tuple(MAP_REFINERS),
        old=OldSpelling("refiner"),
        affects_result=True,
        since="0.3",
    )
    rotations: int = flag(
        4,
        "right-angle rotations over which the CAM is averaged",
        source="paper Eq. 3",
        at_least=1,
        at_most=4,
        affects_result=True,
    )
    postprocess: str = flag(
        "quantile_opening",
        "CAM → mask: quantile threshold and opening, Li's threshold, opening and no small gaps "
        "(li), DenseCRF (crf), half of the maximum, blurred first (blurred_half) or not (none), or "
        "above ½ as it is (probability)",
        source="paper 3.2.2",
        choices=tuple(POSTPROCESSINGS),
        old=OldSpelling(values={"quantile_opening": "ours"}),
        affects_result=True,
        affects_only=("masks",),
    )
    # docs/deviations.md, "Threshold and opening" and "Raw maps and DenseCRF".
    quantile: float = fraction(
        0.3,
        "quantile of the CAM's non-zero values below which a pixel is background",
        source="published code, CAMELYON17",
        affects_result=True,
        affects_only=("masks",),
    )
    open_kernel: int = flag(
        5,
        "side of the opening's kernel, px in the frame of --open_at; 0: no opening",
        source="published code, CAMELYON17",
        at_least=0,
        affects_result=True,
        affects_only=("masks",),
    )
    crf: tuple[int, ...] = flag(
        CRF_SETTINGS["affinitynet"],
        "DenseCRF's bilateral kernel: range in px, range in grey levels, weight; or with these "
        "the smoothness kernel's weight, the steps, and the certainty of labels in percent; "
        "authors is 30,3,3,1,5,70, affinitynet the default",
        source="AffinityNet",
        at_least=1,
        named=CRF_SETTINGS,
        affects_result=True,
        affects_only=("masks",),
    )
    open_at: str = flag(
        "cam",
        "size at which threshold and opening are applied: the CAM's or the patch's (image)",
        source="published code, CAMELYON17",
        choices=("cam", "image"),
        affects_result=True,
        affects_only=("masks",),
    )
    # docs/deviations.md, "Windows inside a tumour".
    full_windows: float = fraction(
        0.0,
        "patches whose tumour probability is at least this are filled whole instead of cut at the "
        "quantile, such as 0.99; 0: none",
        affects_result=True,
        affects_only=("masks",),
        since="0.3",
    )
    # docs/beyond_the_paper.md, "Holes".
    fill_holes: bool = flag(
        False,
        "fill what an initial mask encloses, for tumour that is outlined without holes",
        affects_result=True,
        affects_only=("masks",),
        since="0.3",
    )


def rule_before_refiner(rule: MaskRule) -> MaskRule:
    """The rule whose maps a `StagedRefiner` starts from; it depends on none of its flags."""
    refiner_fields = [*fields(PamOptions), *fields(StainOptions)]
    defaults: dict[str, Any] = {item.name: item.default for item in refiner_fields}
    return replace(rule, refine="rotation_average", **defaults)


@dataclass(frozen=True)
class GridSearchOptions:
    """Grid search"""

    grid_search: bool = flag(
        False,
        "choose quantile and kernel from a grid, on validation, as --grid_by says",
        affects_result=True,
        affects_only=("masks",),
    )
    # docs/deviations.md, "Threshold and opening".
    grid_by: str = flag(
        "ground_truth",
        "judge of the grid: Dice against the ground truth of validation, or the classifier's "
        "evidence, which takes patch labels alone (labels)",
        choices=("ground_truth", "labels"),
        affects_result=True,
        affects_only=("masks",),
        since="0.3",
    )
    grid_quantiles: tuple[float, ...] = fraction(
        (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        "quantiles of the grid",
        affects_result=True,
        affects_only=("masks",),
    )
    grid_kernels: tuple[int, ...] = flag(
        (0, 3, 5, 7),
        "kernel sides of the grid, px in the frame of --open_at",
        at_least=0,
        affects_result=True,
        affects_only=("masks",),
    )


@dataclass(frozen=True)
class MaskOptions(MaskRule, GridSearchOptions, EmbeddingCacheOptions, ShardedStageOptions):
    """Step 3: classifier → class activation maps and initial masks."""

    resnet_checkpoint: str = flag(
        "",
        "checkpoint of the classifier; empty: the run's",
        affects_result=True,
        names_weights=True,
    )
    batch_size: int = flag(16, "batch size", at_least=1, affects_result=True)
