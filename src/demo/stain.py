"""From amounts of haematoxylin and eosin to what a scanner records (Beer–Lambert), with variation
between slides.

The stain vectors are the means of those of Ruifrok & Johnston 2001 and of Macenko et al. 2009; how
far slides and scanners differ is this project's choice, made by eye.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from demo.fields import Field
from epsam.data.images import Rgb

HAEMATOXYLIN = (0.64, 0.70, 0.31)
EOSIN = (0.17, 0.86, 0.42)
"""Optical density of one unit of each stain in red, green and blue."""


@dataclass(frozen=True)
class Stain:
    """One laboratory's staining: `vectors` (2, 3), optical density of haematoxylin and eosin in
    red, green, blue.
    """

    vectors: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scanner:
    """One scanner: `white` (3,) is the level of empty glass, 0–255; `blur` (px) and `noise` (grey
    levels) are standard deviations.
    """

    white: npt.NDArray[np.float64]
    blur: float
    noise: float


def draw_stain(rng: np.random.Generator) -> Stain:
    """A staining with its own hues (direction of each vector) and strengths (its length)."""
    vectors = np.array([HAEMATOXYLIN, EOSIN]) + rng.normal(0.0, 0.03, (2, 3))
    # Every stain absorbs a little of each colour.
    vectors = np.clip(vectors, 0.04, None)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    strengths = rng.uniform((0.85, 0.75), (1.2, 1.25))
    return Stain(vectors * strengths[:, None])


def draw_scanner(rng: np.random.Generator) -> Scanner:
    """A scanner with its own brightness, colour cast, sharpness and noise."""
    white = rng.uniform(234.0, 248.0) + rng.normal(0.0, 2.5, 3)
    blur = rng.uniform(0.35, 0.95)
    noise = rng.uniform(0.8, 2.4)
    return Scanner(np.clip(white, 225.0, 252.0), blur, noise)


def render(
    haematoxylin: Field, eosin: Field, stain: Stain, scanner: Scanner, rng: np.random.Generator
) -> Rgb:
    """The recorded image (height, width, 3) of two maps of stain amount (height, width), 0: none,
    1: strong.
    """
    channels = []
    for density, white in zip(stain.vectors.T, scanner.white.tolist(), strict=True):
        # Beer–Lambert: optical densities add up, and light falls off exponentially with them.
        absorbed = np.float32(density[0]) * haematoxylin + np.float32(density[1]) * eosin
        channels.append(np.asarray(white * cv2.exp(-absorbed), dtype=np.float32))
    image = cv2.GaussianBlur(cv2.merge(channels), (0, 0), scanner.blur)

    noise = scanner.noise * rng.standard_normal(haematoxylin.shape, dtype=np.float32)
    return np.clip(np.rint(image + noise[:, :, None]), 0, 255).astype(np.uint8)
