"""Open a slide, and read a tile or an overview of it at any resolution."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from epsam.core.errors import SlideError
from epsam.data.images import Rgb, resize_rgb
from epsam.wsi.openslide_reader import OpenSlideFile
from epsam.wsi.slide import Level, Slide
from epsam.wsi.tiff import TiffSlide, is_slide_tiff

__all__ = [
    "IMAGE_OR_SLIDE_SUFFIXES",
    "SLIDE_SUFFIXES",
    "Level",
    "OverviewPlan",
    "Slide",
    "find_level",
    "is_slide_file",
    "open_slide",
    "plan_overview",
    "read_overview_strips",
    "read_tile",
]

TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".svs", ".qptiff")
VENDOR_SUFFIXES = (".mrxs", ".vms", ".vmu", ".ndpi", ".scn", ".bif", ".czi", ".svslide", ".dcm")
SLIDE_SUFFIXES = TIFF_SUFFIXES + VENDOR_SUFFIXES
IMAGE_OR_SLIDE_SUFFIXES = (".tif", ".tiff")
"""Both images and slides have these suffixes; the content of the file decides."""

_STRIP_PX = 1 << 25  # this project: pixels decoded at a time, 100 MB as RGB
_STRIP_ROWS = 256  # this project: the usual tile height, so that strips seldom cut a row of tiles


def is_slide_file(path: Path) -> bool:
    """Whether a file is a slide by its suffix; of a TIFF that may be an image, by its content."""
    suffix = path.suffix.lower()
    if suffix in IMAGE_OR_SLIDE_SUFFIXES:
        return is_slide_tiff(path)
    return suffix in SLIDE_SUFFIXES


def open_slide(path: Path, slide_mpp: float = 0.0) -> Slide:
    """Open a slide. `slide_mpp` is the pixel size of level 0 in µm for files that do not state it
    (0: unknown).

    Raises SlideError if the file is missing, damaged, of an unknown format, or needs a package that
    is not installed.
    """
    suffix = path.suffix.lower()
    if not path.is_file():
        raise SlideError(f"{path}: no such slide; check the path")
    if suffix in VENDOR_SUFFIXES:
        return OpenSlideFile(path, slide_mpp)
    if suffix in TIFF_SUFFIXES:
        return TiffSlide(path, slide_mpp)
    raise SlideError(f"{path}: unknown slide format; known are {' '.join(SLIDE_SUFFIXES)}")


def read_tile(slide: Slide, left_px0: int, top_px0: int, side_px0: int, size: int) -> Rgb:
    """A square tile as RGB (size, size, 3): corner and side in level-0 pixels, `size` in pixels of
    the result.

    Reads the coarsest level that is still as fine as the result, then resizes.
    """
    number = find_level(slide, side_px0 / size)
    downsample = slide.levels[number].downsample
    side = max(1, round(side_px0 / downsample))
    region = slide.read(
        round(left_px0 / downsample), round(top_px0 / downsample), side, side, number
    )
    return resize_rgb(region, size, size)


@dataclass(frozen=True)
class OverviewPlan:
    """How a whole slide is read at a coarse scale: from `level`, averaging blocks of `block` ×
    `block` of its pixels.

    `width` and `height` are in pixels of the overview, `downsample` is its true one.
    """

    level: int
    block: int
    width: int
    height: int
    downsample: float


def plan_overview(slide: Slide, downsample: float, level: int | None = None) -> OverviewPlan:
    """Plan to read the whole slide at about `downsample` (never coarser), or one level as it is."""
    block = 1
    if level is None:
        level = find_level(slide, downsample)
        # Whole blocks only; the small number forgives a quotient that is rounded down.
        block = max(1, int(downsample / slide.levels[level].downsample + 1e-6))

    source = slide.levels[level]
    width = -(-source.width // block)
    height = -(-source.height // block)
    return OverviewPlan(level, block, width, height, source.downsample * block)


def read_overview_strips(slide: Slide, plan: OverviewPlan) -> Iterator[tuple[int, Rgb]]:
    """The overview from top to bottom as (first row, RGB strip), so that memory does not grow with
    the slide.
    """
    width = plan.width * plan.block
    rows = max(1, _STRIP_PX // width)
    if rows >= _STRIP_ROWS:
        rows = rows // _STRIP_ROWS * _STRIP_ROWS
    rows = max(1, rows // plan.block)

    for top in range(0, plan.height, rows):
        count = min(rows, plan.height - top)
        strip = slide.read(0, top * plan.block, width, count * plan.block, plan.level)
        yield top, resize_rgb(strip, count, plan.width)


def find_level(slide: Slide, downsample: float) -> int:
    """The coarsest level that is at least as fine as `downsample`, else the finest."""
    # Pixel sizes are rounded: within 1 % a level counts as fine enough.
    limit = downsample * 1.01
    fitting = [number for number, level in enumerate(slide.levels) if level.downsample <= limit]
    return max(fitting, default=0)
