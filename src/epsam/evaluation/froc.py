"""Lesions found against false finds, as CAMELYON16 counts them (Ehteshami Bejnordi et al., JAMA
2017, supplement).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from epsam.data.images import Mask

Labels = npt.NDArray[np.int32]

EVALUATION_UM = 0.243 * 2**5
"""Pixel size at which CAMELYON16 evaluates: level 5 of a slide of 0.243 µm."""

JOINED_UM = 75.0
"""Lesions nearer to each other than this are one, and a find within half of it beside a lesion is a
hit.
"""

ISOLATED_UM = 200.0 + JOINED_UM
"""Lesions of a shorter main axis, joined and widened as they are, are isolated tumour cells: they
do not count.
"""

FALSE_POSITIVES_PER_SLIDE = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False finds a slide at which the sensitivities are averaged."""

MIN_PEAK = 26
"""Ours: a peak below 0.1 is no find."""


@dataclass(frozen=True)
class Detections:
    """Points called tumour: x and y in the map's pixels, and their probabilities."""

    x: npt.NDArray[np.int64]
    y: npt.NDArray[np.int64]
    probability: npt.NDArray[np.float64]


@dataclass(frozen=True)
class LesionHits:
    """Of one slide: the best probability of a find in each lesion (0: missed), and those of the
    false finds.
    """

    lesions: list[float]
    false_positives: list[float]


def find_peaks(probability: npt.NDArray[np.uint8], um_per_px: float) -> Detections:
    """Peaks of a coarse probability map, 0..255: no pixel within 75 µm is higher. A plateau is one
    find (ours).
    """
    reach = max(1, round(JOINED_UM / um_per_px))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    peaks = (probability == cv2.dilate(probability, disc)) & (probability >= MIN_PEAK)
    count, labels = cv2.connectedComponents(peaks.astype(np.uint8), connectivity=8)
    y, x = np.nonzero(labels)
    order = np.argsort(labels[y, x], kind="stable")
    y, x = y[order], x[order]
    # The middle pixel of each plateau in reading order: on it, wherever its centre of mass may be.
    ends = np.cumsum(np.bincount(labels[y, x], minlength=count)[1:])
    middles = (np.concatenate([[0], ends[:-1]]) + ends) // 2 if count > 1 else np.empty(0, np.int64)
    return Detections(x[middles], y[middles], probability[y[middles], x[middles]] / 255.0)


def label_lesions(truth: Mask, um_per_px: float) -> tuple[Labels, list[bool]]:
    """Lesions by number from 1 on, 0 elsewhere, and for each whether it counts (it is more than
    isolated cells).
    """
    if not truth.any():
        return np.zeros(truth.shape, np.int32), []
    away = cv2.distanceTransform((~truth).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    near = _without_holes(away < JOINED_UM / 2 / um_per_px)
    count, labels = cv2.connectedComponents(near.astype(np.uint8), connectivity=8)
    y, x = np.nonzero(labels)
    order = np.argsort(labels[y, x], kind="stable")
    ends = np.cumsum(np.bincount(labels[y, x], minlength=count)[1:])[:-1]
    points = np.split(np.stack([x, y], axis=1)[order], ends)
    return np.asarray(labels, np.int32), [
        main_axis(each) * um_per_px >= ISOLATED_UM for each in points
    ]


def main_axis(points: npt.NDArray[np.int64]) -> float:
    """Length of the longer axis of the ellipse with the same second moments as the points (n,
    2).
    """
    if len(points) < 2:
        return 0.0
    return float(4 * np.sqrt(np.linalg.eigvalsh(np.cov(points.T, bias=True))[-1]))


def match_detections(finds: Detections, labels: Labels, counts: Sequence[bool]) -> LesionHits:
    """Which finds lie in which lesion; those in lesions that do not count are neither hits nor
    false.
    """
    found = labels[finds.y, finds.x]
    best = [
        float(finds.probability[found == number].max(initial=0.0))
        for number in range(1, len(counts) + 1)
    ]
    return LesionHits(
        [value for value, counted in zip(best, counts, strict=True) if counted],
        finds.probability[found == 0].tolist(),
    )


def compute_froc(slides: Sequence[LesionHits]) -> list[tuple[float, float, float]]:
    """(threshold, false finds a slide, sensitivity) for every probability that occurs, highest
    first.

    Empty if no slide has a lesion that counts.
    """
    lesions = np.array([value for slide in slides for value in slide.lesions])
    false = np.array([value for slide in slides for value in slide.false_positives])
    if not len(lesions):
        return []
    thresholds = np.unique(np.concatenate([lesions[lesions > 0], false]))[::-1]
    return [
        (
            float(threshold),
            float((false >= threshold).sum() / len(slides)),
            float((lesions >= threshold).mean()),
        )
        for threshold in thresholds
    ]


def sensitivities(points: Sequence[tuple[float, float, float]]) -> list[float]:
    """Sensitivity at each of FALSE_FINDS, between points by straight lines; their mean is
    CAMELYON16's score.
    """
    curve = np.array([(0.0, 0.0), *((false, found) for _, false, found in points)])
    return [
        float(value) for value in np.interp(FALSE_POSITIVES_PER_SLIDE, curve[:, 0], curve[:, 1])
    ]


def _without_holes(mask: Mask) -> Mask:
    """The mask with what it encloses."""
    outside = np.pad(~mask, 1, constant_values=True).astype(np.uint8)
    labels = cv2.connectedComponents(outside, connectivity=4)[1]
    return np.asarray(labels != labels[0, 0])[1:-1, 1:-1]
