"""Class-agnostic scenes for pre-training a promptable segmenter: random regions, each with a random
texture.

Nothing here knows tissue, slides or outlines: a region has any shape and any grain, in colours of
its own or in the two inks of the scene (`inks`), and any region can be the target. What a network
can learn from it is only "find everything that looks like what is under the points". All numbers
are ours.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from demo.inks import render_with_inks
from epsam.core.seeding import generator
from epsam.data.images import Mask, Rgb

Field = npt.NDArray[np.float32]
Points = npt.NDArray[np.float32]
Regions = npt.NDArray[np.uint8]

SIDE = 256
MAX_POINTS = 50
MAX_WRONG_SHARE = 0.15
MIN_AREA_SHARE, MAX_AREA_SHARE = 0.02, 0.85
INKED_STRENGTH = 0.4
"""How strongly scenes in two inks are disturbed: their colours, already alike, would be lost at
full strength.
"""


@dataclass(frozen=True)
class Scene:
    """image: RGB uint8 (side, side, 3); regions: uint8 (side, side), the number of the texture at
    each pixel.
    """

    image: Rgb
    regions: Regions

    def targets(self) -> list[int]:
        """Numbers of the regions that are neither specks nor nearly everything, so that they make
        fair targets.
        """
        shares = np.bincount(self.regions.ravel()) / self.regions.size
        return [
            n
            for n, share in enumerate(shares.tolist())
            if MIN_AREA_SHARE <= share <= MAX_AREA_SHARE
        ]


def draw_scene(
    seed: int, purpose: str, index: int, side: int = SIDE, inked_share: float = 0.0
) -> Scene:
    """The scene number `index` of a purpose ("train", "held out"); it depends on nothing but the
    arguments.

    It is in two inks with the probability `inked_share`, else each of its regions has colours of
    its own. A scene without a fair target is drawn again, under another key.
    """
    attempt = 0
    while True:
        rng = generator(seed, "shapes", purpose, index, attempt)
        regions = _partition(side, rng)
        if rng.random() < inked_share:
            regions = _rounded(regions, rng)
            scene = Scene(_disturbed(render_with_inks(regions, rng), rng, INKED_STRENGTH), regions)
        else:
            scene = Scene(_disturbed(_coloured(regions, rng), rng), regions)
        if scene.targets():
            return scene
        attempt += 1


def draw_points(target: Mask, rng: np.random.Generator, count: int = 0) -> Points:
    """Positive points (count, 2) as (x, y) in the frame of `target`, a non-empty mask; count 0: any
    of 1 to 50.

    Half of the prompts favour a part of the target, as activation maps do. In half of the prompts
    up to 15 % of the points lie outside the target, mostly near it: they are called positive all
    the same, so that the decoder learns to overrule them.
    """
    count = count or int(rng.integers(1, MAX_POINTS + 1))
    share = rng.uniform(0, MAX_WRONG_SHARE) if rng.random() < 0.5 else 0.0
    wrong = 0 if target.all() else int(share * count)
    weight = (
        _noise(target.shape[0], rng, coarsest=3) ** 2
        if rng.random() < 0.5
        else np.ones(target.shape, np.float32)
    )
    near = cv2.GaussianBlur(target.astype(np.float32), (0, 0), target.shape[0] / 20) + 0.01
    inside = _pick(weight * target, count - wrong, rng)
    return np.concatenate([inside, _pick(near * ~target, wrong, rng)])


def _pick(weight: npt.NDArray[np.floating], count: int, rng: np.random.Generator) -> Points:
    """`count` points (x, y), each drawn with a probability in proportion to its pixel's weight."""
    cumulative = np.cumsum(weight, dtype=np.float64)
    flat = np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right")
    rows, columns = np.divmod(np.minimum(flat, weight.size - 1), weight.shape[1])
    return np.stack([columns, rows], axis=1).astype(np.float32)


# Regions
# ------------------------------------------------------------------------------------------------------------


def _partition(side: int, rng: np.random.Generator) -> Regions:
    """2 or 3 regions, ragged and often of several islands."""
    count = 2 if rng.random() < 0.6 else 3
    kind = rng.random()
    if kind < 0.35:
        return _competing_fields(side, count, rng)
    if kind < 0.6:
        return _levels(side, count, rng)
    return _stamped(side, count, rng)


def _competing_fields(side: int, count: int, rng: np.random.Generator) -> Regions:
    """Each pixel belongs to the noise field that is highest there."""
    coarsest = int(rng.integers(2, 7))
    roughness = rng.uniform(0.35, 0.65)
    fields = [_noise(side, rng, coarsest, roughness) + rng.normal(0, 0.05) for _ in range(count)]
    highest: Regions = np.argmax(np.stack(fields), axis=0).astype(np.uint8)
    return highest


def _levels(side: int, count: int, rng: np.random.Generator) -> Regions:
    """One noise field cut at random quantiles, like contour lines."""
    field = _noise(side, rng, int(rng.integers(2, 9)), rng.uniform(0.35, 0.65))
    cuts = np.quantile(field[::4, ::4], np.sort(rng.uniform(0.1, 0.9, count - 1)))
    band: Regions = np.digitize(field, cuts).astype(np.uint8)
    return band


def _stamped(side: int, count: int, rng: np.random.Generator) -> Regions:
    """Ellipses and polygons stamped over a ground, their borders warped by noise."""
    regions = np.zeros((side, side), np.uint8)
    for number in range(1, count):
        for _ in range(int(rng.integers(1, 8))):
            _stamp(regions, number, rng)
    strength = rng.uniform(0, 0.12) * side
    columns, rows = np.meshgrid(
        np.arange(side, dtype=np.float32), np.arange(side, dtype=np.float32)
    )
    warp_x, warp_y = (strength * (_noise(side, rng, 5, 0.6) * 2 - 1) for _ in range(2))
    return np.asarray(
        cv2.remap(
            regions,
            columns + warp_x,
            rows + warp_y,
            cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_REFLECT,
        ),
        dtype=np.uint8,
    )


def _stamp(regions: Regions, number: int, rng: np.random.Generator) -> None:
    side = regions.shape[0]
    centre = rng.uniform(0, side, 2)
    radius = side * rng.uniform(0.05, 0.3)
    if rng.random() < 0.5:
        axes = (int(radius), int(radius * rng.uniform(0.4, 1)))
        cv2.ellipse(
            regions, [int(c) for c in centre], axes, rng.uniform(0, 180), 0, 360, number, -1
        )
        return
    angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 10))))
    reach = radius * rng.uniform(0.5, 1.3, angles.size)
    corners = centre + np.stack([np.cos(angles), np.sin(angles)], 1) * reach[:, None]
    cv2.fillPoly(regions, [corners.astype(np.int32)], number)


def _rounded(regions: Regions, rng: np.random.Generator) -> Regions:
    """Without the islands and inlets that are smaller than a grain, which would be nobody's."""
    return np.asarray(cv2.medianBlur(regions, 2 * int(rng.integers(6, 15)) + 1), dtype=np.uint8)


# Textures
# -----------------------------------------------------------------------------------------------------------


def _coloured(regions: Regions, rng: np.random.Generator) -> Field:
    """Fill each region with a texture in colours of its own and blend over the borders; (side,
    side, 3) in 0..255.
    """
    side = regions.shape[0]
    palette = _Palette.random(rng)
    softness = rng.uniform(0.4, 3.0)
    colour_sum, weight_sum = (
        np.zeros((side, side, 3), np.float32),
        np.full((side, side, 1), 1e-6, np.float32),
    )
    for number in range(int(regions.max()) + 1):
        # A relative differs little from its neighbour, so that grain alone has to tell them apart.
        palette = palette.relative(rng) if rng.random() < 0.2 else _Palette.random(rng)
        weight = cv2.GaussianBlur((regions == number).astype(np.float32), (0, 0), softness)[
            :, :, None
        ]
        colour_sum += weight * _texture(side, palette, rng)
        weight_sum += weight
    return np.asarray(colour_sum / weight_sum, dtype=np.float32)


@dataclass(frozen=True)
class _Palette:
    """Colours of a texture, each float32 (3,) in 0..255: its ground and its grains."""

    ground: Field
    grain: Field

    @classmethod
    def random(cls, rng: np.random.Generator) -> "_Palette":
        return cls(_colour(rng), _colour(rng))

    def relative(self, rng: np.random.Generator) -> "_Palette":
        shift = rng.normal(0, 12, (2, 3)).astype(np.float32)
        return _Palette(
            np.clip(self.ground + shift[0], 0, 255), np.clip(self.grain + shift[1], 0, 255)
        )


def _colour(rng: np.random.Generator) -> Field:
    """Any hue; one in three is pale or between pink and purple, which uniform hues would make
    rare.
    """
    if rng.random() < 0.33:
        low, high = np.array([120, 60, 120]), np.array([255, 255, 255])
        return rng.uniform(low, high).astype(np.float32)
    return rng.uniform(0, 255, 3).astype(np.float32)


def _texture(side: int, palette: _Palette, rng: np.random.Generator) -> Field:
    """A texture over the whole frame, float32 (side, side, 3)."""
    canvas = np.empty((side, side, 3), np.float32)
    canvas[:] = palette.ground
    canvas += ((_noise(side, rng, int(rng.integers(2, 12))) - 0.5) * rng.uniform(0, 30))[:, :, None]
    if rng.random() < 0.4:
        _lay(
            canvas,
            _fibres(side, rng),
            palette.grain if rng.random() < 0.5 else _colour(rng),
            rng.uniform(0.2, 0.8),
        )
    if rng.random() < 0.75:
        _lay(canvas, _discs(side, rng), palette.grain, rng.uniform(0.4, 1.0))
    if rng.random() < 0.2:
        _lay(canvas, _holes(side, rng), _colour(rng), rng.uniform(0.5, 1.0))
    if rng.random() < 0.3:
        canvas += cv2.resize(
            rng.normal(0, rng.uniform(3, 25), (side // 2, side // 2)).astype(np.float32),
            (side, side),
        )[:, :, None]
    return canvas


def _lay(canvas: Field, cover: Field, colour: Field, strength: float) -> None:
    """Paint `colour` over the canvas where `cover` (0..1) says so."""
    canvas += (cover * strength)[:, :, None] * (colour - canvas)


def _discs(side: int, rng: np.random.Generator) -> Field:
    """Scattered discs of one mean size, stretched one way; 0..1."""
    layer = np.zeros((side, side), np.uint8)
    radius = np.exp(rng.uniform(np.log(1.2), np.log(8)))
    density = rng.uniform(0.05, 0.6)
    count = int(min(density * side**2 / (np.pi * radius**2), 900))
    centres = rng.integers(0, side * 8, (count, 2)).tolist()
    radii = (np.clip(radius * rng.normal(1, 0.25, count), 0.7, 12) * 8).astype(int).tolist()
    for centre, size in zip(centres, radii, strict=True):
        cv2.circle(layer, centre, size, 255, -1, shift=3)
    stretch = _stretch(side, rng, rng.uniform(1, 2.2))
    layer = np.asarray(
        cv2.warpAffine(layer, stretch, (side, side), borderMode=cv2.BORDER_REFLECT), dtype=np.uint8
    )
    return np.asarray(
        cv2.GaussianBlur(layer.astype(np.float32) / 255, (0, 0), rng.uniform(0.3, 1.6)), np.float32
    )


def _fibres(side: int, rng: np.random.Generator) -> Field:
    """Noise drawn out along one direction; 0..1."""
    grid = rng.random((side // 3, side // 3), dtype=np.float32)
    noise = cv2.resize(grid, (side, side), interpolation=cv2.INTER_LINEAR)
    drawn = cv2.warpAffine(
        noise, _stretch(side, rng, rng.uniform(3, 10)), (side, side), borderMode=cv2.BORDER_REFLECT
    )
    clipped: Field = np.clip((np.asarray(drawn, np.float32) - rng.uniform(0.3, 0.6)) * 4, 0, 1)
    return clipped


def _holes(side: int, rng: np.random.Generator) -> Field:
    """Sparse round gaps of one texture; 0..1."""
    field = _noise(side, rng, int(rng.integers(8, 24)), 0.2)
    clipped: Field = np.clip((field - rng.uniform(0.65, 0.8)) * 20, 0, 1)
    return clipped


def _stretch(side: int, rng: np.random.Generator, factor: float) -> npt.NDArray[np.float64]:
    """The 2×3 map that draws the frame out `factor` times along a random direction about its
    centre.
    """
    angle = rng.uniform(0, np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.diag([factor, 1.0]) @ turn.T
    centre = np.array([side / 2, side / 2])
    return np.hstack([linear, (centre - linear @ centre)[:, None]])


def _noise(side: int, rng: np.random.Generator, coarsest: int, roughness: float = 0.5) -> Field:
    """Multi-octave noise in about 0..1, float32 (side, side); `coarsest` cells across, finer
    octaves weigh less.
    """
    total, weight, weight_sum = np.zeros((side, side), np.float32), 1.0, 0.0
    cells = coarsest = min(coarsest, side // 4)
    while cells <= min(side // 4, coarsest * 16):
        grid = rng.random((cells + 1, cells + 1), dtype=np.float32)
        total += weight * cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC)
        weight_sum += weight
        weight, cells = weight * roughness, cells * 2
    clipped: Field = np.clip(total / weight_sum, 0, 1)
    return clipped


# Disturbances
# -------------------------------------------------------------------------------------------------------


def _disturbed(canvas: Field, rng: np.random.Generator, strength: float = 1.0) -> Rgb:
    """Random contrast, brightness and cast (as far as `strength` says), blur, noise and
    compression; RGB uint8.
    """
    gain, shift = (
        rng.uniform(0.6, 1.3, 3) if rng.random() < 0.5 else rng.uniform(0.6, 1.3),
        rng.uniform(-30, 30, 3),
    )
    canvas = ((canvas - 128) * (1 + strength * (gain - 1)) + 128 + strength * shift).astype(
        np.float32
    )
    if rng.random() < 0.4:
        canvas = np.asarray(cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.4, 1.5)), np.float32)
    if rng.random() < 0.5:
        canvas += rng.standard_normal(canvas.shape, dtype=np.float32) * np.float32(
            rng.uniform(1, 10)
        )
    image = np.clip(canvas, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        _, content = cv2.imencode(
            ".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 95))]
        )
        image = np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR), dtype=np.uint8)
    return image
