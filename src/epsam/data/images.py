"""The one place that reads and writes images: RGB uint8 (height, width, 3); masks are bool in
memory and 0/255 on disk.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from epsam.core.errors import ImageError
from epsam.core.files import write_bytes
from epsam.data.image_header import image_size_from_header, orientation_from_header

Rgb = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Grey = npt.NDArray[np.uint8]
"""(height, width)."""

SILENT = 0
"""OpenCV's level of its log."""
BLACK = 10
"""This project: an image without any value above this holds no stained tissue."""
EXIF_BYTES = 1 << 17
"""EXIF lies in the first segments of a JPEG, of 64 KiB at most each."""
LARGEST_PX = 1 << 28
"""This project: 0.8 GB as RGB."""
HEAD_BYTES = 4096
"""This project: enough for a PNG and most JPEGs. A TIFF's directory may stand anywhere; then the
whole file is read.
"""
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
HIGHEST_12_BIT = 4095
HIGHEST_12_BIT_IN_8 = 16
"""4095 of 65535 comes out of a PNG as 15 of 255, and out of a TIFF as 16, which OpenCV rounds."""


def silence(opencv: Any) -> None:
    """Let the module `cv2` print nothing: what it says of a damaged file would stand in the log
    beside our own error, which names the file and what to do.
    """
    # OpenCV 5 has moved the function.
    logging = opencv if hasattr(opencv, "setLogLevel") else opencv.utils.logging
    logging.setLogLevel(SILENT)


silence(cv2)


def read_rgb(path: Path) -> Rgb:
    """Read an image as RGB uint8 (height, width, 3); grey and 16-bit images are converted, alpha is
    dropped. A turn that EXIF states is applied.

    Raises ImageError if the file is missing or cannot be decoded, or if its 16 bits hold 12 alone.
    """
    pixels = _decode(path, cv2.IMREAD_COLOR)
    # 12 bits of 16 come out nearly black. The bits are looked up only then, as it takes as long.
    if pixels.max() <= HIGHEST_12_BIT_IN_8:
        raw = _decode(path, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
        if raw.dtype == np.uint16 and 0 < raw.max() <= HIGHEST_12_BIT:
            raise ImageError(
                f"{path}: 16 bits of which 12 or fewer are filled (highest value {raw.max()}), "
                "which would be nearly black; save it with 8 bits a channel"
            )
    return np.ascontiguousarray(pixels[:, :, ::-1])


def is_black(image: Rgb) -> bool:
    """Whether no pixel is brighter than `BLACK`; networks call such an image anything."""
    return int(image.max()) <= BLACK


def read_mask(path: Path) -> Mask:
    """Read a mask as bool (height, width).

    Any value above 0 is foreground, so files of 0/1 and of 0/255 both work. Raises ImageError as
    `read_rgb` does.
    """
    mask = _decode(path, cv2.IMREAD_GRAYSCALE) > 0
    if mask.any():
        return mask
    # In 8 bits, the 1 of a mask of 16 bits is 0.
    return np.asarray(read_mask_values(path) > 0)


def read_mask_values(path: Path) -> npt.NDArray[Any]:
    """The grey values of a mask (height, width) as they are stored, such as numbers of classes."""
    return _decode(path, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)


def apply_exif_turn(mask: Mask, orientation: int) -> Mask:
    """The mask (height, width) turned as EXIF's orientation 1 to 8 says, as images are when
    read.
    """
    if orientation >= 5:
        mask = mask.T
    # After the transposition: 2 and 6 flip left and right, 4 and 8 up and down, 3 and 7 both.
    if orientation in (2, 3, 6, 7):
        mask = mask[:, ::-1]
    if orientation in (3, 4, 7, 8):
        mask = mask[::-1]
    return np.ascontiguousarray(mask)


def read_orientation(path: Path) -> int:
    """EXIF's orientation of a JPEG image, 1 to 8; 1 where none is stated.

    Raises ImageError if the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return orientation_from_header(file.read(EXIF_BYTES))
    except OSError as error:
        raise _unreadable(path, error) from error


def read_probability(path: Path) -> npt.NDArray[np.float32]:
    """Read probabilities (height, width) in 0..1 that `write_probability` wrote."""
    return np.asarray(_decode(path, cv2.IMREAD_GRAYSCALE) / np.float32(255))


def _decode(path: Path, mode: int) -> npt.NDArray[Any]:
    """The pixels of an image file in OpenCV's order (BGR). Raises ImageError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error

    width, height = image_size_from_header(content) or (0, 0)
    if width * height > LARGEST_PX:
        raise ImageError(
            f"{path}: {width}×{height} px, more than is read at once; "
            "cut it up or give it as a slide"
        )

    image = None
    if width * height:
        try:
            # Decode the bytes instead of opening the path: OpenCV's own reader fails on some file
            # names without an error.
            image = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), mode)
        except cv2.error as error:
            raise ImageError(
                f"{path}: refused by the image decoder ({error.err}); use a smaller or whole file"
            ) from error
    if image is None:
        raise ImageError(
            f"{path}: not a readable PNG, JPEG, TIFF or BMP image ({len(content)} bytes); "
            "replace or remove the file"
        )
    return np.asarray(image)


def read_image_size(path: Path) -> tuple[int, int] | None:
    """Width and height in px that an image file states, mostly from its first bytes.

    (0, 0) if its header is damaged, None if it is of another format. Raises ImageError if the file
    cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            size = image_size_from_header(head)
            if size is not None and not all(size):
                # The header goes on after the first bytes, or it is damaged.
                size = image_size_from_header(head + file.read())
            return size
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> ImageError:
    return ImageError(
        f"{path}: cannot be read ({error.strerror}); check the path and its permissions"
    )


def write_rgb(path: Path, image: Rgb) -> None:
    """Write an RGB uint8 image as PNG, completely or not at all."""
    _write_png(path, np.ascontiguousarray(image[:, :, ::-1]))


def write_mask(path: Path, mask: Mask) -> None:
    """Write a bool mask as a PNG of 0 and 255, completely or not at all."""
    _write_png(path, mask.astype(np.uint8) * 255)


def write_probability(path: Path, probability: npt.NDArray[np.floating]) -> None:
    """Write probabilities in 0..1 as a grey PNG, rounded to 1/255, completely or not at all."""
    _write_png(path, np.rint(probability * 255).astype(np.uint8))


def _write_png(path: Path, image: npt.NDArray[np.uint8]) -> None:
    is_encoded, content = cv2.imencode(".png", image)
    if not is_encoded:
        raise ImageError(f"{path}: the image of shape {image.shape} cannot be written as PNG")
    write_bytes(path, content.tobytes())


def encode_jpeg(image: Rgb, quality: int) -> bytes:
    """The content of a JPEG file of an RGB uint8 image."""
    bgr = np.ascontiguousarray(image[:, :, ::-1])
    return bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())


def encode_grey_png(image: Grey) -> bytes:
    """The content of a grey PNG file."""
    return bytes(cv2.imencode(".png", image)[1].tobytes())


def write_jpeg(path: Path, image: Rgb, quality: int = 90) -> None:
    """Write an RGB uint8 image as JPEG, completely or not at all.

    JPEG is lossy: only for images that people look at, never for data.
    """
    bgr = np.ascontiguousarray(image[:, :, ::-1])
    is_encoded, content = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not is_encoded:
        raise ImageError(f"{path}: the image of shape {image.shape} cannot be written as JPEG")
    write_bytes(path, content.tobytes())


def list_images(folder: Path) -> list[Path]:
    """The image files directly in `folder`, sorted by name, without hidden files.

    An absent folder gives an empty list.
    """
    if not folder.is_dir():
        return []
    paths = []
    for path in sorted(folder.iterdir()):
        is_image = path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
        if is_image and path.is_file():
            paths.append(path)
    return paths


def list_images_below(folder: Path, skip: Callable[[Path], bool] | None = None) -> list[Path]:
    """The image files in `folder` and in the folders below it, sorted, without hidden ones.

    skip: says of a folder below that it is left out, with all in it.
    """
    paths = list_images(folder)
    if folder.is_dir():
        for child in sorted(folder.iterdir()):
            is_hidden = child.is_symlink() or child.name.startswith(".")
            if child.is_dir() and not is_hidden and not (skip and skip(child)):
                paths += list_images_below(child, skip)
    return paths


def resize_rgb(image: Rgb, height: int, width: int) -> Rgb:
    """Resize an image; bilinear when growing, by area when shrinking, which does not alias."""
    if image.shape[:2] == (height, width):
        return image
    mode = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=mode), dtype=np.uint8)


def resize_grey(image: Grey, height: int, width: int) -> Grey:
    """Resize a grey image as `resize_rgb` does."""
    if image.shape == (height, width):
        return np.array(image)
    mode = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=mode), dtype=np.uint8)


def resize_mask(mask: Mask, height: int, width: int) -> Mask:
    """Resize a mask by nearest neighbour."""
    if mask.shape == (height, width):
        return mask
    resized = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(resized, dtype=np.uint8) > 0
