"""The one place that reads and writes images. RGB uint8 (height, width, 3); masks bool in memory,
0/255 on disk.
"""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from epsam.core.errors import ImageError
from epsam.core.files import write_bytes
from epsam.data.image_header import image_size_from_header

Rgb = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

LARGEST_PX = 1 << 28
"""Ours: 0.8 GB as RGB."""
HEAD_BYTES = 4096
"""Ours: enough for a PNG and most JPEG; a TIFF's directory may be anywhere, and its file is read
whole.
"""
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


def _unreadable(path: Path, error: OSError) -> ImageError:
    return ImageError(
        f"{path}: cannot be read ({error.strerror}); check the path and its permissions"
    )


def _decode(path: Path, mode: int) -> npt.NDArray[np.uint8]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    width, height = image_size_from_header(content) or (0, 0)
    if width * height > LARGEST_PX:
        raise ImageError(
            f"{path}: {width}×{height} px, more than is read at once; cut it up or give it as a slide"
        )
    try:
        # The bytes are decoded rather than the path opened: OpenCV's own reader fails on some names
        # without saying so.
        image = (
            cv2.imdecode(np.frombuffer(content, dtype=np.uint8), mode) if width * height else None
        )
    except cv2.error as error:
        raise ImageError(
            f"{path}: refused by the image decoder ({error.err}); use a smaller or whole file"
        ) from error
    if image is None:
        raise ImageError(
            f"{path}: not a readable PNG, JPEG or TIFF image ({len(content)} bytes); replace or remove "
            "the file"
        )
    return np.asarray(image, dtype=np.uint8)


def read_image_size(path: Path) -> tuple[int, int] | None:
    """Width and height that an image file states, px, mostly from its first bytes; None if it is of
    another format.

    Raises ImageError if the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            stated = image_size_from_header(head)
            return (
                image_size_from_header(head + file.read()) if stated and not all(stated) else stated
            )
    except OSError as error:
        raise _unreadable(path, error) from error


def read_rgb(path: Path) -> Rgb:
    """The image as RGB uint8 (height, width, 3); grey and 16-bit are converted, alpha is dropped.

    Raises ImageError if the file is missing or cannot be decoded.
    """
    return np.ascontiguousarray(_decode(path, cv2.IMREAD_COLOR)[:, :, ::-1])


def read_mask(path: Path) -> Mask:
    """The mask as bool (height, width): any value above 0 is foreground, so 0/1 and 0/255 files
    both work.
    """
    return _decode(path, cv2.IMREAD_GRAYSCALE) > 0


def _write_png(path: Path, image: npt.NDArray[np.uint8]) -> None:
    done, content = cv2.imencode(".png", image)
    if not done:
        raise ImageError(f"{path}: the image of shape {image.shape} cannot be written as PNG")
    write_bytes(path, content.tobytes())


def write_rgb(path: Path, image: Rgb) -> None:
    """Write an RGB uint8 image as PNG, whole or not at all."""
    _write_png(path, np.ascontiguousarray(image[:, :, ::-1]))


def write_jpeg(path: Path, image: Rgb, quality: int = 90) -> None:
    """Write an RGB uint8 image as JPEG, for pictures that are only looked at; whole or not at
    all.
    """
    done, content = cv2.imencode(
        ".jpg", np.ascontiguousarray(image[:, :, ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not done:
        raise ImageError(f"{path}: the image of shape {image.shape} cannot be written as JPEG")
    write_bytes(path, content.tobytes())


def read_probability(path: Path) -> npt.NDArray[np.float32]:
    """What `write_share` wrote, in 0..1."""
    return np.asarray(_decode(path, cv2.IMREAD_GRAYSCALE) / np.float32(255))


def write_probability(path: Path, share: npt.NDArray[np.floating]) -> None:
    """Write numbers in 0..1 as a grey PNG, rounded to 1/255, whole or not at all."""
    _write_png(path, np.rint(share * 255).astype(np.uint8))


def write_mask(path: Path, mask: Mask) -> None:
    """Write a bool mask as a PNG of 0 and 255, whole or not at all."""
    _write_png(path, mask.astype(np.uint8) * 255)


def list_images(folder: Path) -> list[Path]:
    """Image files directly in `folder`, sorted by name; hidden files and other suffixes are left
    out.
    """
    if not folder.is_dir():
        return []
    found = [
        p
        for p in folder.iterdir()
        if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")
    ]
    return sorted(p for p in found if p.is_file())


def resize_rgb(image: Rgb, height: int, width: int) -> Rgb:
    """Resize bilinearly when growing, by area when shrinking (no aliasing)."""
    if image.shape[:2] == (height, width):
        return image
    mode = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=mode), dtype=np.uint8)


def resize_mask(mask: Mask, height: int, width: int) -> Mask:
    """Resize a mask by nearest neighbour."""
    if mask.shape == (height, width):
        return mask
    resized = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(resized, dtype=np.uint8) > 0
