"""Nuclei: banks of small stain patches, drawn once for each slide and kind, and stamped where cells
lie.

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
class NucleusKind:
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


LYMPHOCYTE = NucleusKind((3.6, 4.8), (1.0, 1.25), (0.95, 1.35), 0.1, 0.04)
FIBROBLAST = NucleusKind((3.4, 4.6), (2.2, 4.2), (0.65, 1.15), 0.1, 0.05)
GLANDULAR = NucleusKind((4.6, 6.0), (1.15, 1.6), (0.6, 0.85), 0.2, 0.05, 0.3)
TUMOUR = NucleusKind((6.2, 10.2), (1.05, 1.7), (0.28, 0.85), 0.38, 0.12, 1.2, 0.2)


def make_nuclei(rng: np.random.Generator, kind: NucleusKind, count: int) -> list[Field]:
    """Patches of haematoxylin amount, each one nucleus in the middle with its long axis along x."""
    return [_draw_nucleus(rng, kind) for _ in range(count)]


def _draw_nucleus(rng: np.random.Generator, kind: NucleusKind) -> Field:
    """Haematoxylin (side, side) of one nucleus in the middle of a square, 0 outside of it."""
    side = 2 * HALF + 1
    y, x = np.mgrid[-HALF : HALF + 1, -HALF : HALF + 1].astype(np.float32)
    radius = rng.uniform(*kind.radius)
    stretch = np.sqrt(rng.uniform(*kind.elongation))

    # Waves of two to five periods around the nucleus make its outline irregular.
    polar = np.arctan2(y, x)
    waves = np.zeros_like(polar)
    for k in (2, 3, 4, 5):
        waves += kind.ragged / k * np.cos(k * polar + rng.uniform(0, 2 * np.pi))
    outline = 1 + waves
    # Distance to the outline, px, positive inside.
    inward = (outline - np.hypot(x / stretch, y * stretch) / radius) * radius

    haematoxylin = np.full((side, side), rng.uniform(*kind.inside), np.float32)
    haematoxylin += np.float32(kind.rim) * np.exp(-((inward - 0.8) ** 2) / 1.6)
    haematoxylin += np.float32(kind.clumps) * smooth_noise(rng, (side, side), 2.2)
    for _ in range(rng.poisson(kind.nucleoli)):
        nucleolus_xy = rng.uniform(0, 0.45 * radius, 2) * rng.choice((-1, 1), 2)
        squared_distance = (x - nucleolus_xy[0]) ** 2 + (y - nucleolus_xy[1]) ** 2
        haematoxylin += np.float32(0.55) * np.exp(-squared_distance / 2.2)
    return np.asarray(
        np.clip(haematoxylin, 0.15, 1.7) * soft_step(inward, 0.0, 1.6), dtype=np.float32
    )


def rotate_nucleus(patch: Field, angle: float) -> Field:
    """The patch turned so that its x axis points along `angle`, radians from x towards y."""
    # OpenCV counts angles from x towards -y, in degrees.
    turn = cv2.getRotationMatrix2D((HALF, HALF), -np.degrees(angle), 1.0)
    return np.asarray(cv2.warpAffine(patch, turn, patch.shape[::-1]), dtype=np.float32)


def rotate_nuclei(bank: list[Field], steps: int = 12) -> list[list[Field]]:
    """Each patch of the bank at `steps` angles over half a turn."""
    rotated = []
    for patch in bank:
        rotated.append([rotate_nucleus(patch, np.pi * k / steps) for k in range(steps)])
    return rotated


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
    corners = np.rint(points).astype(np.intp) - HALF
    side = 2 * HALF + 1
    for (left, top), choice, turn in zip(corners, choices, turns, strict=True):
        if 0 <= left < width - side + 1 and 0 <= top < height - side + 1:
            under = canvas[top : top + side, left : left + side]
            np.maximum(under, bank[choice][turn], out=under)
