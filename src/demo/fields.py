"""Smooth random fields: the unevenness of tissue, its outlines and the course of its fibres."""

import cv2
import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]
Shape = tuple[int, int]


def smooth_noise(rng: np.random.Generator, shape: Shape, cell: float) -> Field:
    """Noise of zero mean and about unit deviation that changes over `cell` px; (height, width)."""
    rows, columns = (max(2, round(side / cell) + 2) for side in shape)
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    # A cubic through normal values has three quarters of their deviation on average.
    fine = cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(fine * np.float32(4 / 3), dtype=np.float32)


def cloud(rng: np.random.Generator, shape: Shape, cell: float, octaves: int = 3) -> Field:
    """Sum of smooth noises, each of half the cell and 0.55 of the weight of the one before; unit
    deviation, roughly.
    """
    total = np.zeros(shape, np.float32)
    weights = [0.55**k for k in range(octaves)]
    for k, weight in enumerate(weights):
        total += np.float32(weight) * smooth_noise(rng, shape, cell / 2**k)
    return np.asarray(total / np.float32(np.hypot.reduce(weights)), dtype=np.float32)


def soft_step(field: Field, centre: float, width: float) -> Field:
    """0 below, 1 above `centre`, a smooth ramp of about `width` between."""
    ramp = np.clip((field - np.float32(centre)) / np.float32(width) + np.float32(0.5), 0, 1)
    return np.asarray(ramp * ramp * (3 - 2 * ramp), dtype=np.float32)


def fibres(rng: np.random.Generator, angle: Field, doublings: int = 5) -> Field:
    """Streaks that follow `angle` (height, width; radians): noise smeared along the field, unit
    deviation.

    Each pass averages a pixel with its two neighbours at twice the distance of the pass before
    (line integral convolution by doubling), so five passes smear over some 60 px.
    """
    shape = (angle.shape[0], angle.shape[1])
    rows, columns = np.indices(shape, dtype=np.float32)
    step_x, step_y = np.cos(angle), np.sin(angle)
    streaks = cv2.GaussianBlur(rng.standard_normal(shape, dtype=np.float32), (0, 0), 0.8)
    for k in range(doublings):
        reach = np.float32(2**k)
        ahead, behind = (
            cv2.remap(
                streaks,
                columns + sign * reach * step_x,
                rows + sign * reach * step_y,
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REFLECT,
            )
            for sign in (1, -1)
        )
        streaks = (streaks + ahead + behind) / 3
    return np.asarray(streaks / streaks.std(), dtype=np.float32)


def scattered_points(
    rng: np.random.Generator, density: Field, spacing: float, jitter: float = 0.42
) -> Field:
    """Points (n, 2) as (x, y), px: a jittered grid of `spacing`, each kept with the probability
    `density` there.
    """
    height, width = density.shape
    rows, columns = np.mgrid[0 : height / spacing, 0 : width / spacing].astype(np.float32)
    columns += 0.5 * (rows % 2)
    points = np.stack([columns.ravel(), rows.ravel()], axis=1)
    points = (points + rng.uniform(-jitter, jitter, points.shape)) * spacing
    inside = (points >= 0).all(axis=1) & (points[:, 0] < width) & (points[:, 1] < height)
    points = points[inside]
    at_x, at_y = points.astype(np.intp).T
    kept = rng.random(len(points)) < density[at_y, at_x]
    return np.asarray(points[kept], dtype=np.float32)
