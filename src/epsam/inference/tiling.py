"""Images of any size as overlapping square windows, and windows blended back into one map."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from epsam.data.images import Rgb

Map = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Tiling:
    """Windows of `side` px over an image of height × width px; `corners_xy` are their top-left
    corners (x, y).
    """

    height: int
    width: int
    side: int
    corners_xy: list[tuple[int, int]]

    @classmethod
    def over(cls, height: int, width: int, side: int, overlap: float) -> "Tiling":
        """Windows in steps of side · (1 − overlap); the last of a row or column ends with the
        image.
        """
        step = max(1, round(side * (1 - overlap)))
        lefts, tops = starts(width, side, step), starts(height, side, step)
        return cls(height, width, side, [(x, y) for y in tops for x in lefts])

    def windows(self, image: Rgb) -> list[Rgb]:
        """The windows (side, side, 3); an image smaller than one window is continued by
        reflection.
        """
        bottom, right = max(0, self.side - self.height), max(0, self.side - self.width)
        padded = (
            cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REFLECT)
            if bottom or right
            else image
        )
        return [
            np.ascontiguousarray(padded[y : y + self.side, x : x + self.side])
            for x, y in self.corners_xy
        ]

    def blend(self, maps: npt.NDArray[np.float32]) -> Map:
        """Maps (windows, side, side) as one (height, width): means that trust a window's middle
        more than its edge.
        """
        rows, columns = max(self.height, self.side), max(self.width, self.side)
        total, trust = np.zeros((rows, columns), np.float32), np.zeros((rows, columns), np.float32)
        weight = blend_weights(self.side)
        for (x, y), window in zip(self.corners_xy, maps, strict=True):
            total[y : y + self.side, x : x + self.side] += weight * window
            trust[y : y + self.side, x : x + self.side] += weight
        return (total / trust)[: self.height, : self.width]


def starts(length: int, side: int, step: int) -> list[int]:
    """Where windows begin along one direction: in steps, the last one so that it ends with the
    image.
    """
    last = max(0, length - side)
    return [*range(0, last, step), last]


def blend_weights(side: int) -> Map:
    """How much each pixel of a window counts where windows overlap (side, side): 1 at the edge,
    most in the middle.
    """
    ramp = np.minimum(np.arange(1, side + 1), np.arange(side, 0, -1)).astype(np.float32)
    return np.minimum.outer(ramp, ramp)
