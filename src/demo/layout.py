"""Layout of a made-up slide, before any cell is drawn: tissue, tumour, and what looks like it.

Weights are float32 maps (height, width) from 0 to 1; sizes are px at 0.5 µm/px. All numbers are
this project's, chosen by eye.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from demo.fields import Field, Shape, cloud, smooth_noise, soft_step
from epsam.data.images import Mask

MIN_NEST_PX2 = 90 * 90
MIN_GAP_PX2 = 60 * 60
"""Areas: an annotator annotates no smaller piece of tumour and excludes no smaller gap in it."""

LARGE_RADIUS_PX = (330, 400)
"""A window of the demo, 256 px, has room inside of such a tumour, its ragged border left out."""


@dataclass(frozen=True)
class Disc:
    """Centre (x, y) and radius, px."""

    x: float
    y: float
    radius: float

    def is_apart_from(self, other: "Disc", factor: float) -> bool:
        """Whether the centres lie more than `factor` times the sum of the radii from each other."""
        distance = np.hypot(self.x - other.x, self.y - other.y)
        return bool(distance > factor * (self.radius + other.radius))


@dataclass(frozen=True)
class Layout:
    """The layout of one slide.

    `tumour` is the annotated ground truth; `nests` the weight of tumour cells, ragged and with
    septa.
    """

    tissue: Field
    tumour: Mask
    nests: Field
    lymphoid: Field
    fat: Field
    glands: list[Disc]
    fold: Field
    fibre_angle: Field


def plan_layout(
    rng: np.random.Generator, shape: Shape, with_tumour: bool, large_tumour: bool = False
) -> Layout:
    """Lay out one slide of `shape` (height, width); without tumour its ground truth is empty.

    large_tumour: beside the others, one that windows lie wholly inside.
    """
    tissue = _draw_tissue(rng, shape)
    inside = tissue > 0.5

    surface = np.zeros(shape, np.float32) - 1
    if with_tumour:
        surface = _draw_tumour_surface(rng, inside)
    if large_tumour:
        surface = np.maximum(surface, _draw_large_tumour_surface(rng, inside))
    cells = _draw_ragged_border(rng, surface)
    tumour = fill_regions((cells > 0.5) & inside)
    # Fat and glands keep 40 px away from tumour: annotations, coarse by a few px, must not touch
    # them.
    near_tumour = cv2.dilate(tumour.astype(np.uint8), np.ones((3, 3)), iterations=40) > 0
    nests = cells * _draw_septa(rng, shape) * tumour_falloff(tumour)

    fat = _draw_patches(rng, inside & ~near_tumour, int(rng.integers(1, 4)), (90, 190))
    glands = _place_glands(rng, inside & ~near_tumour & (fat < 0.1), int(rng.integers(7, 14)))
    beside_tumour = inside & ~tumour & (fat < 0.1)
    lymphoid = _draw_patches(rng, beside_tumour, int(rng.integers(5, 10)), (50, 125)) * (1 - nests)

    direction = rng.uniform(0, np.pi)
    angle = direction + 0.9 * smooth_noise(rng, shape, 420) + 0.3 * smooth_noise(rng, shape, 110)
    fold = _draw_fold(rng, shape)
    return Layout(tissue, tumour, nests, lymphoid * (1 - fat), fat, glands, fold, np.float32(angle))


def fill_regions(region: Mask) -> Mask:
    """What an annotator marks of a ragged region: its smoothed shape without small pieces and small
    gaps.
    """
    smooth = cv2.GaussianBlur(region.astype(np.float32), (0, 0), 5) > 0.5
    pieces = _remove_small(smooth, MIN_NEST_PX2)
    gaps = _fill_gaps(pieces) & _remove_small(~pieces, MIN_GAP_PX2)
    # Filling the gaps removes islands in them: annotations of gaps are subtracted last and would
    # swallow those.
    return _fill_gaps(pieces) & ~_fill_gaps(gaps)


def _fill_gaps(region: Mask) -> Mask:
    contours, _ = cv2.findContours(
        region.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    canvas = np.zeros(region.shape, np.uint8)
    cv2.drawContours(canvas, contours, -1, 1, cv2.FILLED)
    return canvas > 0


def _remove_small(region: Mask, min_area_px2: int) -> Mask:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8))
    is_large = stats[:, cv2.CC_STAT_AREA] >= min_area_px2
    is_large[0] = False  # the background
    return np.asarray(is_large[labels], dtype=np.bool_)


def tumour_falloff(tumour: Mask) -> Field:
    """1 on tumour, falling to 0 over some 20 px outside it: how far single cells stray beyond the
    annotation.
    """
    wide = cv2.dilate(tumour.astype(np.float32), np.ones((9, 9)))
    return np.asarray(cv2.GaussianBlur(wide, (0, 0), 4))


def _elliptic_distance(
    shape: Shape, x: float, y: float, stretch: float = 1.0, angle: float = 0.0
) -> Field:
    """Distance from (x, y), px (height, width), in which an ellipse with axes in the ratio of
    `stretch` is a circle of the same area.
    """
    rows, columns = np.ogrid[0 : shape[0], 0 : shape[1]]
    right, down = (columns - x).astype(np.float32), (rows - y).astype(np.float32)
    along = (np.cos(angle) * right + np.sin(angle) * down) / np.sqrt(stretch)
    across = (np.cos(angle) * down - np.sin(angle) * right) * np.sqrt(stretch)
    return np.asarray(np.hypot(along, across), dtype=np.float32)


def _draw_tissue(rng: np.random.Generator, shape: Shape) -> Field:
    """One or two large pieces with uneven edges that fill about two thirds of the slide."""
    height, width = shape
    x = rng.uniform(0.45, 0.55) * width
    y = rng.uniform(0.45, 0.55) * height
    distance = _elliptic_distance(shape, x, y, width / height, rng.uniform(-0.2, 0.2))
    reach = distance / np.float32(height * width) ** 0.5
    surface = 0.53 - reach + 0.05 * cloud(rng, shape, 330, 4)

    if rng.random() < 0.5:
        # A cleft between two pieces.
        bow = smooth_noise(rng, shape, 700) * 60 + 8 * cloud(rng, shape, 60, 2)
        tilt = rng.uniform(-0.5, 0.5)
        middle = rng.uniform(0.3, 0.7) * width
        rows, columns = np.ogrid[0:height, 0:width]
        from_cleft = np.abs(columns - middle + tilt * (rows - height / 2) + bow)
        # 900 px of distance count like 1 of the surface, which makes the cleft's edge as soft as
        # that of the piece.
        surface = np.minimum(surface, (from_cleft - rng.uniform(15, 45)) / 900)

    edge = soft_step(np.float32(surface), 0.0, 0.006)
    # Crumbs are removed, the soft edge of the large pieces stays.
    return edge * (_remove_small(edge > 0.5, 40_000) | (edge < 0.5))


def _draw_tumour_surface(rng: np.random.Generator, inside: Mask) -> Field:
    """Above 0 in tumour: up to nine distorted discs of 150–500 px across, fewer where there is no
    room, some with a gap of other tissue.
    """
    shape = (inside.shape[0], inside.shape[1])
    surface = np.full(shape, -1, np.float32)
    for disc in _place_discs(rng, inside, int(rng.integers(6, 10)), (75, 250), apart=0.75):
        surface = np.maximum(surface, _disc_surface(rng, shape, disc, 1.7))
        if disc.radius > 170 and rng.random() < 0.7:
            x = disc.x + rng.uniform(-40, 40)
            y = disc.y + rng.uniform(-40, 40)
            gap = _elliptic_distance(shape, x, y, rng.uniform(1, 1.6))
            surface = np.minimum(surface, (gap / rng.uniform(45, 75) - 1) * 0.35)

    uneven = 0.20 * cloud(rng, shape, 110, 3)
    # Tumour keeps away from the edge of the tissue.
    is_deep = cv2.erode(inside.astype(np.uint8), np.ones((15, 15))) > 0
    return np.where(is_deep, surface + np.float32(uneven), -1)


def _draw_large_tumour_surface(rng: np.random.Generator, inside: Mask) -> Field:
    """Above 0 in a tumour of about 700 px across, in the middle of the largest piece of tissue."""
    shape = (inside.shape[0], inside.shape[1])
    room_px = cv2.distanceTransform(np.pad(inside.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(int(room_px.argmax()), shape)
    radius = min(rng.uniform(*LARGE_RADIUS_PX), float(room_px.max()))
    surface = _disc_surface(rng, shape, Disc(float(x), float(y), radius), 1.3)
    uneven = np.float32(0.12) * cloud(rng, shape, 110, 3)
    return np.asarray(surface + uneven, dtype=np.float32)


def _disc_surface(rng: np.random.Generator, shape: Shape, disc: Disc, max_stretch: float) -> Field:
    """1 at the centre of a disc, 0 at its rim, negative outside; stretched along a random
    direction.
    """
    stretch = rng.uniform(1, max_stretch)
    distance = _elliptic_distance(shape, disc.x, disc.y, stretch, rng.uniform(0, np.pi))
    return 1 - distance / disc.radius


def _draw_ragged_border(rng: np.random.Generator, surface: Field) -> Field:
    """Weight of tumour cells, septa left out: uneven and soft towards the border."""
    shape = (surface.shape[0], surface.shape[1])
    return soft_step(surface + np.float32(0.06) * cloud(rng, shape, 26, 2), 0.02, 0.12)


def _draw_septa(rng: np.random.Generator, shape: Shape) -> Field:
    """0 in the septa of stroma that part tumour into nests, which an annotator does not exclude;
    else 1.
    """
    from_septum = np.abs(cloud(rng, shape, rng.uniform(75, 120), 2))
    return soft_step(from_septum, rng.uniform(0.07, 0.13), 0.08)


def _place_discs(
    rng: np.random.Generator, free: Mask, count: int, radius: tuple[float, float], apart: float
) -> list[Disc]:
    """Up to `count` discs with centres on `free` that lie `apart` times the sum of their radii from
    each other.
    """
    # Every fourth row and column is fine enough for a centre.
    rows, columns = np.nonzero(free[::4, ::4])
    discs: list[Disc] = []
    if not len(rows):
        return discs
    for _ in range(12 * count):
        where = rng.integers(len(rows))
        disc = Disc(4.0 * columns[where], 4.0 * rows[where], rng.uniform(*radius))
        if all(disc.is_apart_from(other, apart) for other in discs):
            discs.append(disc)
        if len(discs) == count:
            break
    return discs


def _draw_patches(
    rng: np.random.Generator, free: Mask, count: int, radius: tuple[float, float]
) -> Field:
    """Uneven discs with soft borders on `free`."""
    shape = (free.shape[0], free.shape[1])
    surface = np.full(shape, -1, np.float32)
    for disc in _place_discs(rng, free, count, radius, apart=1.0):
        surface = np.maximum(surface, _disc_surface(rng, shape, disc, 1.8))
    soft_free = cv2.GaussianBlur(free.astype(np.float32), (0, 0), 4)
    uneven = surface + np.float32(0.15) * cloud(rng, shape, 60, 3)
    return soft_step(uneven, 0.05, 0.18) * soft_free


def _place_glands(rng: np.random.Generator, free: Mask, count: int) -> list[Disc]:
    """Benign glands in lobules: groups of small rings near one another, wholly on `free`."""
    room_px = cv2.distanceTransform(free.astype(np.uint8), cv2.DIST_L2, 3)
    lobules = _place_discs(rng, room_px > 110, 2, (110, 150), apart=1.2)
    glands: list[Disc] = []
    if not lobules:
        return glands
    for _ in range(count * 6):
        if len(glands) >= count:
            break
        lobule = lobules[rng.integers(len(lobules))]
        angle = rng.uniform(0, 2 * np.pi)
        # The square root spreads the glands evenly over the lobule's area.
        away = lobule.radius * rng.uniform(0, 1) ** 0.5
        radius = rng.uniform(20, 44)
        gland = Disc(lobule.x + away * np.cos(angle), lobule.y + away * np.sin(angle), radius)

        x, y = round(gland.x), round(gland.y)
        is_on_slide = 0 <= y < free.shape[0] and 0 <= x < free.shape[1]
        if not is_on_slide or room_px[y, x] <= radius:
            continue
        if all(gland.is_apart_from(other, 1.15) for other in glands):
            glands.append(gland)
    return glands


def _draw_fold(rng: np.random.Generator, shape: Shape) -> Field:
    """A crease: a narrow wavy band across the slide, on some slides only."""
    height, width = shape
    if rng.random() > 0.45:
        return np.zeros(shape, np.float32)
    rows, columns = np.ogrid[0:height, 0:width]
    angle = rng.uniform(0, np.pi)
    from_x = (columns - rng.uniform(0.25, 0.75) * width) * np.sin(angle)
    from_y = (rows - rng.uniform(0.25, 0.75) * height) * np.cos(angle)
    offset = from_x - from_y + 45 * smooth_noise(rng, shape, 400)
    half_width = rng.uniform(9, 16) * np.clip(1 + 0.5 * smooth_noise(rng, shape, 300), 0.1, 2)
    return np.asarray(1 - soft_step(np.abs(offset) / half_width, 1.0, 0.35), dtype=np.float32)
