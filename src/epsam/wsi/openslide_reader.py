"""Slides in vendor formats other than TIFF, read through OpenSlide."""

from pathlib import Path
from types import ModuleType

import numpy as np

from epsam.core.errors import SlideError
from epsam.data.images import Rgb
from epsam.wsi.pyramid import level_downsample
from epsam.wsi.resolution import parse_numbers, plausible_size
from epsam.wsi.slide import WHITE, Level, Slide


class OpenSlideFile(Slide):
    """A slide that OpenSlide reads."""

    def __init__(self, path: Path, slide_mpp: float = 0.0) -> None:
        openslide = _import_openslide(path)
        try:
            self._file = openslide.OpenSlide(str(path))
        except (openslide.OpenSlideError, OSError) as error:
            raise SlideError(
                f"{path}: OpenSlide cannot read it ({error}); replace or remove the file"
            ) from error
        self._error = openslide.OpenSlideError

        # The file's own pixel size goes before the user's.
        mpp = None
        mpp_values = parse_numbers([self._file.properties.get("openslide.mpp-x", "")])
        if mpp_values:
            mpp = plausible_size(mpp_values[0])
        super().__init__(path, self._read_levels(), mpp or slide_mpp or None)

    def close(self) -> None:
        self._file.close()

    def _read_levels(self) -> tuple[Level, ...]:
        sizes = self._file.level_dimensions
        ratios = self._file.level_downsamples
        levels = []
        for size, ratio in zip(sizes, ratios, strict=True):
            # OpenSlide derives its ratio from rounded sizes; the power of two behind them is exact.
            downsample = level_downsample(sizes[0], size, (1, 1)) or float(ratio)
            levels.append(Level(size[0], size[1], downsample))
        return tuple(levels)

    def _read_inside(self, left_px: int, top_px: int, width: int, height: int, level: int) -> Rgb:
        # OpenSlide takes the corner at level 0 and divides it by its own ratio, not by the power of
        # two behind the rounded sizes.
        ratio = self._file.level_downsamples[level]
        corner_px0 = (round(left_px * ratio), round(top_px * ratio))
        try:
            rgba = np.asarray(self._file.read_region(corner_px0, level, (width, height)))
        except (self._error, OSError) as error:
            raise SlideError(
                f"{self.path}: cannot be decoded ({error}); replace or remove the file"
            ) from error

        # Pixels that were never scanned are transparent.
        return np.where(rgba[:, :, 3:] == 0, np.uint8(WHITE), rgba[:, :, :3])


def _import_openslide(path: Path) -> ModuleType:
    try:
        import openslide
    except (ImportError, OSError) as error:
        raise SlideError(
            f"{path}: {path.suffix} files need OpenSlide, which is not installed; "
            "run: pip install -r requirements.txt"
        ) from error
    module: ModuleType = openslide
    return module
