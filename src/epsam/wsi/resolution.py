"""Pixel sizes from the metadata of slide files."""

import math
import re

MIN_PIXEL_UM, MAX_PIXEL_UM = 0.1, 2.0
"""Pixel sizes outside of this range are placeholders such as 72 dpi, not scans at 5× to 100× (this
project).
"""

_UNIT_UM = {1: 0.0, 2: 25_400.0, 3: 10_000.0}
"""TIFF's ResolutionUnit → its length in µm; 1 is "no unit"."""

_APERIO = re.compile(r"\bMPP\s*=\s*([0-9.eE+-]+)")
_PHILIPS = re.compile(r'DICOM_PIXEL_SPACING"[^>]*>\s*(?:"|&quot;)([0-9.eE+-]+)')
_OME = re.compile(r'PhysicalSizeX="([0-9.eE+-]+)"')
_OME_UNIT = re.compile(r'PhysicalSizeXUnit="([^"]+)"')
_OME_UNIT_UM = {"mm": 1000.0, "cm": 10_000.0, "nm": 0.001}


def plausible_size(size_um: float) -> float | None:
    """The size, µm, if a pixel of a slide can have it; None otherwise."""
    if math.isfinite(size_um) and MIN_PIXEL_UM <= size_um <= MAX_PIXEL_UM:
        return size_um
    return None


def size_from_description(text: str) -> float | None:
    """Pixel size in µm from the image description of Aperio, Philips or OME files; None if it
    states none.
    """
    aperio = parse_numbers(_APERIO.findall(text))
    if aperio:
        return plausible_size(aperio[0])

    philips = parse_numbers(_PHILIPS.findall(text))
    if philips:
        # One number per level. Philips states millimetres; some writers put micrometres there, and
        # only one of the two readings is plausible.
        finest = min(philips)
        return plausible_size(finest * 1000.0) or plausible_size(finest)

    ome = parse_numbers(_OME.findall(text))
    if ome:
        unit = _OME_UNIT.search(text)
        # The default unit of OME is the micrometre.
        unit_um = _OME_UNIT_UM.get(unit.group(1), 1.0) if unit else 1.0
        return plausible_size(ome[0] * unit_um)
    return None


def size_from_tags(pixels_per_unit: float, unit: int) -> float | None:
    """Pixel size in µm from TIFF's XResolution and ResolutionUnit (2 inch, 3 centimetre); None if
    they state none.
    """
    unit_um = _UNIT_UM.get(unit, 0.0)
    if not unit_um or not pixels_per_unit > 0:
        return None
    return plausible_size(unit_um / pixels_per_unit)


def parse_numbers(texts: list[str]) -> list[float]:
    """Those of the texts that are numbers."""
    numbers = []
    for text in texts:
        try:
            numbers.append(float(text))
        except ValueError:
            continue
    return numbers
