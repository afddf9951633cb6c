"""Made-up H&E tissue with known tumour: the demo's slides, drawn layer by layer as amounts of
stain.

It is meant to be honest work for the pipeline, not to fool a pathologist: tumour differs from its
surroundings in the size, shape, chromatin and crowding of its cells; dense lymphocytes and benign
glands are as dark and are not tumour.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from demo.fields import Field, Shape, cloud, fibres, scattered_points, smooth_noise, soft_step
from demo.layout import Disc, Layout, plan_layout
from demo.nuclei import (
    FIBROBLAST,
    GLANDULAR,
    LYMPHOCYTE,
    TUMOUR,
    NucleusKind,
    make_nuclei,
    rotate_nuclei,
    stamp,
)
from demo.stain import draw_scanner, draw_stain, render
from epsam.data.images import Mask, Rgb


@dataclass(frozen=True)
class DemoTissue:
    """A made-up slide: `image` (height, width, 3) at 0.5 µm/px and the annotated `tumour` (height,
    width).
    """

    image: Rgb
    tumour: Mask


@dataclass
class StainAmounts:
    """Haematoxylin and eosin, (height, width) each; 0: none, 1: strong."""

    haematoxylin: Field
    eosin: Field

    def cover(self, weight: Field, haematoxylin: Field | float, eosin: Field | float) -> None:
        """Blend these amounts in by `weight` (0 to 1), in place."""
        self.haematoxylin += weight * (haematoxylin - self.haematoxylin)
        self.eosin += weight * (eosin - self.eosin)


def draw_tissue(
    rng: np.random.Generator, shape: Shape, with_tumour: bool, large_tumour: bool = False
) -> DemoTissue:
    """Draw one slide of `shape` (height, width), with a staining and scanner of its own; no tumour:
    an empty mask. large_tumour: see `plan_layout`.
    """
    layout = plan_layout(rng, shape, with_tumour, large_tumour)
    amounts = _draw_stroma(rng, layout)
    _draw_cell_bodies(rng, amounts, layout)
    _draw_fat(rng, amounts, layout)
    nuclei = _draw_nuclei(rng, layout)
    _draw_glands(rng, amounts, nuclei, layout)

    # Chromatin takes haematoxylin and leaves little room for eosin.
    amounts.cover(np.minimum(0.6 * nuclei, 1), 0.05, 0.42)
    amounts.haematoxylin += nuclei

    # A fold holds nearly two layers; the microtome's knife is uneven.
    unevenness = np.exp(0.10 * smooth_noise(rng, shape, 350))
    thickness = layout.tissue * (1 + 0.75 * layout.fold) * unevenness
    haematoxylin = np.float32(amounts.haematoxylin * thickness)
    eosin = np.float32(amounts.eosin * thickness)
    image = render(haematoxylin, eosin, draw_stain(rng), draw_scanner(rng), rng)
    return DemoTissue(image, layout.tumour)


def _draw_stroma(rng: np.random.Generator, layout: Layout) -> StainAmounts:
    """Wavy collagen: dense and strongly pink in places, loose with pale clefts in others."""
    shape = (layout.tissue.shape[0], layout.tissue.shape[1])
    wavy = layout.fibre_angle + 0.45 * smooth_noise(rng, shape, 34)
    streaks = fibres(rng, np.float32(wavy))
    dense = soft_step(cloud(rng, shape, 230, 3), 0.0, 2.2)
    eosin = (0.36 + 0.20 * dense) + 0.10 * streaks + 0.04 * cloud(rng, shape, 40, 2)

    # Clefts run along the fibres, and fewer of them where the stroma is dense.
    pale = -streaks + np.float32(0.6) * cloud(rng, shape, 50, 2)
    cleft = soft_step(pale, 1.8, 1.0) * (1 - np.float32(0.7) * dense)
    eosin *= 1 - np.float32(0.75) * cleft
    haematoxylin = 0.05 + 0.02 * streaks - 0.05 * cleft
    return StainAmounts(
        np.float32(np.clip(haematoxylin, 0, None)), np.float32(np.clip(eosin, 0.02, None))
    )


def _draw_cell_bodies(rng: np.random.Generator, amounts: StainAmounts, layout: Layout) -> None:
    """The bodies of lymphocytes and tumour cells: finely grained, tumour with paler and denser
    patches.
    """
    shape = (layout.tissue.shape[0], layout.tissue.shape[1])
    grain = cloud(rng, shape, 9, 2)
    amounts.cover(0.75 * layout.lymphoid, 0.20 + 0.03 * grain, 0.36 + 0.06 * grain)

    patchy = smooth_noise(rng, shape, 90)
    haematoxylin = np.float32(0.17 + 0.05 * grain + 0.03 * patchy)
    eosin = np.float32(0.50 + 0.07 * grain + 0.05 * patchy)
    amounts.cover(0.92 * layout.nests, haematoxylin, eosin)

    # Narrow gaps where cells have shrunk from one another.
    gaps = soft_step(np.abs(cloud(rng, shape, 24, 2)), 0.05, 0.06)
    here = layout.nests * (1 - gaps) * soft_step(cloud(rng, shape, 120, 2), 0.4, 0.8)
    amounts.cover(0.6 * here, 0.0, 0.05)


def _draw_fat(rng: np.random.Generator, amounts: StainAmounts, layout: Layout) -> None:
    """Fat cells: empty rounded polygons of 40–70 px with thin walls."""
    height, width = layout.fat.shape
    everywhere = np.ones((height, width), np.float32)
    seeds = scattered_points(rng, everywhere, rng.uniform(42, 58), 0.3).astype(np.intp)

    # Each pixel belongs to the cell of its nearest seed (a Voronoi diagram).
    no_seed = np.full((height, width), 1, np.uint8)
    no_seed[seeds[:, 1], seeds[:, 0]] = 0
    _, cells = cv2.distanceTransformWithLabels(no_seed, cv2.DIST_L2, 5)
    wall = (cells != np.roll(cells, 1, 0)) | (cells != np.roll(cells, 1, 1))
    depth = cv2.distanceTransform((~wall).astype(np.uint8), cv2.DIST_L2, 5)

    # Blurring the depth rounds the corners of the polygons.
    vacuole = soft_step(cv2.GaussianBlur(depth, (0, 0), 3.0), 3.0, 1.6)
    amounts.cover(layout.fat * (1 - vacuole), 0.08, 0.38)
    amounts.cover(layout.fat * vacuole, 0.0, 0.01)


def _draw_nuclei(rng: np.random.Generator, layout: Layout) -> Field:
    """Every nucleus outside glands, as amounts of haematoxylin."""
    shape = (layout.tissue.shape[0], layout.tissue.shape[1])
    nuclei = np.zeros(shape, np.float32)
    solid = (layout.tissue > 0.9) * (1 - layout.fat)
    stroma = solid * (1 - layout.nests) * (1 - layout.lymphoid)
    _populate(rng, nuclei, FIBROBLAST, 0.42 * stroma, 27, layout.fibre_angle)

    crowds = soft_step(cloud(rng, shape, 160, 2), 1.1, 1.6)
    _populate(rng, nuclei, LYMPHOCYTE, solid * (0.02 + 0.22 * crowds), 13)
    _populate(rng, nuclei, LYMPHOCYTE, 0.93 * layout.lymphoid * solid, 10)

    # Density is uneven inside nests too, so that nuclei overlap here and leave room there.
    crowding = np.clip(0.82 + 0.15 * smooth_noise(rng, shape, 70), 0.4, 0.97)
    _populate(rng, nuclei, TUMOUR, solid * layout.nests * crowding, rng.uniform(16.5, 18.5))
    return nuclei


def _populate(
    rng: np.random.Generator,
    nuclei: Field,
    kind: NucleusKind,
    density: Field,
    spacing: float,
    angle: Field | None = None,
) -> None:
    """Stamp nuclei of one kind with the probability `density`, along `angle` (give or take) or at
    random.
    """
    points = scattered_points(rng, np.asarray(density, np.float32), spacing)
    # Drawn in any case: the draws after it depend on it.
    angles = rng.uniform(0, np.pi, len(points))
    if angle is not None:
        at_x, at_y = points.astype(np.intp).T
        angles = angle[at_y, at_x] + rng.normal(0, 0.25, len(points))
    bank = rotate_nuclei(make_nuclei(rng, kind, 24))
    stamp(nuclei, points, np.asarray(angles, np.float32), bank, rng)


def _draw_glands(
    rng: np.random.Generator, amounts: StainAmounts, nuclei: Field, layout: Layout
) -> None:
    """Benign glands: an even row or two of medium nuclei around an open lumen."""
    bank = rotate_nuclei(make_nuclei(rng, GLANDULAR, 16))
    height, width = nuclei.shape
    for gland in layout.glands:
        ring_points, ring_angles = _place_ring(rng, gland)

        # Work on the square around the gland only: the wobble stretches it by 1.13 at most, the
        # rest is room for its soft edge.
        reach = int(1.6 * gland.radius) + 4
        top, left = max(round(gland.y) - reach, 0), max(round(gland.x) - reach, 0)
        area = np.s_[top : min(top + 2 * reach, height), left : min(left + 2 * reach, width)]
        rows, columns = np.ogrid[area]
        down, right = rows - gland.y, columns - gland.x
        wobble = _gland_wobble(np.arctan2(down, right), gland)
        distance = np.float32(np.hypot(down, right) / wobble)

        local = StainAmounts(amounts.haematoxylin[area], amounts.eosin[area])
        body = 1 - soft_step(distance, gland.radius + 7, 4)
        lumen = 1 - soft_step(distance, gland.radius - 13, 4)
        nuclei[area] *= 1 - body
        local.cover(body, 0.12, 0.42)
        local.cover(lumen, 0.0, 0.04)
        stamp(nuclei, ring_points, ring_angles, bank, rng)


def _place_ring(rng: np.random.Generator, gland: Disc) -> tuple[Field, Field]:
    """Points (n, 2; x, y) of a gland's nuclei and their angles (n,), pointing outwards."""
    count = round(2 * np.pi * gland.radius / 11.5)
    polar = np.arange(count) * 2 * np.pi / count + rng.normal(0, 0.04, count)
    wobble = _gland_wobble(polar, gland)
    away = (gland.radius + rng.normal(0, 1.3, count)) * wobble
    points = np.stack([gland.x + away * np.cos(polar), gland.y + away * np.sin(polar)], axis=1)
    return np.float32(points), np.float32(polar + rng.normal(0, 0.15, count))


def _gland_wobble(polar: np.ndarray, gland: Disc) -> np.ndarray:
    """Radius of a gland in the directions `polar`, as a factor about 1: no gland is a circle."""
    # The place of the gland serves as the phase, so that glands differ without another draw.
    wobble: np.ndarray = 1 + 0.08 * np.cos(2 * polar + gland.x) + 0.05 * np.cos(3 * polar + gland.y)
    return wobble
