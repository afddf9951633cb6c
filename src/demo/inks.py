"""Pre-training scenes in two inks: regions that share their colours and differ in what their grains
are like.

Stained sections are pictures of this sort, and a network that has only seen regions of different
colour cannot tell them apart. Nothing here is tissue, though: inks, grains and grounds are drawn at
random for each scene, any region can be the target, and no kind of grain means anything. All
numbers are ours.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from demo.fields import Field, cloud, fibres, scattered_points, soft_step

SUBPIXEL_BITS = 4
VIOLET_AND_PINK = np.array([[0.55, 0.70, 0.30], [0.12, 0.75, 0.35]], np.float32)
"""Absorbance of red, green and blue by a pair of inks that is drawn oftener than others, as stained
sections are.
"""


@dataclass(frozen=True)
class _Ground:
    """Amounts of the two inks, how uneven they are, and in what pattern."""

    amounts: tuple[float, float]
    unevenness: float
    pattern: str

    def painted(self, shape: tuple[int, int], rng: np.random.Generator) -> Field:
        """Ink amounts (2, height, width)."""
        if self.pattern == "fibres":
            waves = rng.uniform(0, np.pi) + 0.6 * cloud(rng, shape, rng.uniform(25, 90), 2)
            field = fibres(rng, np.float32(waves), int(rng.integers(3, 6)))
        else:
            field = cloud(rng, shape, rng.uniform(5, 90), 2)
        amounts = np.stack([amount * (1 + self.unevenness * field) for amount in self.amounts])
        if self.pattern == "cracked":
            amounts *= 1 - rng.uniform(0.4, 0.95) * (
                1
                - soft_step(
                    np.abs(cloud(rng, shape, rng.uniform(15, 40), 2)), rng.uniform(0.05, 0.2), 0.1
                )
            )
        return np.asarray(np.clip(amounts, 0, None), dtype=np.float32)


@dataclass(frozen=True)
class _Grains:
    """Ellipses of one sort: radius and spacing in px, long to short axis, ink inside, at the rim
    and in its spots.
    """

    radius: float
    spread: float
    elongation: float
    spacing: float
    inside: tuple[float, float]
    rim: float
    spots: float
    aligned: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> "_Grains":
        radius = float(np.exp(rng.uniform(np.log(2.5), np.log(11))))
        dark = rng.uniform(0.2, 1.3)
        return cls(
            radius,
            rng.uniform(0.05, 0.35),
            rng.uniform(1, 1.5) if rng.random() < 0.6 else rng.uniform(1.5, 4),
            radius * float(np.exp(rng.uniform(np.log(1.7), np.log(6)))),
            (dark * rng.uniform(0.4, 1), dark),
            rng.uniform(0, 0.6),
            rng.uniform(0, 2),
            rng.uniform(0, 1),
        )

    def painted(self, where: Field, rng: np.random.Generator) -> Field:
        """Ink amount (height, width) of grains whose centres lie where `where` is 1; a grain is
        never cut.
        """
        canvas = np.zeros(where.shape, np.float32)
        points = scattered_points(rng, where, self.spacing, rng.uniform(0.25, 0.5))
        count, common = len(points), rng.uniform(0, 180)
        radii = np.maximum(self.radius * rng.lognormal(0, self.spread, count), 1.2)
        stretch = np.sqrt(1 + (self.elongation - 1) * rng.uniform(0.5, 1.5, count))
        angles = common + (1 - self.aligned) * rng.uniform(-90, 90, count)
        inside = rng.uniform(*self.inside, count)
        for point, radius, long, angle, ink in zip(
            points, radii, stretch, angles, inside, strict=True
        ):
            self._draw(canvas, point, (radius * long, radius / long), angle, ink, rng)
        return np.asarray(
            cv2.GaussianBlur(_kneaded(canvas, rng), (0, 0), rng.uniform(0.4, 0.9)), dtype=np.float32
        )

    def _draw(
        self,
        canvas: Field,
        centre: Field,
        axes: tuple[float, float],
        angle: float,
        ink: float,
        rng: np.random.Generator,
    ) -> None:
        at = [round(float(c) * 2**SUBPIXEL_BITS) for c in centre]
        size = [round(a * 2**SUBPIXEL_BITS) for a in axes]
        cv2.ellipse(canvas, at, size, angle, 0, 360, ink, -1, cv2.LINE_8, SUBPIXEL_BITS)
        if self.rim > 0.15:
            cv2.ellipse(
                canvas, at, size, angle, 0, 360, ink + self.rim, 1, cv2.LINE_8, SUBPIXEL_BITS
            )
        if self.radius > 4:
            for _ in range(rng.poisson(self.spots)):
                spot = np.rint(centre + rng.uniform(-0.4, 0.4, 2) * min(axes)).astype(int).tolist()
                cv2.circle(canvas, spot, 1, ink + 0.5, -1)


def render_with_inks(regions: np.ndarray, rng: np.random.Generator) -> Field:
    """A picture, float32 (side, side, 3) in 0..255, of a map of regions 0, 1, … (side, side).

    In half of the scenes most grounds are alike, so that the grains alone tell; grains of one more
    sort may lie anywhere.
    """
    shape = (regions.shape[0], regions.shape[1])
    amounts, grains = np.zeros((2, *shape), np.float32), np.zeros(shape, np.float32)
    common = _random_ground(rng) if rng.random() < 0.5 else None
    softness = rng.uniform(0.6, 3.0)
    for number in range(int(regions.max()) + 1):
        here = (regions == number).astype(np.float32)
        ground = (
            _like(common, rng) if common is not None and rng.random() < 0.8 else _random_ground(rng)
        )
        amounts += cv2.GaussianBlur(here, (0, 0), softness) * ground.painted(shape, rng)
        for _ in range(int(rng.choice([0, 1, 2], p=[0.12, 0.7, 0.18]))):
            patchy = soft_step(
                cloud(rng, shape, rng.uniform(30, 120), 2), rng.uniform(-2.5, 0), 1.5
            )
            np.maximum(grains, _Grains.random(rng).painted(here * patchy, rng), out=grains)
    if rng.random() < 0.5:
        anywhere = np.full(shape, rng.uniform(0.01, 0.12), np.float32)
        np.maximum(grains, _Grains.random(rng).painted(anywhere, rng), out=grains)
    # Where a grain lies there is little room for the second ink.
    cover = np.minimum(0.6 * grains, 1)
    first, second = amounts[0] * (1 - cover) + grains, amounts[1] * (1 - 0.5 * cover)
    inks = _inks(rng)
    absorbed = first[:, :, None] * inks[0] + second[:, :, None] * inks[1]
    return np.asarray(
        rng.uniform(225, 255) * np.exp(-absorbed * rng.uniform(0.8, 1.3)), dtype=np.float32
    )


def _random_ground(rng: np.random.Generator) -> _Ground:
    if rng.random() < 0.12:
        return _Ground((0.0, rng.uniform(0, 0.05)), 0.2, "cloud")
    return _Ground(
        (rng.uniform(0, 0.3), rng.uniform(0.1, 0.8)),
        rng.uniform(0.05, 0.35),
        str(rng.choice(["cloud", "fibres", "cracked"])),
    )


def _like(ground: _Ground, rng: np.random.Generator) -> _Ground:
    """A ground of the same pattern and of nearly the same amounts."""
    first, second = (max(0.0, amount * rng.normal(1, 0.15)) for amount in ground.amounts)
    return _Ground((first, second), ground.unevenness, ground.pattern)


def _inks(rng: np.random.Generator) -> Field:
    """Absorbance (2, 3) of two inks in red, green and blue; half of the pairs are near violet and
    pink.
    """
    if rng.random() < 0.5:
        return np.asarray(
            np.clip(VIOLET_AND_PINK + rng.normal(0, 0.1, (2, 3)), 0.02, 1.2), dtype=np.float32
        )
    inks = rng.uniform(0.05, 1, (2, 3))
    return np.asarray(
        inks / inks.mean(axis=1, keepdims=True) * rng.uniform(0.3, 0.6, (2, 1)), dtype=np.float32
    )


def _kneaded(layer: Field, rng: np.random.Generator) -> Field:
    """The layer with its outlines bent by a pixel or two, so that no grain is a perfect ellipse."""
    shape = (layer.shape[0], layer.shape[1])
    rows, columns = np.indices(shape, dtype=np.float32)
    reach, cell = np.float32(rng.uniform(0.2, 1.6)), rng.uniform(5, 12)
    moved = cv2.remap(
        layer,
        columns + reach * cloud(rng, shape, cell, 1),
        rows + reach * cloud(rng, shape, cell, 1),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )
    return np.asarray(moved, dtype=np.float32)
