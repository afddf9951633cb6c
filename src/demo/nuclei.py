"""Nuclei: banks of small stain patches, drawn once per slide and kind, and stamped where cells lie.

Sizes are px at 0.5 µm/px. What tells tumour cells apart is what a pathologist looks for: larger,
uneven in size and shape, paler inside with a dark rim and nucleoli, crowded. Haematoxylin alone
does not tell them from lymphocytes.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from demo.fields import Field, smooth_noise, soft_step

HALF = 17
"""Half a patch's side, px; a patch is (2·HALF+1)²."""


@dataclass(frozen=True)
class Kind:
    """A kind of nucleus: ranges of radius (px) and elongation, stain amounts of its inside and rim,
    and irregularity.

    `nucleoli` is the mean number of dark spots inside; `clumps` the weight of the chromatin's
    grain.
    """

    radius: tuple[float, float]
    elongation: tuple[float, float]
    inside: tuple[float, float]
    rim: float
    ragged: float
    nucleoli: float = 0.0
    clumps: float = 0.12


LYMPHOCYTE = Kind((3.6, 4.8), (1.0, 1.25), (0.95, 1.35), 0.1, 0.04)
FIBROBLAST = Kind((3.4, 4.6), (2.2, 4.2), (0.65, 1.15), 0.1, 0.05)
GLANDULAR = Kind((4.6, 6.0), (1.15, 1.6), (0.6, 0.85), 0.2, 0.05, 0.3)
TUMOUR = Kind((6.2, 10.2), (1.05, 1.7), (0.28, 0.85), 0.38, 0.12, 1.2, 0.2)


def make_nuclei(rng: np.random.Generator, kind: Kind, count: int) -> list[Field]:
    """Patches of haematoxylin amount, each one nucleus in the middle with its long axis along x."""
    return [_nucleus(rng, kind) for _ in range(count)]


def _nucleus(rng: np.random.Generator, kind: Kind) -> Field:
    side = 2 * HALF + 1
    y, x = np.mgrid[-HALF : HALF + 1, -HALF : HALF + 1].astype(np.float32)
    radius, stretch = rng.uniform(*kind.radius), np.sqrt(rng.uniform(*kind.elongation))
    polar = np.arctan2(y, x)
    outline = 1 + sum(
        kind.ragged / k * np.cos(k * polar + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 4, 5)
    )
    # Distance to the outline, px, positive inside.
    inward = (outline - np.hypot(x / stretch, y * stretch) / radius) * radius
    amount = np.full((side, side), rng.uniform(*kind.inside), np.float32)
    amount += np.float32(kind.rim) * np.exp(-((inward - 0.8) ** 2) / 1.6)
    amount += np.float32(kind.clumps) * smooth_noise(rng, (side, side), 2.2)
    for _ in range(rng.poisson(kind.nucleoli)):
        away = rng.uniform(0, 0.45 * radius, 2) * rng.choice((-1, 1), 2)
        amount += np.float32(0.55) * np.exp(-((x - away[0]) ** 2 + (y - away[1]) ** 2) / 2.2)
    return np.asarray(np.clip(amount, 0.15, 1.7) * soft_step(inward, 0.0, 1.6), dtype=np.float32)


def rotate_nucleus(patch: Field, angle: float) -> Field:
    """The patch turned so that its x axis points along `angle`, radians from x towards y."""
    turn = cv2.getRotationMatrix2D((HALF, HALF), -np.degrees(angle), 1.0)
    return np.asarray(cv2.warpAffine(patch, turn, patch.shape[::-1]), dtype=np.float32)


def rotate_nuclei(bank: list[Field], steps: int = 12) -> list[list[Field]]:
    """Each patch of the bank at `steps` angles over half a turn."""
    return [[rotate_nucleus(patch, np.pi * k / steps) for k in range(steps)] for patch in bank]


def stamp(
    canvas: Field, points: Field, angles: Field, bank: list[list[Field]], rng: np.random.Generator
) -> None:
    """Lay one nucleus on `canvas` at each point (n, 2; x, y) along its angle (n,), in place; the
    darker one wins.

    Points nearer to the border than half a patch are left out.
    """
    height, width = canvas.shape
    steps = len(bank[0])
    choices = rng.integers(0, len(bank), len(points))
    turns = np.rint(angles / np.pi * steps).astype(np.intp) % steps
    for (x, y), which, turn in zip(np.rint(points).astype(np.intp), choices, turns, strict=True):
        if HALF <= x < width - HALF and HALF <= y < height - HALF:
            under = canvas[y - HALF : y + HALF + 1, x - HALF : x + HALF + 1]
            np.maximum(under, bank[which][turn], out=under)
