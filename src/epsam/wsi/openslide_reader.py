"""Vendor formats that are not TIFF, through OpenSlide: an optional extra behind the same Slide."""

from pathlib import Path
from types import ModuleType

import numpy as np

from epsam.core.errors import SlideError
from epsam.data.images import Rgb
from epsam.wsi.resolution import level_downsample, numbers, plausible
from epsam.wsi.slide import WHITE, Level, Slide


class OpenSlideFile(Slide):
    """A slide that OpenSlide reads."""

    def __init__(self, path: Path, slide_mpp: float = 0.0) -> None:
        openslide = _openslide(path)
        try:
            self._file = openslide.OpenSlide(str(path))
        except (openslide.OpenSlideError, OSError) as error:
            raise SlideError(
                f"{path}: OpenSlide cannot read it ({error}); replace or remove the file"
            ) from error
        self._error = openslide.OpenSlideError
        size0 = self._file.level_dimensions[0]
        levels = tuple(
            Level(size[0], size[1], level_downsample(size0, size, (1, 1)) or float(ratio))
            for size, ratio in zip(
                self._file.level_dimensions, self._file.level_downsamples, strict=True
            )
        )
        stated = numbers([self._file.properties.get("openslide.mpp-x", "")])
        super().__init__(
            path, levels, (plausible(stated[0]) if stated else None) or slide_mpp or None
        )

    def close(self) -> None:
        self._file.close()

    def _pixels(self, left_px: int, top_px: int, width: int, height: int, level: int) -> Rgb:
        # OpenSlide divides by its own ratio, not by the power of two behind the rounded sizes.
        downsample = self._file.level_downsamples[level]
        corner = (round(left_px * downsample), round(top_px * downsample))
        try:
            rgba = np.asarray(self._file.read_region(corner, level, (width, height)))
        except (self._error, OSError) as error:
            raise SlideError(
                f"{self.path}: cannot be decoded ({error}); replace or remove the file"
            ) from error
        return np.where(rgba[:, :, 3:] == 0, np.uint8(WHITE), rgba[:, :, :3])


def _openslide(path: Path) -> ModuleType:
    try:
        import openslide
    except (ImportError, OSError) as error:
        raise SlideError(
            f"{path}: {path.suffix} files need OpenSlide, which is not installed; "
            "run: pip install openslide-python openslide-bin"
        ) from error
    found: ModuleType = openslide
    return found
