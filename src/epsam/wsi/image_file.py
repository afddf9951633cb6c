"""A plain image as a slide of one level."""

from pathlib import Path

from epsam.data.images import Rgb, read_rgb
from epsam.wsi.reader import IMAGE_OR_SLIDE_SUFFIXES, Level, Slide
from epsam.wsi.tiff import read_pixel_size


class ImageFile(Slide):
    """A plain image, read as a whole. Most state no pixel size; a TIFF may."""

    def __init__(self, path: Path) -> None:
        """Raises ImageError if the file cannot be read, or is too large to be read at once."""
        self._pixels = read_rgb(path)
        height, width = self._pixels.shape[:2]
        is_tiff = path.suffix.lower() in IMAGE_OR_SLIDE_SUFFIXES
        super().__init__(
            path, (Level(width, height, 1.0),), read_pixel_size(path) if is_tiff else None
        )

    def _read_inside(self, left_px: int, top_px: int, width: int, height: int, level: int) -> Rgb:
        return self._pixels[top_px : top_px + height, left_px : left_px + width]

    def close(self) -> None:
        pass
