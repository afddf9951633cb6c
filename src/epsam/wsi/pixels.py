"""From the samples that a TIFF codec yields to RGB uint8."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from epsam.data.images import Rgb

_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_APERIO_YCBCR = 33003
_JPEG = (6, 7, 34892, 33007)


def rgb_from_samples(samples: npt.NDArray[Any], page: Any) -> Rgb:
    """RGB uint8 (height, width, 3) of decoded samples (height, width, channels) of a tifffile page.

    Handles grey, RGB, palette and YCbCr, 8 and 16 bits; transparent pixels become white. Raises
    ValueError otherwise.
    """
    kind = int(page.photometric)
    if kind == _PALETTE:
        table = _to_uint8(np.moveaxis(np.asarray(page.colormap), 0, -1), 16)
        return np.asarray(table[samples[:, :, 0]], dtype=np.uint8)
    colours = 1 if kind in (_MIN_IS_WHITE, _MIN_IS_BLACK) else 3
    if kind not in (_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _YCBCR) or samples.shape[2] < colours:
        raise ValueError(f"{samples.shape[2]} channels of photometric kind {kind} are no RGB")
    values = _to_uint8(samples, int(page.bitspersample))
    image = values[:, :, :colours]
    if kind == _MIN_IS_WHITE:
        image = 255 - image
    if colours == 1:
        image = np.repeat(image, 3, axis=2)
    elif int(page.compression) == _APERIO_YCBCR or (
        kind == _YCBCR and int(page.compression) not in _JPEG
    ):
        image = _from_ycbcr(image)
    # Some writers mark a fourth channel that they never fill; only a real alpha channel has the
    # tag.
    if values.shape[2] == colours + 1 and _has_alpha(page):
        image = np.where(values[:, :, colours:] == 0, np.uint8(255), image)
    return np.ascontiguousarray(image)


def _to_uint8(values: npt.NDArray[Any], bits: int) -> npt.NDArray[np.uint8]:
    if values.dtype == np.bool_ or bits == 1:
        return np.where(values, 255, 0).astype(np.uint8)
    if values.dtype.kind != "u":
        raise ValueError(f"pixels of type {values.dtype} are not supported")
    shifted: npt.NDArray[np.uint8] = (values >> max(0, bits - 8)).astype(np.uint8)
    return shifted


def _from_ycbcr(image: Rgb) -> Rgb:
    swapped = np.ascontiguousarray(image[:, :, [0, 2, 1]])
    return np.asarray(cv2.cvtColor(swapped, cv2.COLOR_YCrCb2RGB), dtype=np.uint8)


def _has_alpha(page: Any) -> bool:
    return any(int(kind) in (1, 2) for kind in page.extrasamples)
