"""Flags of generate_initial_masks.py: classifier → class activation maps and initial masks."""

from dataclasses import dataclass

from epsam.config.common import StageOptions
from epsam.config.flags import flag, fraction
from epsam.methods import CAM_METHODS, POSTPROCESSINGS


@dataclass(frozen=True)
class MaskRule:
    """How a patch becomes an activation map, and the map an initial mask; kept with every
    decoder.
    """

    cam: str = flag(
        "",
        "activation map; empty: the classifier's own",
        source="Table 2",
        choices=tuple(CAM_METHODS),
    )
    cam_layer: str = flag(
        "", "block whose features make the map, such as 4.0; empty: the last", source="paper 3.2.1"
    )
    rotations: int = flag(
        4, "right-angle rotations that are fused", source="paper Eq. 3", at_least=1, at_most=4
    )
    postprocess: str = flag(
        "ours",
        "map → mask: quantile and opening, DenseCRF, or all from half the maximum on",
        source="paper 3.2.2",
        choices=tuple(POSTPROCESSINGS),
    )
    quantile: float = fraction(
        0.3,
        "quantile of the non-zero activation below which a pixel is background",
        source="published code, CAMELYON17",
    )
    open_kernel: int = flag(
        5,
        "opening's side, px of its frame; 0: none",
        source="published code, CAMELYON17",
        at_least=0,
    )
    crf: tuple[int, int, int] = flag(
        (80, 13, 10), "DenseCRF's reach px, grey levels, weight", at_least=1, source="AffinityNet"
    )
    open_at: str = flag(
        "cam",
        "where threshold and opening are done: on the map or at the patch's size",
        source="published code, CAMELYON17",
        choices=("cam", "image"),
    )


@dataclass(frozen=True)
class MaskOptions(MaskRule, StageOptions):
    """Step 3: classifier → activation maps and initial masks."""

    resnet_checkpoint: str = flag("", "classifier; empty: the run's own")
    grid_search: bool = flag(
        False, "take quantile and kernel from a search over a grid, by Dice on validation truth"
    )
    grid_quantiles: tuple[float, ...] = fraction(
        (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), "quantiles of that grid"
    )
    grid_kernels: tuple[int, ...] = flag(
        (0, 3, 5, 7), "kernels of that grid, px of the frame of --open_at", at_least=0
    )
    batch_size: int = flag(16, "patches a pass", at_least=1)
