"""From activation maps to initial masks: quantile threshold and opening (paper 3.2.2; methods D20,
D21).
"""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from epsam.config.masks import MaskRule
from epsam.data.images import Mask, Rgb
from epsam.methods import POSTPROCESSINGS, load_function

Map = npt.NDArray[np.float32]

# Ours: bilinear weights in float32 sum to 1 only within this, and a plateau must not crumble at its
# own threshold.
_ROUNDING = 1e-6


def upsample(cam_map: Map, height: int, width: int) -> Map:
    """The map (h, w) at `height` × `width` px, bilinear between pixel centres."""
    resized = cv2.resize(
        np.asarray(cam_map, dtype=np.float32), (width, height), interpolation=cv2.INTER_LINEAR
    )
    return np.asarray(resized, dtype=np.float32)


def cam_to_mask(cam_map: Map, image: Rgb, rule: MaskRule) -> Mask:
    """The initial mask (height, width) of a map (h, w) in 0..1 and its RGB patch, by
    `rule.postprocess`.
    """
    process: Callable[[Map, Rgb, MaskRule], Mask]
    process = load_function(POSTPROCESSINGS, "--postprocess", rule.postprocess)
    return process(cam_map, image, rule)


def require_postprocessing(rule: MaskRule) -> None:
    """Raise what the post-processing would raise here, such as for a package that is missing,
    before hours of work.
    """
    cam_to_mask(np.eye(4, dtype=np.float32), np.zeros((8, 8, 3), dtype=np.uint8), rule)


def quantile_opening(cam_map: Map, image: Rgb, rule: MaskRule) -> Mask:
    """The paper's post-processing, see `initial_mask`; of the patch only the size matters."""
    height, width = image.shape[:2]
    return threshold_and_open(cam_map, height, width, rule.quantile, rule.open_kernel, rule.open_at)


def half_maximum(cam_map: Map, image: Rgb, rule: MaskRule) -> Mask:
    """What reaches half of the largest activation (ours: the paper does not say how its raw maps
    were cut).
    """
    height, width = image.shape[:2]
    large = upsample(cam_map, height, width)
    return np.asarray((large > 0) & (large >= cam_map.max() / 2))


def threshold_and_open(
    cam_map: Map, height: int, width: int, quantile: float, open_kernel: int, open_at: str
) -> Mask:
    """Mask (height, width) of a map (h, w) in [0, 1].

    Foreground is what is above 0 and not below the quantile of the small map's non-zero values: the
    threshold itself counts, so a constant map is foreground everywhere; a map of zeros gives an
    empty mask. The published code takes the quantile on the small map in both orders, and so do we
    (methods D21).

    open_kernel: side of the opening's square in px of the frame it is done in; 0 or 1: none.
    open_at: "image": the map is upsampled, then thresholded and opened. "cam": the map is
    thresholded and opened, and
        the small mask upsampled bilinearly, foreground from 0.5 on, so that its outline stays where
        it was (the
        published code takes all above 0, which widens every region by up to half a cell).
    """
    if not (cam_map > 0).any():
        return np.zeros((height, width), dtype=np.bool_)
    threshold = float(np.quantile(cam_map[cam_map > 0], quantile)) * (1 - _ROUNDING)
    if open_at == "image":
        return opened(_at_least(upsample(cam_map, height, width), threshold), open_kernel)
    small = opened(_at_least(cam_map, threshold), open_kernel)
    return np.asarray(upsample(small.astype(np.float32), height, width) >= 0.5)


def opened(mask: Mask, kernel: int) -> Mask:
    """The mask without regions narrower than `kernel` px; pixels outside the image do not narrow a
    region.
    """
    if kernel <= 1:
        return mask
    square = np.ones((kernel, kernel), dtype=np.uint8)
    anchor, mirrored = kernel // 2, kernel - 1 - kernel // 2
    # Two steps with mirrored anchors: OpenCV's own opening moves the mask by a pixel where the
    # kernel is even.
    eroded = cv2.erode(mask.astype(np.uint8), square, anchor=(anchor, anchor))
    return np.asarray(cv2.dilate(eroded, square, anchor=(mirrored, mirrored)), dtype=np.bool_)


def _at_least(cam_map: Map, threshold: float) -> Mask:
    return np.asarray((cam_map > 0) & (cam_map >= threshold))
