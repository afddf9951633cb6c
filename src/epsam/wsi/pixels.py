"""From the samples that a TIFF codec decodes to RGB uint8."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from epsam.data.images import Rgb

# Values of TIFF's PhotometricInterpretation and Compression.
_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_GREY = (_MIN_IS_WHITE, _MIN_IS_BLACK)
_APERIO_YCBCR = 33003
_JPEG = (6, 7, 34892, 33007)


def samples_to_rgb(samples: npt.NDArray[Any], page: Any) -> Rgb:
    """RGB uint8 (height, width, 3) of decoded samples (height, width, channels) of a tifffile page.

    Handles grey, RGB, palette and YCbCr, of 1, 8 and 16 bits; transparent pixels become white.
    Raises ValueError for anything else.
    """
    photometric = int(page.photometric)
    if photometric == _PALETTE:
        # TIFF stores palettes in 16 bits, one row per channel.
        palette = _to_uint8(np.moveaxis(np.asarray(page.colormap), 0, -1), 16)
        return np.asarray(palette[samples[:, :, 0]], dtype=np.uint8)

    n_colours = 1 if photometric in _GREY else 3
    if photometric not in (*_GREY, _RGB, _YCBCR) or samples.shape[2] < n_colours:
        raise ValueError(
            f"{samples.shape[2]} channels of photometric kind {photometric} are no RGB"
        )

    values = _to_uint8(samples, int(page.bitspersample))
    image = values[:, :, :n_colours]
    if photometric == _MIN_IS_WHITE:
        image = 255 - image
    if n_colours == 1:
        image = np.repeat(image, 3, axis=2)
    elif _is_still_ycbcr(photometric, int(page.compression)):
        image = _ycbcr_to_rgb(image)

    # Some writers declare a fourth channel that they never fill; only a real alpha channel has the
    # tag.
    if values.shape[2] == n_colours + 1 and _has_alpha(page):
        image = np.where(values[:, :, n_colours:] == 0, np.uint8(255), image)
    return np.ascontiguousarray(image)


def _to_uint8(values: npt.NDArray[Any], bits: int) -> npt.NDArray[np.uint8]:
    if values.dtype == np.bool_ or bits == 1:
        return np.where(values, 255, 0).astype(np.uint8)
    if values.dtype.kind != "u":
        raise ValueError(f"pixels of type {values.dtype} are not supported")
    shifted: npt.NDArray[np.uint8] = (values >> max(0, bits - 8)).astype(np.uint8)
    return shifted


def _is_still_ycbcr(photometric: int, compression: int) -> bool:
    """Whether the codec leaves YCbCr; JPEG decoders return RGB, except for Aperio's JPEG 2000."""
    if compression == _APERIO_YCBCR:
        return True
    return photometric == _YCBCR and compression not in _JPEG


def _ycbcr_to_rgb(image: Rgb) -> Rgb:
    # OpenCV has the two chroma channels the other way round.
    ycrcb = np.ascontiguousarray(image[:, :, [0, 2, 1]])
    return np.asarray(cv2.cvtColor(ycrcb, cv2.COLOR_YCrCb2RGB), dtype=np.uint8)


def _has_alpha(page: Any) -> bool:
    # ExtraSamples: 1 is alpha that is multiplied into the colours, 2 is alpha on its own.
    return any(int(kind) in (1, 2) for kind in page.extrasamples)
