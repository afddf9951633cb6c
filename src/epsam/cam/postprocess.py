"""From a class activation map to an initial mask: quantile threshold and opening (paper 3.2.2)."""

import cv2
import numpy as np

from epsam.cam.protocol import MapToMask
from epsam.config.masks import MaskRule
from epsam.data.cam_store import CamMap
from epsam.data.holes import fill_mask_holes, fill_probability_holes
from epsam.data.images import Mask, Rgb
from epsam.methods import POSTPROCESSINGS, load_function

PROBABILITY = "probability"
"""`--postprocess` of maps that are probabilities."""

# This project: bilinear weights in float32 sum to 1 only within this tolerance. Without it, parts
# of a plateau would fall below a threshold that equals its value.
_ROUNDING = 1e-6

_TINY = np.finfo(np.float64).tiny

LARGEST_GAP = 1 / 40
"""This project: share of a patch; chosen on validation of EBHI (docs/real_tissue.md)."""

BLUR_SIGMA, BLUR_PX = 3.5, 256
"""Standard deviation of the blur of WeakMedSAM's released code, px, in images of 256 px."""


def upsample(cam_map: CamMap, height: int, width: int) -> CamMap:
    """The map (h, w) at (height, width), bilinear between pixel centres (docs/deviations.md,
    "Interpolation of maps").
    """
    resized = cv2.resize(
        np.asarray(cam_map, dtype=np.float32), (width, height), interpolation=cv2.INTER_LINEAR
    )
    return np.asarray(resized, dtype=np.float32)


def cam_to_mask(cam_map: CamMap, image: Rgb, rule: MaskRule, probability: float = 0.0) -> Mask:
    """The initial mask (height, width) of a map (h, w) in 0..1 and its RGB patch (height, width,
    3), by the method `rule.postprocess`, and without holes if the rule says so.

    probability: of tumour in the patch; from `rule.full_windows` on, the whole patch is the mask.
    """
    if rule.full_windows and probability >= rule.full_windows:
        return np.ones(image.shape[:2], dtype=np.bool_)
    postprocess: MapToMask = load_function(POSTPROCESSINGS, "--postprocess", rule.postprocess)
    mask = postprocess(cam_map, image, rule)
    return fill_mask_holes(mask) if rule.fill_holes else mask


def cam_to_probability(
    cam_map: CamMap, image: Rgb, rule: MaskRule, probability: float = 0.0
) -> CamMap:
    """Tumour probabilities (height, width), of which those above ½ are the initial mask: the map
    itself if the rule takes it for probabilities, else 0 and 1. Arguments as for `cam_to_mask`.
    """
    is_full = rule.full_windows and probability >= rule.full_windows
    if rule.postprocess == PROBABILITY and not is_full:
        upsampled = upsample(cam_map, *image.shape[:2])
        return fill_probability_holes(upsampled) if rule.fill_holes else upsampled
    return cam_to_mask(cam_map, image, rule, probability).astype(np.float32)


def require_postprocessing(rule: MaskRule) -> None:
    """Raise what `cam_to_mask` would raise, such as for a missing package, before hours of work."""
    cam_to_mask(np.eye(4, dtype=np.float32), np.zeros((8, 8, 3), dtype=np.uint8), rule)


def quantile_opening(cam_map: CamMap, image: Rgb, rule: MaskRule) -> Mask:
    """The paper's post-processing, see `threshold_and_open`; of the patch it uses only the size."""
    height, width = image.shape[:2]
    return threshold_and_open(cam_map, height, width, rule.quantile, rule.open_kernel, rule.open_at)


def li_threshold(cam_map: CamMap, image: Rgb, rule: MaskRule) -> Mask:
    """Foreground from Li's threshold of the map on, opened, without small gaps.

    No quantile has to be chosen, and a patch with little tumour gets little. This project;
    docs/beyond_the_paper.md, "Stain regression". A constant map is foreground everywhere, a map of
    zeros nowhere.
    """
    height, width = image.shape[:2]
    threshold = cross_entropy_threshold(cam_map) * (1 - _ROUNDING)
    mask = _cut_and_open(cam_map, height, width, threshold, rule.open_kernel, rule.open_at)
    return fill_small_gaps(mask, LARGEST_GAP)


def cross_entropy_threshold(cam_map: CamMap) -> float:
    """The value that parts a map, none below 0, with the least cross-entropy between the map and
    the means of its two parts; the upper part begins with it (Li and Lee, Pattern Recognition
    26(4), 1993). The value of a constant map.
    """
    values = np.sort(cam_map, axis=None).astype(np.float64)
    sums = np.cumsum(values)
    ends = np.flatnonzero(np.diff(values)) + 1
    if not len(ends):
        return float(values[0])

    # Every way to cut the sorted values between two that differ. A lower part of zeros adds 0.
    below, above = sums[ends - 1], sums[-1] - sums[ends - 1]
    log_below = np.log(np.maximum(below / ends, _TINY))
    log_above = np.log(above / (len(values) - ends))
    best = int(np.argmax(below * log_below + above * log_above))
    return float(values[ends[best]])


def fill_small_gaps(mask: Mask, share: float) -> Mask:
    """The mask with each connected part of the background that has less than this share of all
    pixels; parts that touch at a corner alone are two.
    """
    background = (~mask).astype(np.uint8)
    _, parts, statistics, _ = cv2.connectedComponentsWithStats(background, connectivity=4)
    is_small = statistics[:, cv2.CC_STAT_AREA] < share * mask.size
    # Part 0 is the foreground.
    is_small[0] = True
    return np.asarray(is_small[parts])


def half_maximum(cam_map: CamMap, image: Rgb, rule: MaskRule) -> Mask:
    """Foreground where the map is at least half of its maximum.

    This project: the paper does not say how its raw maps were thresholded (docs/deviations.md, "Raw
    maps and DenseCRF").
    """
    height, width = image.shape[:2]
    upsampled = upsample(cam_map, height, width)
    return np.asarray((upsampled > 0) & (upsampled >= cam_map.max() / 2))


def blurred_half(cam_map: CamMap, image: Rgb, rule: MaskRule) -> Mask:
    """Foreground where the map, blurred in the patch's size, is at least half of its maximum
    (WeakMedSAM's released code).
    """
    height, width = image.shape[:2]
    upsampled = upsample(cam_map, height, width)
    sigma = BLUR_SIGMA * max(height, width) / BLUR_PX
    blurred = cv2.GaussianBlur(upsampled, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray((blurred > 0) & (blurred >= cam_map.max() / 2))


def half_probability(cam_map: CamMap, image: Rgb, rule: MaskRule) -> Mask:
    """Foreground where the map, a probability, is above ½ in the patch's size."""
    height, width = image.shape[:2]
    return np.asarray(upsample(cam_map, height, width) > 0.5)


def threshold_and_open(
    cam_map: CamMap, height: int, width: int, quantile: float, open_kernel: int, open_at: str
) -> Mask:
    """The mask (height, width) of a map (h, w) in 0..1.

    Foreground is what is above 0 and not below the quantile of the small map's non-zero values. A
    value that equals the threshold is foreground, so a constant map is foreground everywhere; a map
    of zeros gives an empty mask.

    open_kernel: side of the opening's square, px of the frame in which it is done; 0 or 1: none.
    open_at: "image": upsample the map, then threshold and open. "cam": threshold and open the small
    map, then upsample the small mask (docs/deviations.md, "Threshold and opening").
    """
    if not (cam_map > 0).any():
        return np.zeros((height, width), dtype=np.bool_)

    # In both orders the published code takes the quantile of the small map.
    non_zero = cam_map[cam_map > 0]
    threshold = float(np.quantile(non_zero, quantile)) * (1 - _ROUNDING)
    return _cut_and_open(cam_map, height, width, threshold, open_kernel, open_at)


def _cut_and_open(
    cam_map: CamMap, height: int, width: int, threshold: float, open_kernel: int, open_at: str
) -> Mask:
    """What is above 0 and not below the threshold, opened, in (height, width)."""
    if open_at == "image":
        upsampled = upsample(cam_map, height, width)
        mask = _reaches(upsampled, threshold)
        return open_mask(mask, open_kernel)

    # The small mask is upsampled as 0 and 1 and cut at ½, so that each border stays in its place.
    # The published code does the same: it resizes bytes of 0 and 1, which rounds at ½.
    small_mask = open_mask(_reaches(cam_map, threshold), open_kernel)
    upsampled = upsample(small_mask.astype(np.float32), height, width)
    return np.asarray(upsampled >= 0.5)


def _reaches(cam_map: CamMap, threshold: float) -> Mask:
    # Compared in float32, the threshold of a map of tiny values may round to 0.
    return np.asarray((cam_map > 0) & (cam_map >= threshold))


def open_mask(mask: Mask, kernel: int) -> Mask:
    """Morphological opening by a square of `kernel` px: regions narrower than it are removed.

    Pixels outside the image do not narrow a region. A kernel of 0 or 1 changes nothing.
    """
    if kernel <= 1:
        return mask
    square = np.ones((kernel, kernel), dtype=np.uint8)
    anchor = kernel // 2
    mirrored = kernel - 1 - kernel // 2
    # Two steps with mirrored anchors: with an even kernel, OpenCV's own opening shifts the mask by
    # a pixel.
    eroded = cv2.erode(mask.astype(np.uint8), square, anchor=(anchor, anchor))
    dilated = cv2.dilate(eroded, square, anchor=(mirrored, mirrored))
    return np.asarray(dilated, dtype=np.bool_)
