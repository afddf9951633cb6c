"""How large a pixel is: pixel sizes from what slide files say about themselves, and downsamples of
pyramid levels.
"""

import math
import re

SMALLEST_UM, LARGEST_UM = 0.1, 2.0
"""Pixel sizes outside of this are placeholders such as 72 dpi, not scans at 5× to 100× (ours)."""

_MICROMETRES = {1: 0.0, 2: 25_400.0, 3: 10_000.0}
"""TIFF ResolutionUnit → µm in one unit; 1 is "no unit"."""

_APERIO = re.compile(r"\bMPP\s*=\s*([0-9.eE+-]+)")
_PHILIPS = re.compile(r'DICOM_PIXEL_SPACING"[^>]*>\s*(?:"|&quot;)([0-9.eE+-]+)')
_OME = re.compile(r'PhysicalSizeX="([0-9.eE+-]+)"')
_OME_UNIT = re.compile(r'PhysicalSizeXUnit="([^"]+)"')
_OME_MICROMETRES = {"mm": 1000.0, "cm": 10_000.0, "nm": 0.001}


def plausible(size_um: float) -> float | None:
    """The size if it can be that of a slide's pixel, µm; None otherwise."""
    return size_um if math.isfinite(size_um) and SMALLEST_UM <= size_um <= LARGEST_UM else None


def size_from_description(text: str) -> float | None:
    """Pixel size in µm from the image description of Aperio, Philips or OME files; None if it does
    not tell.

    Philips states millimetres; files whose writer put micrometres there are told apart by what is
    plausible.
    """
    aperio = numbers(_APERIO.findall(text))
    if aperio:
        return plausible(aperio[0])
    philips = numbers(_PHILIPS.findall(text))
    if philips:
        finest = min(philips)
        return plausible(finest * 1000.0) or plausible(finest)
    ome = numbers(_OME.findall(text))
    if ome:
        unit = _OME_UNIT.search(text)
        return plausible(ome[0] * _OME_MICROMETRES.get(unit.group(1) if unit else "", 1.0))
    return None


def size_from_tags(pixels_per_unit: float, unit: int) -> float | None:
    """Pixel size in µm from TIFF's XResolution and ResolutionUnit (2 inch, 3 centimetre); None if
    it does not tell.
    """
    micrometres = _MICROMETRES.get(unit, 0.0)
    if not micrometres or not pixels_per_unit > 0:
        return None
    return plausible(micrometres / pixels_per_unit)


def level_downsample(
    size0: tuple[int, int], size: tuple[int, int], tile: tuple[int, int]
) -> float | None:
    """How much coarser a page of `size` (width, height) is than level 0; None if it shows something
    else.

    A power of two where one fits, since sizes are rounded and some scanners pad each level to whole
    tiles: the ratio of the sizes would then shift small levels by many level-0 pixels. Anything
    else must agree in both directions to 2 %.
    """
    ratios = [full / max(1, part) for full, part in zip(size0, size, strict=True)]
    nominal = 2.0 ** max(0, round(math.log2(max(ratios))))
    sides = zip(size0, size, tile, strict=True)
    if all(
        -1.0 <= part - full / nominal < (1.0 if part % step else step) for full, part, step in sides
    ):
        return nominal
    if abs(ratios[0] / ratios[1] - 1.0) <= 0.02:
        return (ratios[0] + ratios[1]) / 2.0
    return None


def numbers(texts: list[str]) -> list[float]:
    """Those of the texts that are numbers."""
    found = []
    for text in texts:
        try:
            found.append(float(text))
        except ValueError:
            continue
    return found
