"""Where things lie on a made-up slide: tissue, tumour and what looks like it, before any cell is
drawn.

Weights are float32 maps (height, width) from 0 to 1; sizes are px at 0.5 µm/px. All numbers are
ours, chosen by eye.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from demo.fields import Field, Shape, cloud, smooth_noise, soft_step
from epsam.data.images import Mask

SMALLEST_NEST = 90 * 90
SMALLEST_HOLE = 60 * 60
"""Areas, px²: an annotator outlines no smaller piece of tumour and leaves out no smaller gap in
it.
"""


@dataclass(frozen=True)
class Disc:
    """A round thing: centre (x, y) and radius, px."""

    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Layout:
    """One slide's plan. `tumour` is the outlined truth; `nests` the weight of tumour cells, ragged
    and with septa.
    """

    tissue: Field
    tumour: Mask
    nests: Field
    lymphoid: Field
    fat: Field
    glands: list[Disc]
    fold: Field
    fibre_angle: Field


def plan_layout(rng: np.random.Generator, shape: Shape, with_tumour: bool) -> Layout:
    """Lay out one slide of `shape` (height, width); without tumour its truth is empty."""
    body = _tissue(rng, shape)
    inside = body > 0.5
    surface = np.zeros(shape, np.float32) - 1
    if with_tumour:
        surface = _tumour_surface(rng, inside)
    cells = _ragged(rng, surface)
    tumour = filled_regions((cells > 0.5) & inside)
    taken = cv2.dilate(tumour.astype(np.uint8), np.ones((3, 3)), iterations=40) > 0
    nests = cells * _between_septa(rng, shape) * tumour_edge(tumour)
    fat = _patches(rng, inside & ~taken, int(rng.integers(1, 4)), (90, 190))
    glands = _glands(rng, inside & ~taken & (fat < 0.1), int(rng.integers(7, 14)))
    lymphoid = _patches(
        rng, inside & ~tumour & (fat < 0.1), int(rng.integers(5, 10)), (50, 125)
    ) * (1 - nests)
    angle = (
        rng.uniform(0, np.pi)
        + 0.9 * smooth_noise(rng, shape, 420)
        + 0.3 * smooth_noise(rng, shape, 110)
    )
    return Layout(
        body, tumour, nests, lymphoid * (1 - fat), fat, glands, _fold(rng, shape), np.float32(angle)
    )


def filled_regions(region: Mask) -> Mask:
    """What an annotator outlines of a ragged region: its smoothed shape without small pieces and
    small gaps.
    """
    smooth = cv2.GaussianBlur(region.astype(np.float32), (0, 0), 5) > 0.5
    kept = _without_small(smooth, SMALLEST_NEST)
    gaps = _filled(kept) & _without_small(~kept, SMALLEST_HOLE)
    # Filling the gaps removes islands in them: outlines of gaps are subtracted last and would
    # swallow those.
    return _filled(kept) & ~_filled(gaps)


def _filled(region: Mask) -> Mask:
    contours, _ = cv2.findContours(
        region.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    canvas = np.zeros(region.shape, np.uint8)
    cv2.drawContours(canvas, contours, -1, 1, cv2.FILLED)
    return canvas > 0


def _without_small(region: Mask, least: int) -> Mask:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8))
    large = stats[:, cv2.CC_STAT_AREA] >= least
    large[0] = False
    return np.asarray(large[labels], dtype=np.bool_)


def tumour_edge(tumour: Mask) -> Field:
    """1 on tumour, falling to 0 over some 20 px outside it: how far single cells stray beyond the
    outline.
    """
    return np.asarray(
        cv2.GaussianBlur(cv2.dilate(tumour.astype(np.float32), np.ones((9, 9))), (0, 0), 4)
    )


def _distance(shape: Shape, x: float, y: float, stretch: float = 1.0, angle: float = 0.0) -> Field:
    rows, columns = np.ogrid[0 : shape[0], 0 : shape[1]]
    right, down = (columns - x).astype(np.float32), (rows - y).astype(np.float32)
    along = (np.cos(angle) * right + np.sin(angle) * down) / np.sqrt(stretch)
    across = (np.cos(angle) * down - np.sin(angle) * right) * np.sqrt(stretch)
    return np.asarray(np.hypot(along, across), dtype=np.float32)


def _tissue(rng: np.random.Generator, shape: Shape) -> Field:
    """One or two large pieces with uneven edges that fill about two thirds of the slide."""
    height, width = shape
    x, y = rng.uniform(0.45, 0.55) * width, rng.uniform(0.45, 0.55) * height
    reach = (
        _distance(shape, x, y, width / height, rng.uniform(-0.2, 0.2))
        / np.float32(height * width) ** 0.5
    )
    surface = 0.53 - reach + 0.05 * cloud(rng, shape, 330, 4)
    if rng.random() < 0.5:
        # A cleft between two pieces.
        bow = smooth_noise(rng, shape, 700) * 60 + 8 * cloud(rng, shape, 60, 2)
        tilt = rng.uniform(-0.5, 0.5)
        rows, columns = np.ogrid[0:height, 0:width]
        offset = np.abs(columns - rng.uniform(0.3, 0.7) * width + tilt * (rows - height / 2) + bow)
        surface = np.minimum(surface, (offset - rng.uniform(15, 45)) / 900)
    edge = soft_step(np.float32(surface), 0.0, 0.006)
    return edge * (_without_small(edge > 0.5, 40_000) | (edge < 0.5))


def _tumour_surface(rng: np.random.Generator, inside: Mask) -> Field:
    """Above 0 in tumour: five to eight distorted discs of 150–500 px across, some with a gap of
    other tissue.
    """
    shape = (inside.shape[0], inside.shape[1])
    surface = np.full(shape, -1, np.float32)
    for disc in _discs(rng, inside, int(rng.integers(6, 10)), (75, 250), apart=0.75):
        reach = _distance(shape, disc.x, disc.y, rng.uniform(1, 1.7), rng.uniform(0, np.pi))
        surface = np.maximum(surface, 1 - reach / disc.radius)
        if disc.radius > 170 and rng.random() < 0.7:
            hole = _distance(
                shape,
                disc.x + rng.uniform(-40, 40),
                disc.y + rng.uniform(-40, 40),
                rng.uniform(1, 1.6),
            )
            surface = np.minimum(surface, (hole / rng.uniform(45, 75) - 1) * 0.35)
    uneven = 0.20 * cloud(rng, shape, 110, 3)
    return np.where(
        cv2.erode(inside.astype(np.uint8), np.ones((15, 15))) > 0, surface + np.float32(uneven), -1
    )


def _ragged(rng: np.random.Generator, surface: Field) -> Field:
    """Weight of tumour cells, septa left out: uneven and soft towards the border."""
    shape = (surface.shape[0], surface.shape[1])
    return soft_step(surface + np.float32(0.06) * cloud(rng, shape, 26, 2), 0.02, 0.12)


def _between_septa(rng: np.random.Generator, shape: Shape) -> Field:
    """0 in the septa of stroma that part tumour into nests, which an annotator does not leave out;
    else 1.
    """
    septa = np.abs(cloud(rng, shape, rng.uniform(75, 120), 2))
    return soft_step(septa, rng.uniform(0.07, 0.13), 0.08)


def _discs(
    rng: np.random.Generator, free: Mask, count: int, radius: tuple[float, float], apart: float
) -> list[Disc]:
    """Up to `count` discs with centres on `free` that lie `apart` times the sum of their radii from
    each other.
    """
    rows, columns = np.nonzero(free[::4, ::4])
    found: list[Disc] = []
    for _ in range(12 * count if len(rows) else 0):
        where = rng.integers(len(rows))
        disc = Disc(4.0 * columns[where], 4.0 * rows[where], rng.uniform(*radius))
        if all(
            np.hypot(disc.x - d.x, disc.y - d.y) > apart * (disc.radius + d.radius) for d in found
        ):
            found.append(disc)
        if len(found) == count:
            break
    return found


def _patches(
    rng: np.random.Generator, free: Mask, count: int, radius: tuple[float, float]
) -> Field:
    """Uneven discs with soft borders on `free`."""
    shape = (free.shape[0], free.shape[1])
    surface = np.full(shape, -1, np.float32)
    for disc in _discs(rng, free, count, radius, apart=1.0):
        reach = _distance(shape, disc.x, disc.y, rng.uniform(1, 1.8), rng.uniform(0, np.pi))
        surface = np.maximum(surface, 1 - reach / disc.radius)
    away = cv2.GaussianBlur(free.astype(np.float32), (0, 0), 4)
    return soft_step(surface + np.float32(0.15) * cloud(rng, shape, 60, 3), 0.05, 0.18) * away


def _glands(rng: np.random.Generator, free: Mask, count: int) -> list[Disc]:
    """Benign glands in lobules: groups of small rings near one another, wholly on `free`."""
    room = cv2.distanceTransform(free.astype(np.uint8), cv2.DIST_L2, 3)
    lobules = _discs(rng, room > 110, 2, (110, 150), apart=1.2)
    glands: list[Disc] = []
    for _ in range(count * 6):
        if not lobules or len(glands) >= count:
            break
        lobule = lobules[rng.integers(len(lobules))]
        angle, away, radius = (
            rng.uniform(0, 2 * np.pi),
            lobule.radius * rng.uniform(0, 1) ** 0.5,
            rng.uniform(20, 44),
        )
        gland = Disc(lobule.x + away * np.cos(angle), lobule.y + away * np.sin(angle), radius)
        x, y = round(gland.x), round(gland.y)
        within = 0 <= y < free.shape[0] and 0 <= x < free.shape[1] and room[y, x] > radius
        if within and all(
            np.hypot(gland.x - g.x, gland.y - g.y) > 1.15 * (radius + g.radius) for g in glands
        ):
            glands.append(gland)
    return glands


def _fold(rng: np.random.Generator, shape: Shape) -> Field:
    """A crease: a narrow wavy band across the slide, on some slides only."""
    height, width = shape
    if rng.random() > 0.45:
        return np.zeros(shape, np.float32)
    rows, columns = np.ogrid[0:height, 0:width]
    angle = rng.uniform(0, np.pi)
    offset = (columns - rng.uniform(0.25, 0.75) * width) * np.sin(angle)
    offset = (
        offset
        - (rows - rng.uniform(0.25, 0.75) * height) * np.cos(angle)
        + 45 * smooth_noise(rng, shape, 400)
    )
    wide = rng.uniform(9, 16) * np.clip(1 + 0.5 * smooth_noise(rng, shape, 300), 0.1, 2)
    return np.asarray(1 - soft_step(np.abs(offset) / wide, 1.0, 0.35), dtype=np.float32)
