"""Lesions detected against false positives, as CAMELYON16 counts them (Ehteshami Bejnordi et al.,
JAMA 2017, supplement).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from epsam.data.images import Mask

Labels = npt.NDArray[np.int32]
PixelsXY = npt.NDArray[np.int64]

EVALUATION_UM = 0.243 * 2**5
"""Pixel size at which CAMELYON16 evaluates: level 5 of a slide of 0.243 µm."""

JOINED_UM = 75.0
"""Lesions nearer to each other than this are one; a detection within half of it beside a lesion is
a hit.
"""

ISOLATED_UM = 200.0 + JOINED_UM
"""Lesions of a shorter main axis, after joining and widening, are isolated tumour cells: they do
not count.
"""

FALSE_POSITIVES_PER_SLIDE = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives per slide at which the sensitivities are averaged."""

MIN_PEAK = 26
"""This project: a peak below 0.1 is no detection."""


@dataclass(frozen=True)
class Detections:
    """Points that are called tumour: x and y in the map's pixels, and their probabilities, (n,)
    each.
    """

    x: npt.NDArray[np.int64]
    y: npt.NDArray[np.int64]
    probability: npt.NDArray[np.float64]


@dataclass(frozen=True)
class LesionHits:
    """Detections of one slide beside its lesions.

    lesions: the best probability of a detection in each lesion that counts, 0 where it was missed.
    false_positives: the probabilities of the detections outside of all lesions.
    """

    lesions: list[float]
    false_positives: list[float]


class FrocPoint(NamedTuple):
    """What a threshold on the probability gives over all slides."""

    threshold: float
    false_positives_per_slide: float
    sensitivity: float


def find_peaks(probability: npt.NDArray[np.uint8], um_per_px: float) -> Detections:
    """Peaks of a coarse probability map (h, w), 0..255: no pixel within 75 µm is higher.

    A plateau is one detection (this project).
    """
    # A pixel is a peak if it equals the maximum of the disc around it.
    reach = max(1, round(JOINED_UM / um_per_px))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    peaks = (probability == cv2.dilate(probability, disc)) & (probability >= MIN_PEAK)

    # A plateau counts where the middle one of its pixels lies, in reading order. Its centre of mass
    # may lie beside a bent plateau.
    count, labels = cv2.connectedComponents(peaks.astype(np.uint8), connectivity=8)
    middles = [pixels[len(pixels) // 2] for pixels in _pixels_by_label(labels, count)]
    x, y = np.array(middles, np.int64).reshape(-1, 2).T
    return Detections(x, y, probability[y, x] / 255.0)


def label_lesions(ground_truth: Mask, um_per_px: float) -> tuple[Labels, list[bool]]:
    """Lesions by number from 1 on, 0 elsewhere (h, w), and for each whether it counts: whether it
    is more than isolated cells.
    """
    if not ground_truth.any():
        return np.zeros(ground_truth.shape, np.int32), []

    # Lesions nearer than JOINED_UM meet once each is widened by half of it.
    background = (~ground_truth).astype(np.uint8)
    distance_px = cv2.distanceTransform(background, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    widened = _fill_holes(distance_px < JOINED_UM / 2 / um_per_px)
    count, components = cv2.connectedComponents(widened.astype(np.uint8), connectivity=8)
    labels = np.asarray(components, np.int32)

    counts = []
    for pixels in _pixels_by_label(labels, count):
        counts.append(main_axis(pixels) * um_per_px >= ISOLATED_UM)
    return labels, counts


def main_axis(points: PixelsXY) -> float:
    """Length of the longer axis of the ellipse with the same second moments as the points (n,
    2).
    """
    if len(points) < 2:
        return 0.0
    # A full axis of such an ellipse is 4 standard deviations along it, as in regionprops.
    covariance = np.cov(points.T, bias=True)
    return float(4 * np.sqrt(np.linalg.eigvalsh(covariance)[-1]))


def match_detections(
    detections: Detections, lesion_labels: Labels, counts: Sequence[bool]
) -> LesionHits:
    """Find which detections lie in which lesion.

    `counts`: of each lesion, whether it counts. Detections in lesions that do not count are neither
    hits nor false positives.
    """
    lesion_of_detection = lesion_labels[detections.y, detections.x]
    best = []
    for number, is_counted in enumerate(counts, start=1):
        if is_counted:
            inside = detections.probability[lesion_of_detection == number]
            best.append(float(inside.max(initial=0.0)))

    return LesionHits(best, detections.probability[lesion_of_detection == 0].tolist())


def compute_froc(slides: Sequence[LesionHits]) -> list[FrocPoint]:
    """A point for every probability that occurs, highest first.

    Empty if no slide has a lesion that counts.
    """
    lesions = np.concatenate([[], *(slide.lesions for slide in slides)])
    false_positives = np.concatenate([[], *(slide.false_positives for slide in slides)])
    if not len(lesions):
        return []

    # A missed lesion has probability 0, which is no threshold.
    thresholds = np.unique(np.concatenate([lesions[lesions > 0], false_positives]))[::-1]
    points = []
    for threshold in thresholds:
        per_slide = float((false_positives >= threshold).sum() / len(slides))
        sensitivity = float((lesions >= threshold).mean())
        points.append(FrocPoint(float(threshold), per_slide, sensitivity))
    return points


def sensitivities(points: Sequence[tuple[float, float, float]]) -> list[float]:
    """Sensitivity at each of FALSE_POSITIVES_PER_SLIDE, between points by straight lines; their
    mean is CAMELYON16's score.
    """
    # The curve begins at the origin: a threshold above every probability detects nothing.
    curve = np.array([(0.0, 0.0, 0.0), *points])
    values: list[float] = np.interp(FALSE_POSITIVES_PER_SLIDE, curve[:, 1], curve[:, 2]).tolist()
    return values


def _pixels_by_label(labels: npt.NDArray[np.integer], count: int) -> list[PixelsXY]:
    """Pixels (n, 2), x and y in reading order, of each label from 1 to `count` - 1 (0 is
    background).
    """
    if count == 1:
        return []

    y, x = np.nonzero(labels)
    # nonzero() runs in reading order; a stable sort keeps it within each label.
    order = np.argsort(labels[y, x], kind="stable")
    ends = np.cumsum(np.bincount(labels[y, x], minlength=count)[1:])
    return np.split(np.stack([x, y], axis=1)[order], ends[:-1])


def _fill_holes(mask: Mask) -> Mask:
    """The mask with what it encloses."""
    # A rim of background joins all that lies outside into the component of the corner.
    outside = np.pad(~mask, 1, constant_values=True).astype(np.uint8)
    labels = cv2.connectedComponents(outside, connectivity=4)[1]
    return np.asarray(labels != labels[0, 0])[1:-1, 1:-1]
