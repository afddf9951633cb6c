"""Random maps of two or three regions for pre-training scenes, ragged and often of several
islands.
"""

import cv2
import numpy as np
import numpy.typing as npt

from demo.fields import octave_noise

Regions = npt.NDArray[np.uint8]
"""Number of the region at each pixel, (side, side), from 0."""


def draw_regions(side: int, rng: np.random.Generator) -> Regions:
    """A map of two or three regions, of one of three kinds."""
    count = 2 if rng.random() < 0.6 else 3
    kind = rng.random()
    if kind < 0.35:
        return _competing_fields(side, count, rng)
    if kind < 0.6:
        return _level_sets(side, count, rng)
    return _stamped_shapes(side, count, rng)


def round_off_regions(regions: Regions, rng: np.random.Generator) -> Regions:
    """The regions without islands and inlets smaller than a grain, in which no grain would lie."""
    kernel_px = 2 * int(rng.integers(6, 15)) + 1
    return np.asarray(cv2.medianBlur(regions, kernel_px), dtype=np.uint8)


def _competing_fields(side: int, count: int, rng: np.random.Generator) -> Regions:
    """Each pixel belongs to the noise field that is highest there."""
    coarsest = int(rng.integers(2, 7))
    roughness = rng.uniform(0.35, 0.65)
    fields = []
    for _ in range(count):
        field = octave_noise(side, rng, coarsest, roughness)
        # A small head start makes the regions differ in size.
        fields.append(field + rng.normal(0, 0.05))
    highest: Regions = np.argmax(np.stack(fields), axis=0).astype(np.uint8)
    return highest


def _level_sets(side: int, count: int, rng: np.random.Generator) -> Regions:
    """One noise field cut at random quantiles, like contour lines of a map."""
    coarsest = int(rng.integers(2, 9))
    field = octave_noise(side, rng, coarsest, rng.uniform(0.35, 0.65))
    quantiles = np.sort(rng.uniform(0.1, 0.9, count - 1))
    # Every fourth row and column is enough to estimate them.
    levels = np.quantile(field[::4, ::4], quantiles)
    bands: Regions = np.digitize(field, levels).astype(np.uint8)
    return bands


def _stamped_shapes(side: int, count: int, rng: np.random.Generator) -> Regions:
    """Ellipses and polygons stamped over a ground, their borders warped by noise."""
    regions = np.zeros((side, side), np.uint8)
    for number in range(1, count):
        for _ in range(int(rng.integers(1, 8))):
            _stamp_shape(regions, number, rng)

    strength = rng.uniform(0, 0.12) * side
    warp_x = strength * (octave_noise(side, rng, 5, 0.6) * 2 - 1)
    warp_y = strength * (octave_noise(side, rng, 5, 0.6) * 2 - 1)
    rows, columns = np.indices((side, side), dtype=np.float32)
    # The nearest neighbour, since numbers of regions do not mix.
    warped = cv2.remap(
        regions,
        columns + warp_x,
        rows + warp_y,
        cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_REFLECT,
    )
    return np.asarray(warped, dtype=np.uint8)


def _stamp_shape(regions: Regions, number: int, rng: np.random.Generator) -> None:
    """Set one ellipse or polygon of the map to a number, in place."""
    side = regions.shape[0]
    centre = rng.uniform(0, side, 2)
    radius = side * rng.uniform(0.05, 0.3)
    if rng.random() < 0.5:
        axes = (int(radius), int(radius * rng.uniform(0.4, 1)))
        at = [int(centre[0]), int(centre[1])]
        cv2.ellipse(regions, at, axes, rng.uniform(0, 180), 0, 360, number, -1)
        return

    # Sorted angles around the centre: the polygon does not cross itself.
    angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 10))))
    reach = radius * rng.uniform(0.5, 1.3, angles.size)
    directions = np.stack([np.cos(angles), np.sin(angles)], 1)
    corners = centre + directions * reach[:, None]
    cv2.fillPoly(regions, [corners.astype(np.int32)], number)
