"""Pre-training scenes in two inks: regions that share their colours and differ in their grains.

Stained sections are images of this sort, and a network that has only seen regions of different
colour cannot tell them apart. Nothing here is tissue, though: inks, grains and grounds are random
in each scene, any region can be the target, and no kind of grain means anything. All numbers are
this project's.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from demo.fields import Field, cloud, fibres, scattered_points, shift_pixels, soft_step

SUBPIXEL_BITS = 4
VIOLET_AND_PINK = np.array([[0.55, 0.70, 0.30], [0.12, 0.75, 0.35]], np.float32)
"""Absorbance of red, green and blue by a pair of inks like those of stained sections, which is
drawn more often than others.
"""


@dataclass(frozen=True)
class _Ground:
    """Amounts of the two inks, how uneven they are, and in what pattern."""

    amounts: tuple[float, float]
    unevenness: float
    pattern: str

    @classmethod
    def random(cls, rng: np.random.Generator) -> "_Ground":
        if rng.random() < 0.12:
            # Nearly empty, as glass is.
            return cls((0.0, rng.uniform(0, 0.05)), 0.2, "cloud")
        amounts = (rng.uniform(0, 0.3), rng.uniform(0.1, 0.8))
        unevenness = rng.uniform(0.05, 0.35)
        return cls(amounts, unevenness, str(rng.choice(["cloud", "fibres", "cracked"])))

    def vary(self, rng: np.random.Generator) -> "_Ground":
        """A ground of the same pattern and of nearly the same amounts."""
        first = max(0.0, self.amounts[0] * rng.normal(1, 0.15))
        second = max(0.0, self.amounts[1] * rng.normal(1, 0.15))
        return _Ground((first, second), self.unevenness, self.pattern)

    def paint(self, shape: tuple[int, int], rng: np.random.Generator) -> Field:
        """Ink amounts (2, height, width)."""
        if self.pattern == "fibres":
            waves = rng.uniform(0, np.pi) + 0.6 * cloud(rng, shape, rng.uniform(25, 90), 2)
            field = fibres(rng, np.float32(waves), int(rng.integers(3, 6)))
        else:
            field = cloud(rng, shape, rng.uniform(5, 90), 2)
        amounts = np.stack([amount * (1 + self.unevenness * field) for amount in self.amounts])

        if self.pattern == "cracked":
            depth = rng.uniform(0.4, 0.95)
            # Cracks run where a cloud passes through zero.
            from_crack = np.abs(cloud(rng, shape, rng.uniform(15, 40), 2))
            crack = 1 - soft_step(from_crack, rng.uniform(0.05, 0.2), 0.1)
            amounts *= 1 - depth * crack
        return np.asarray(np.clip(amounts, 0, None), dtype=np.float32)


@dataclass(frozen=True)
class _Grains:
    """Ellipses of one sort: radius and spacing in px, ratio of long to short axis, ink inside, at
    the rim and in the spots, and how far they point the same way.
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
        # Sizes and distances are even on a logarithmic scale. The draws below are in the order of
        # the fields, on which every scene depends.
        radius = float(np.exp(rng.uniform(np.log(2.5), np.log(11))))
        dark = rng.uniform(0.2, 1.3)
        spread = rng.uniform(0.05, 0.35)
        elongation = rng.uniform(1, 1.5) if rng.random() < 0.6 else rng.uniform(1.5, 4)
        spacing = radius * float(np.exp(rng.uniform(np.log(1.7), np.log(6))))
        inside = (dark * rng.uniform(0.4, 1), dark)
        rim = rng.uniform(0, 0.6)
        spots = rng.uniform(0, 2)
        aligned = rng.uniform(0, 1)
        return cls(radius, spread, elongation, spacing, inside, rim, spots, aligned)

    def paint(self, density: Field, rng: np.random.Generator) -> Field:
        """Ink amount (height, width) of grains whose centres lie where `density` is 1; a grain is
        never cut.
        """
        canvas = np.zeros(density.shape, np.float32)
        points = scattered_points(rng, density, self.spacing, rng.uniform(0.25, 0.5))
        count = len(points)
        common_angle = rng.uniform(0, 180)
        radii = np.maximum(self.radius * rng.lognormal(0, self.spread, count), 1.2)
        stretch = np.sqrt(1 + (self.elongation - 1) * rng.uniform(0.5, 1.5, count))
        angles = common_angle + (1 - self.aligned) * rng.uniform(-90, 90, count)
        inks = rng.uniform(*self.inside, count)
        for number in range(count):
            # Stretching one axis and shrinking the other leaves the area as it is.
            axes = (radii[number] * stretch[number], radii[number] / stretch[number])
            self._draw(canvas, points[number], axes, angles[number], inks[number], rng)

        bent = _bend_borders(canvas, rng)
        return np.asarray(cv2.GaussianBlur(bent, (0, 0), rng.uniform(0.4, 0.9)), dtype=np.float32)

    def _draw(
        self,
        canvas: Field,
        centre: Field,
        axes: tuple[float, float],
        angle: float,
        ink: float,
        rng: np.random.Generator,
    ) -> None:
        # OpenCV takes fixed-point numbers.
        at = [round(float(c) * 2**SUBPIXEL_BITS) for c in centre]
        size = [round(a * 2**SUBPIXEL_BITS) for a in axes]
        cv2.ellipse(canvas, at, size, angle, 0, 360, ink, -1, cv2.LINE_8, SUBPIXEL_BITS)
        if self.rim > 0.15:
            rim_ink = ink + self.rim
            cv2.ellipse(canvas, at, size, angle, 0, 360, rim_ink, 1, cv2.LINE_8, SUBPIXEL_BITS)
        # Spots in smaller grains would fill them.
        if self.radius > 4:
            for _ in range(rng.poisson(self.spots)):
                spot = np.rint(centre + rng.uniform(-0.4, 0.4, 2) * min(axes)).astype(int).tolist()
                cv2.circle(canvas, spot, 1, ink + 0.5, -1)


def render_with_inks(regions: np.ndarray, rng: np.random.Generator) -> Field:
    """An image, float32 (side, side, 3) in 0..255, of a map of regions 0, 1, … (side, side).

    In half of the scenes most grounds are alike, so that the grains alone tell; grains of one more
    sort may lie anywhere.
    """
    shape = (regions.shape[0], regions.shape[1])
    amounts = np.zeros((2, *shape), np.float32)
    grains = np.zeros(shape, np.float32)
    common = _Ground.random(rng) if rng.random() < 0.5 else None
    softness = rng.uniform(0.6, 3.0)
    for number in range(int(regions.max()) + 1):
        here = (regions == number).astype(np.float32)
        if common is not None and rng.random() < 0.8:
            ground = common.vary(rng)
        else:
            ground = _Ground.random(rng)
        amounts += cv2.GaussianBlur(here, (0, 0), softness) * ground.paint(shape, rng)

        n_sorts = int(rng.choice([0, 1, 2], p=[0.12, 0.7, 0.18]))
        for _ in range(n_sorts):
            field = cloud(rng, shape, rng.uniform(30, 120), 2)
            patchy = soft_step(field, rng.uniform(-2.5, 0), 1.5)
            painted = _Grains.random(rng).paint(here * patchy, rng)
            np.maximum(grains, painted, out=grains)

    if rng.random() < 0.5:
        anywhere = np.full(shape, rng.uniform(0.01, 0.12), np.float32)
        np.maximum(grains, _Grains.random(rng).paint(anywhere, rng), out=grains)
    return _mix_inks(amounts, grains, rng)


def _mix_inks(amounts: Field, grains: Field, rng: np.random.Generator) -> Field:
    """The image (side, side, 3) in 0..255 of a ground's ink amounts (2, side, side) with grains
    (side, side) of the first ink on it.
    """
    # A grain takes the place of the ground's first ink; the second ink, which lies between, gives
    # way by half of that only (this project, by eye).
    cover = np.minimum(0.6 * grains, 1)
    first = amounts[0] * (1 - cover) + grains
    second = amounts[1] * (1 - 0.5 * cover)

    inks = _random_inks(rng)
    absorbed = first[:, :, None] * inks[0] + second[:, :, None] * inks[1]
    white = rng.uniform(225, 255)
    return np.asarray(white * np.exp(-absorbed * rng.uniform(0.8, 1.3)), dtype=np.float32)


def _random_inks(rng: np.random.Generator) -> Field:
    """Absorbance (2, 3) of two inks in red, green and blue; half of the pairs are near violet and
    pink.
    """
    if rng.random() < 0.5:
        inks = np.clip(VIOLET_AND_PINK + rng.normal(0, 0.1, (2, 3)), 0.02, 1.2)
    else:
        hues = rng.uniform(0.05, 1, (2, 3))
        inks = hues / hues.mean(axis=1, keepdims=True) * rng.uniform(0.3, 0.6, (2, 1))
    return np.asarray(inks, dtype=np.float32)


def _bend_borders(layer: Field, rng: np.random.Generator) -> Field:
    """The layer with its borders bent by a pixel or two, so that no grain is a perfect ellipse."""
    shape = (layer.shape[0], layer.shape[1])
    reach = np.float32(rng.uniform(0.2, 1.6))
    cell = rng.uniform(5, 12)
    shift_x = reach * cloud(rng, shape, cell, 1)
    shift_y = reach * cloud(rng, shape, cell, 1)
    return shift_pixels(layer, shift_x, shift_y)
