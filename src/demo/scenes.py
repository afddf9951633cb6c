"""Class-agnostic scenes for pre-training a promptable segmenter: random regions, each with a random
texture.

Nothing here is tissue, a slide or an annotation: a region has any shape (`regions`) and any grain,
in colours of its own (`textures`) or in the two inks of the scene (`inks`), and any region can be
the target. What a network can learn from it is only "segment everything that looks like what is
under the points". All numbers are this project's.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from demo.fields import Field, octave_noise
from demo.inks import render_with_inks
from demo.regions import Regions, draw_regions, round_off_regions
from demo.textures import render_with_textures
from epsam.core.seeding import generator
from epsam.data.images import Mask, Rgb

Points = npt.NDArray[np.float32]

SIDE = 256
MAX_POINTS = 50
MAX_WRONG_FRACTION = 0.15
MIN_AREA_FRACTION, MAX_AREA_FRACTION = 0.02, 0.85
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
        """Numbers of the regions that are fair targets: neither tiny nor nearly everything."""
        fractions = np.bincount(self.regions.ravel()) / self.regions.size
        is_fair = (fractions >= MIN_AREA_FRACTION) & (fractions <= MAX_AREA_FRACTION)
        numbers: list[int] = np.flatnonzero(is_fair).tolist()
        return numbers


def draw_scene(
    seed: int, purpose: str, index: int, side: int = SIDE, inked_fraction: float = 0.0
) -> Scene:
    """The scene number `index` of a purpose ("train", "held out"); it depends on nothing but the
    arguments.

    It is in two inks with the probability `inked_fraction`, else each of its regions has colours of
    its own. A scene without a fair target is drawn again, under another key.
    """
    attempt = 0
    while True:
        rng = generator(seed, "shapes", purpose, index, attempt)
        regions = draw_regions(side, rng)
        if rng.random() < inked_fraction:
            regions = round_off_regions(regions, rng)
            image = disturb_image(render_with_inks(regions, rng), rng, INKED_STRENGTH)
        else:
            image = disturb_image(render_with_textures(regions, rng), rng)
        scene = Scene(image, regions)
        if scene.targets():
            return scene
        attempt += 1


def draw_points(target: Mask, rng: np.random.Generator, count: int = 0) -> Points:
    """Positive points (count, 2) as (x, y) in the frame of `target`, a non-empty mask; count 0: any
    of 1 to 50.

    Half of the prompts favour a part of the target, as class activation maps do. In half of the
    prompts up to 15 % of the points lie outside the target, mostly near it: they are called
    positive all the same, so that the decoder learns to overrule them.
    """
    count = count or int(rng.integers(1, MAX_POINTS + 1))
    wrong_fraction = rng.uniform(0, MAX_WRONG_FRACTION) if rng.random() < 0.5 else 0.0
    n_wrong = 0 if target.all() else int(wrong_fraction * count)

    weight = np.ones(target.shape, np.float32)
    if rng.random() < 0.5:
        weight = octave_noise(target.shape[0], rng, coarsest=3) ** 2
    inside = _sample_points(weight * target, count - n_wrong, rng)

    blur_px = target.shape[0] / 20
    near = cv2.GaussianBlur(target.astype(np.float32), (0, 0), blur_px) + 0.01
    outside = _sample_points(near * ~target, n_wrong, rng)
    return np.concatenate([inside, outside])


def _sample_points(
    weight: npt.NDArray[np.floating], count: int, rng: np.random.Generator
) -> Points:
    """`count` points (x, y), each drawn with a probability in proportion to its pixel's weight."""
    cumulative = np.cumsum(weight, dtype=np.float64)
    flat = np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right")
    rows, columns = np.divmod(np.minimum(flat, weight.size - 1), weight.shape[1])
    return np.stack([columns, rows], axis=1).astype(np.float32)


def disturb_image(canvas: Field, rng: np.random.Generator, strength: float = 1.0) -> Rgb:
    """Random contrast, brightness and cast (scaled by `strength`), blur, noise and compression.

    canvas: float32 (side, side, 3) in 0..255. Returns RGB uint8 of the same shape.
    """
    # Half of the images get another contrast in each channel, which is a colour cast.
    gain = rng.uniform(0.6, 1.3, 3) if rng.random() < 0.5 else rng.uniform(0.6, 1.3)
    shift = rng.uniform(-30, 30, 3)
    contrasted = (canvas - 128) * (1 + strength * (gain - 1)) + 128
    canvas = (contrasted + strength * shift).astype(np.float32)

    if rng.random() < 0.4:
        canvas = np.asarray(cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.4, 1.5)), np.float32)
    if rng.random() < 0.5:
        noise = rng.standard_normal(canvas.shape, dtype=np.float32)
        canvas += noise * np.float32(rng.uniform(1, 10))

    image = np.clip(canvas, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        quality = int(rng.integers(30, 95))
        _, content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR), dtype=np.uint8)
    return image
