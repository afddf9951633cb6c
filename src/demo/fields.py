"""Smooth random fields: the unevenness of tissue, its borders and the course of its fibres."""

import cv2
import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]
Shape = tuple[int, int]


def smooth_noise(rng: np.random.Generator, shape: Shape, cell: float) -> Field:
    """Noise of zero mean and about unit deviation that changes over `cell` px; (height, width)."""
    height, width = shape
    rows = max(2, round(height / cell) + 2)
    columns = max(2, round(width / cell) + 2)
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    fine = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    # A cubic through normal values has three quarters of their deviation on average.
    return np.asarray(fine * np.float32(4 / 3), dtype=np.float32)


def cloud(rng: np.random.Generator, shape: Shape, cell: float, octaves: int = 3) -> Field:
    """Sum of smooth noises, each of half the cell and 0.55 of the weight of the one before; unit
    deviation, roughly.
    """
    total = np.zeros(shape, np.float32)
    weights = [0.55**k for k in range(octaves)]
    for k, weight in enumerate(weights):
        total += np.float32(weight) * smooth_noise(rng, shape, cell / 2**k)
    # Deviations of independent noises add up as the sides of a right triangle do.
    return np.asarray(total / np.float32(np.hypot.reduce(weights)), dtype=np.float32)


def octave_noise(
    side: int, rng: np.random.Generator, coarsest: int, roughness: float = 0.5
) -> Field:
    """Multi-octave noise in about 0..1, float32 (side, side); `coarsest` cells across.

    Each octave has twice the cells and `roughness` times the weight of the one before.
    """
    total = np.zeros((side, side), np.float32)
    weight, weight_sum = 1.0, 0.0
    coarsest = min(coarsest, side // 4)
    cells = coarsest
    while cells <= min(side // 4, coarsest * 16):
        grid = rng.random((cells + 1, cells + 1), dtype=np.float32)
        total += weight * cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC)
        weight_sum += weight
        weight *= roughness
        cells *= 2
    clipped: Field = np.clip(total / weight_sum, 0, 1)
    return clipped


def soft_step(field: Field, centre: float, width: float) -> Field:
    """0 below, 1 above `centre`, a smooth ramp of about `width` between."""
    ramp = np.clip((field - np.float32(centre)) / np.float32(width) + np.float32(0.5), 0, 1)
    return np.asarray(ramp * ramp * (3 - 2 * ramp), dtype=np.float32)


def shift_pixels(image: Field, shift_x: Field, shift_y: Field) -> Field:
    """The image whose pixel (x, y) is that of `image` at (x + shift_x, y + shift_y), mirrored at
    the border; all three (height, width).
    """
    rows, columns = np.indices(image.shape, dtype=np.float32)
    shifted = cv2.remap(
        image,
        columns + shift_x,
        rows + shift_y,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )
    return np.asarray(shifted, dtype=np.float32)


def fibres(rng: np.random.Generator, angle: Field, doublings: int = 5) -> Field:
    """Streaks that follow `angle` (height, width; radians): noise smeared along the field, unit
    deviation.

    Each pass averages a pixel with its two neighbours at twice the distance of the pass before
    (line integral convolution by doubling), so five passes smear over some 60 px.
    """
    step_x, step_y = np.cos(angle), np.sin(angle)
    noise = rng.standard_normal((angle.shape[0], angle.shape[1]), dtype=np.float32)
    streaks = np.asarray(cv2.GaussianBlur(noise, (0, 0), 0.8), dtype=np.float32)
    for k in range(doublings):
        reach = np.float32(2**k)
        ahead = shift_pixels(streaks, reach * step_x, reach * step_y)
        behind = shift_pixels(streaks, -reach * step_x, -reach * step_y)
        streaks = np.asarray((streaks + ahead + behind) / 3, dtype=np.float32)
    return np.asarray(streaks / streaks.std(), dtype=np.float32)


def scattered_points(
    rng: np.random.Generator, density: Field, spacing: float, jitter: float = 0.42
) -> Field:
    """Points (n, 2) as (x, y), px: a jittered grid of `spacing`, in which each point exists with
    the probability `density` (height, width) at its place.
    """
    height, width = density.shape
    rows, columns = np.mgrid[0 : height / spacing, 0 : width / spacing].astype(np.float32)
    # Every other row is shifted by half a cell, as in a honeycomb.
    columns += 0.5 * (rows % 2)
    points = np.stack([columns.ravel(), rows.ravel()], axis=1)
    points = (points + rng.uniform(-jitter, jitter, points.shape)) * spacing

    is_positive = (points >= 0).all(axis=1)
    points = points[is_positive & (points[:, 0] < width) & (points[:, 1] < height)]
    at_x, at_y = points.astype(np.intp).T
    exists = rng.random(len(points)) < density[at_y, at_x]
    return np.asarray(points[exists], dtype=np.float32)
