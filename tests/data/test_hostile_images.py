"""Broken and malicious images: each gives pixels, or an error that names the file."""

import os
import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile

from epsam.core.errors import ImageError
from epsam.data.image_header import image_size_from_header
from epsam.data.images import read_mask, read_rgb, write_rgb
from epsam.data.patches import list_patches
from support.fuzzing import damaged, fuzz


def png(width, height, rows=1):
    """A PNG that states a size and holds some rows of zeros."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    pixels = zlib.compress(b"\0" * (1 + width * 3) * rows if width < 10**6 else b"\0")
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", pixels)
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("width", "height"), [(30_000, 30_000), (2**31 - 1, 2**31 - 1), (1, 2**31 - 1)]
)
@pytest.mark.parametrize("read", [read_rgb, read_mask])
def test_a_small_file_that_unfolds_into_gigabytes_is_refused_before_decoding(
    tmp_path, read, width, height
):
    (tmp_path / "bomb.png").write_bytes(png(width, height))
    with pytest.raises(
        ImageError, match=rf"bomb\.png: {width}×{height} px, more than is read at once"
    ):
        read(tmp_path / "bomb.png")


def headed(kind, width, height):
    """The beginning of a file that states a size and holds no pixels."""
    if kind == "jpeg":
        comment = b"\xff\xfe" + struct.pack(">H", 4) + b"hi"
        return (
            b"\xff\xd8"
            + comment
            + b"\xff\xc0"
            + struct.pack(">HBHHB", 17, 8, height, width, 3)
            + bytes(9)
        )
    order, is_big, is_short = kind[0], kind.endswith("big"), width < 2**16
    body = b""
    for tag, form, value in (
        (254, "I", 0),
        (256, "H" if is_short else "I", width),
        (257, "I", height),
    ):
        body += struct.pack(f"{order}HH{'Q' if is_big else 'I'}", tag, {"H": 3, "I": 4}[form], 1)
        body += struct.pack(order + form, value).ljust(8 if is_big else 4, b"\0")
    start = (
        struct.pack(f"{order}HHHQQ", 43, 8, 0, 16, 3)
        if is_big
        else struct.pack(f"{order}HIH", 42, 8, 3)
    )
    return {"<": b"II", ">": b"MM"}[order] + start + body


@pytest.mark.parametrize("kind", ["jpeg", "<tiff", ">tiff", "<big", ">big"])
@pytest.mark.parametrize(("width", "height"), [(60_000, 40_000), (65_535, 65_535)])
def test_other_formats_are_refused_before_decoding_too(tmp_path, kind, width, height):
    content = headed(kind, width, height)
    assert image_size_from_header(content) == (width, height)
    (tmp_path / "bomb.tif").write_bytes(content)
    with pytest.raises(
        ImageError, match=rf"bomb\.tif: {width}×{height} px, more than is read at once"
    ):
        read_rgb(tmp_path / "bomb.tif")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_the_stated_size_is_that_of_the_pixels(suffix):
    assert image_size_from_header(
        cv2.imencode(suffix, np.zeros((7, 11, 3), np.uint8))[1].tobytes()
    ) == (11, 7)


def test_a_big_tiff_patch_is_read(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", image, bigtiff=True, photometric="rgb")
    assert np.array_equal(read_rgb(tmp_path / "a.tif"), image)


@pytest.mark.parametrize(
    "content",
    [png(0, 5), png(5, 0), b"GIF89a", b"\xff\xd8\xff", b"II*\0\xff\xff\xff\xff"],
    ids=["no width", "no height", "another format", "JPEG's start", "TIFF's start"],
)
def test_files_without_pixels_are_named(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(
        ImageError, match=r"a\.png: (not a readable PNG, JPEG, TIFF or BMP|refused)"
    ):
        read_rgb(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_a_fuzzed_image_is_an_error_or_rgb(tmp_path, suffix):
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    good = cv2.imencode(suffix, image)[1].tobytes()
    path = tmp_path / f"a{suffix}"

    def attempt(content):
        path.write_bytes(content)
        try:
            decoded = read_rgb(path)
        except ImageError as error:
            return str(error)
        assert decoded.dtype == np.uint8
        assert decoded.shape[2] == 3
        return ""

    outcome = fuzz(damaged(good), 100, attempt)
    assert outcome.messages
    assert all(path.name in message for message in outcome.messages)


def test_odd_names_stay_apart_and_inside_the_folder(tmp_path):
    names = [
        "with space_1",
        "new\nline_1",
        "-rf_0",
        "..dots_1",
        "ünï-日本_0",
        'a,b"c_1',
        "%s{}_0",
        "x" * 200 + "_1",
    ]
    for name in names:
        write_rgb(tmp_path / "image" / f"{name}.png", np.zeros((2, 2, 3), np.uint8))
    patches = list_patches(tmp_path / "image", tmp_path / "mask")
    # A name that begins with a dot is hidden on purpose: half-written files look like that.
    assert {patch.name for patch in patches} == set(names) - {"..dots_1"}
    assert all(patch.label == int(patch.name[-1]) for patch in patches)


def test_a_pipe_or_a_folder_instead_of_an_image_is_left_out(tmp_path):
    (tmp_path / "folder_1.png").mkdir()
    os.mkfifo(tmp_path / "pipe_1.png")
    (tmp_path / "dangling_1.png").symlink_to(tmp_path / "nowhere.png")
    assert list_patches(tmp_path, tmp_path) == []


def test_opencv_prints_nothing_of_a_damaged_image(tmp_path, capfd):
    whole = cv2.imencode(".tif", np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    path = tmp_path / "a.tif"
    path.write_bytes(whole[1].tobytes()[:200] + bytes(400))
    with pytest.raises(ImageError):
        read_rgb(path)
    assert capfd.readouterr().err == ""
