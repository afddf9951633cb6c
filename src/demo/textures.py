"""Random textures in random colours for pre-training scenes: noise, fibres, discs and gaps."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from demo.fields import Field, octave_noise
from demo.regions import Regions


def render_with_textures(regions: Regions, rng: np.random.Generator) -> Field:
    """Fill each region with a texture in colours of its own and blend over the borders; float32
    (side, side, 3) in 0..255.
    """
    side = regions.shape[0]
    palette = _Palette.random(rng)
    softness = rng.uniform(0.4, 3.0)
    colour_sum = np.zeros((side, side, 3), np.float32)
    # Not 0, by which the sum would be divided far from all regions.
    weight_sum = np.full((side, side, 1), 1e-6, np.float32)
    for number in range(int(regions.max()) + 1):
        # A relative differs little from its neighbour, so that grain alone has to tell them apart.
        palette = palette.vary(rng) if rng.random() < 0.2 else _Palette.random(rng)
        here = (regions == number).astype(np.float32)
        weight = cv2.GaussianBlur(here, (0, 0), softness)[:, :, None]
        colour_sum += weight * _draw_texture(side, palette, rng)
        weight_sum += weight
    return np.asarray(colour_sum / weight_sum, dtype=np.float32)


@dataclass(frozen=True)
class _Palette:
    """Colours of a texture, each float32 (3,) in 0..255: its ground and its grains."""

    ground: Field
    grain: Field

    @classmethod
    def random(cls, rng: np.random.Generator) -> "_Palette":
        return cls(_random_colour(rng), _random_colour(rng))

    def vary(self, rng: np.random.Generator) -> "_Palette":
        """A palette of nearly the same colours."""
        shift = rng.normal(0, 12, (2, 3)).astype(np.float32)
        ground = np.clip(self.ground + shift[0], 0, 255)
        grain = np.clip(self.grain + shift[1], 0, 255)
        return _Palette(ground, grain)


def _random_colour(rng: np.random.Generator) -> Field:
    """Any hue; one in three is pale or between pink and purple, which uniform hues would make
    rare.
    """
    if rng.random() < 0.33:
        low, high = np.array([120, 60, 120]), np.array([255, 255, 255])
        return rng.uniform(low, high).astype(np.float32)
    return rng.uniform(0, 255, 3).astype(np.float32)


def _draw_texture(side: int, palette: _Palette, rng: np.random.Generator) -> Field:
    """A texture over the whole frame, float32 (side, side, 3)."""
    canvas = np.empty((side, side, 3), np.float32)
    canvas[:] = palette.ground
    unevenness = octave_noise(side, rng, int(rng.integers(2, 12))) - 0.5
    canvas += (unevenness * rng.uniform(0, 30))[:, :, None]

    if rng.random() < 0.4:
        fibres = _draw_fibres(side, rng)
        colour = palette.grain if rng.random() < 0.5 else _random_colour(rng)
        _paint_over(canvas, fibres, colour, rng.uniform(0.2, 0.8))
    if rng.random() < 0.75:
        _paint_over(canvas, _draw_discs(side, rng), palette.grain, rng.uniform(0.4, 1.0))
    if rng.random() < 0.2:
        gaps = _draw_gaps(side, rng)
        colour = _random_colour(rng)
        _paint_over(canvas, gaps, colour, rng.uniform(0.5, 1.0))
    if rng.random() < 0.3:
        noise = rng.normal(0, rng.uniform(3, 25), (side // 2, side // 2)).astype(np.float32)
        canvas += cv2.resize(noise, (side, side))[:, :, None]
    return canvas


def _paint_over(canvas: Field, cover: Field, colour: Field, strength: float) -> None:
    """Blend `colour` (3,) into the canvas (side, side, 3) by `cover` (side, side; 0..1), in
    place.
    """
    canvas += (cover * strength)[:, :, None] * (colour - canvas)


def _draw_discs(side: int, rng: np.random.Generator) -> Field:
    """Scattered discs of one mean size, stretched one way; 0..1."""
    layer = np.zeros((side, side), np.uint8)
    radius = np.exp(rng.uniform(np.log(1.2), np.log(8)))
    density = rng.uniform(0.05, 0.6)
    count = int(min(density * side**2 / (np.pi * radius**2), 900))

    # Centres and radii in eighths of a pixel, OpenCV's fixed point with shift=3.
    centres = rng.integers(0, side * 8, (count, 2)).tolist()
    radii = np.clip(radius * rng.normal(1, 0.25, count), 0.7, 12) * 8
    for centre, disc_radius in zip(centres, radii.astype(int).tolist(), strict=True):
        cv2.circle(layer, centre, disc_radius, 255, -1, shift=3)

    stretched = _stretch(layer, rng.uniform(1, 2.2), rng)
    blurred = cv2.GaussianBlur(stretched.astype(np.float32) / 255, (0, 0), rng.uniform(0.3, 1.6))
    return np.asarray(blurred, np.float32)


def _draw_fibres(side: int, rng: np.random.Generator) -> Field:
    """Noise stretched along one direction; 0..1."""
    grid = rng.random((side // 3, side // 3), dtype=np.float32)
    noise = np.asarray(cv2.resize(grid, (side, side), interpolation=cv2.INTER_LINEAR))
    stretched = np.asarray(_stretch(noise, rng.uniform(3, 10), rng), np.float32)
    clipped: Field = np.clip((stretched - rng.uniform(0.3, 0.6)) * 4, 0, 1)
    return clipped


def _draw_gaps(side: int, rng: np.random.Generator) -> Field:
    """Sparse round gaps of one texture; 0..1."""
    field = octave_noise(side, rng, int(rng.integers(8, 24)), 0.2)
    clipped: Field = np.clip((field - rng.uniform(0.65, 0.8)) * 20, 0, 1)
    return clipped


def _stretch(layer: npt.NDArray[Any], factor: float, rng: np.random.Generator) -> npt.NDArray[Any]:
    """The layer (side, side) stretched `factor` times along a random direction about its centre."""
    side = layer.shape[0]
    angle = rng.uniform(0, np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    # Turn the direction onto the x axis, stretch, turn back; then move the centre to itself.
    linear = turn @ np.diag([factor, 1.0]) @ turn.T
    centre = np.array([side / 2, side / 2])
    affine = np.hstack([linear, (centre - linear @ centre)[:, None]])
    stretched = cv2.warpAffine(layer, affine, (side, side), borderMode=cv2.BORDER_REFLECT)
    return np.asarray(stretched, dtype=layer.dtype)
