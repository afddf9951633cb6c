"""Slides that are broken or meant to harm: each is an error that names the file, or pixels."""

import numpy as np
import pytest
import tifffile

from epsam.core.errors import EpsamError, SlideError
from epsam.extraction.discovery import discover_slides
from epsam.extraction.slide_labels import SlideLabel, SlideLabels
from epsam.wsi.reader import open_slide
from support.fuzzing import damaged, fuzz, little_room

IMAGE = np.random.default_rng(0).integers(0, 256, (100, 130, 3), dtype=np.uint8)


def write(path, image=IMAGE, **options):
    tifffile.imwrite(
        path, image, metadata=None, **{"photometric": "rgb", "tile": (16, 16), **options}
    )
    return path


def with_tag(path, tag, value, **options):
    with tifffile.TiffFile(write(path, **options), mode="r+b") as file:
        file.pages[0].tags[tag].overwrite(value)
    return path


def read_whole(path):
    with open_slide(path) as slide:
        return slide.read(0, 0, 130, 100)


@pytest.mark.parametrize(
    ("tag", "value", "options", "message"),
    [
        ("ImageWidth", 2**31 - 1, {}, "states 2147483647×100 px, which no slide has"),
        ("ImageLength", 2**32 - 1, {}, "states 130×4294967295 px, which no slide has"),
        ("ImageWidth", 0, {}, "states 0×100 px"),
        ("ImageWidth", 2**19, {}, "524288×100 px are 229376 tiles, 63 are listed"),
        (
            "ImageLength",
            2**19,
            {"rowsperstrip": 10, "tile": None},
            "130×524288 px are 52429 tiles, 10 are listed",
        ),
        (
            "TileWidth",
            2**31 - 16,
            {},
            "pieces of 2147483632×16 px, 103.1 GB each; convert it to a tiled TIFF",
        ),
        (
            "TileLength",
            2**24,
            {},
            "pieces of 16×16777216 px, 0.8 GB each|tile 0 of level 0 cannot be decoded",
        ),
        ("TileWidth", 0, {}, "damaged TIFF"),
        ("RowsPerStrip", 0, {"rowsperstrip": 10, "tile": None}, "damaged TIFF"),
        ("SamplesPerPixel", 60_000, {}, "cannot be decoded"),
        ("BitsPerSample", (8, 8, 64), {}, "damaged TIFF|not a readable TIFF|cannot be decoded"),
        ("PhotometricInterpretation", 5, {}, "3 channels of photometric kind 5 are no RGB"),
        (
            "PhotometricInterpretation",
            32844,
            {},
            "photometric kind 32844 are no RGB|cannot be decoded",
        ),
        ("Compression", 50_013, {}, "compressed as|damaged TIFF|cannot be decoded|not a readable"),
        ("Compression", 8, {}, "tile 0 of level 0 cannot be decoded"),
    ],
    ids=str,
)
def test_what_a_file_states_wrongly_about_itself_is_one_clear_line(
    tmp_path, tag, value, options, message
):
    path = with_tag(tmp_path / "a.tif", tag, value, **options)
    with pytest.raises(SlideError, match=rf"a\.tif: .*({message})") as caught:
        read_whole(path)
    assert "\n" not in str(caught.value)


def test_absurd_tiles_without_bytes_take_no_memory(tmp_path):
    path = with_tag(tmp_path / "a.tif", "TileWidth", 2**20)
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags["TileLength"].overwrite(2**20)
        file.pages[0].tags["TileByteCounts"].overwrite([0] * 63)
    with pytest.raises(SlideError, match=r"pieces of 1048576×1048576 px"):
        read_whole(path)


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (IMAGE[:, :, 0], {"photometric": "minisblack"}),
        (
            np.dstack([IMAGE, np.full((100, 130, 1), 255, np.uint8)]),
            {"extrasamples": ["unassalpha"]},
        ),
        (IMAGE.astype(np.uint16) << 8, {}),
    ],
    ids=["grey, one level", "RGBA", "16 bit"],
)
def test_other_pixel_kinds_are_read_as_rgb(tmp_path, image, options):
    pixels = read_whole(write(tmp_path / "a.tif", image, **options))
    assert pixels.shape == (100, 130, 3)
    assert np.array_equal(pixels[:, :, 0], IMAGE[:, :, 0])


@pytest.mark.parametrize("kind", [np.float32, np.int16, np.complex64])
def test_pixels_that_are_no_colours_are_refused(tmp_path, kind):
    path = write(tmp_path / "a.tif", IMAGE.astype(kind))
    with pytest.raises(SlideError, match=r"a\.tif: .*(not supported|cannot be decoded)"):
        read_whole(path)


def test_a_file_cut_short_at_any_byte_is_an_error(tmp_path):
    whole = write(
        tmp_path / "whole.tif", np.zeros((100, 130, 3), np.uint8), compression="deflate"
    ).read_bytes()
    for size in range(len(whole)):
        (tmp_path / "a.tif").write_bytes(whole[:size])
        with pytest.raises(SlideError, match=r"a\.tif"):
            read_whole(tmp_path / "a.tif")


def jpeg_pyramid(path):
    with tifffile.TiffWriter(path) as file:
        for level, step in enumerate((1, 2)):
            file.write(
                np.ascontiguousarray(IMAGE[:16:step, :32:step]),
                subfiletype=level,
                metadata=None,
                photometric="rgb",
                tile=(16, 16),
                compression="jpeg",
            )
    return path


def read_levels(path):
    with open_slide(path) as slide:
        return [
            slide.read(0, 0, level.width, level.height, number)
            for number, level in enumerate(slide.levels)
        ]


def test_a_jpeg_pyramid_cut_short_at_any_byte_is_an_error_or_the_right_pixels(tmp_path):
    path = jpeg_pyramid(tmp_path / "whole.tif")
    whole, expected = path.read_bytes(), read_levels(path)
    n_right = 0
    assert [level.shape for level in expected] == [(16, 32, 3), (8, 16, 3)]
    for size in range(len(whole)):
        (tmp_path / "a.tif").write_bytes(whole[:size])
        try:
            levels = read_levels(tmp_path / "a.tif")
        except SlideError as error:
            n_right += "a.tif" in str(error)
        else:
            n_right += all(
                np.array_equal(level, right) for level, right in zip(levels, expected, strict=False)
            )
    assert n_right == len(whole)


def test_a_jpeg_tile_that_states_a_huge_size_takes_no_memory(tmp_path):
    path = write(tmp_path / "a.tif", compression="jpeg")
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        frame = content.index(b"\xff\xc0", file.pages[0].dataoffsets[0])
    content[frame + 5 : frame + 9] = (65_500).to_bytes(2, "big") * 2
    path.write_bytes(content)
    with (
        little_room(),
        pytest.raises(
            SlideError, match=r"tile 0 of level 0 .*states 65500×65500 px, the file 16×16"
        ),
    ):
        read_whole(path)


@pytest.mark.parametrize("kind", ["jpeg2000", "aperio_jp2000_rgb"])
@pytest.mark.parametrize("codec_format", ["j2k", "jp2"])
def test_a_jpeg_2000_tile_that_states_a_huge_size_takes_no_memory(tmp_path, kind, codec_format):
    path = write(
        tmp_path / "a.tif", compression=kind, compressionargs={"codecformat": codec_format}
    )
    assert np.array_equal(read_whole(path), IMAGE)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        size = content.index(b"\xff\x4f\xff\x51", file.pages[0].dataoffsets[0]) + 8
    # As one tile of that size: OpenJPEG itself refuses too many of them.
    content[size : size + 8] = content[size + 16 : size + 24] = (60_000).to_bytes(4, "big") * 2
    path.write_bytes(content)
    with (
        little_room(),
        pytest.raises(
            SlideError, match=r"tile 0 of level 0 .*states 60000×60000 px, the file 16×16"
        ),
    ):
        read_whole(path)


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "deflate"},
        {"compression": "jpeg"},
        {"compression": "jpeg2000"},
        {"tile": None, "rowsperstrip": 8},
    ],
    ids=["deflate", "jpeg", "jpeg2000", "strips"],
)
def test_a_fuzzed_file_is_an_error_or_pixels_of_the_size_it_states(tmp_path, options):
    good = write(tmp_path / "good.tif", **options).read_bytes()

    def attempt(content):
        (tmp_path / "a.tif").write_bytes(content)
        try:
            with open_slide(tmp_path / "a.tif") as slide:
                assert slide.read(slide.width0 // 2, slide.height0 // 2, 40, 40).shape == (
                    40,
                    40,
                    3,
                )
        except SlideError as error:
            return str(error)
        return ""

    outcome = fuzz(damaged(good), 100, attempt)
    assert outcome.read
    assert outcome.messages
    assert all("a.tif" in message for message in outcome.messages)


@pytest.mark.parametrize(
    "name", ["with space", "new\nline", "ümläut-日本", "-rf", "..dots", "a'b\"c", "%s{}"]
)
def test_odd_names_are_opened_and_stand_in_errors_of_one_line(tmp_path, name):
    path = write(tmp_path / f"{name}.tif")
    assert np.array_equal(read_whole(path), IMAGE)
    path.write_bytes(b"II*\0broken")
    with pytest.raises(EpsamError) as caught:
        read_whole(path)
    assert name in str(caught.value)


def test_links_out_of_the_dataset_are_followed_once_and_loops_come_to_an_end(tmp_path):
    elsewhere, images = tmp_path / "disk" / "more", tmp_path / "images"
    for folder in (elsewhere, images):
        folder.mkdir(parents=True)
    write(elsewhere / "far.tif")
    write(images / "near.tif")
    (images / "more").symlink_to(elsewhere)
    (images / "again").symlink_to(elsewhere)
    (images / "dangling.tif").symlink_to(tmp_path / "nowhere.tif")
    for name in ("up", "up2"):
        (images / name).symlink_to(images)
        (elsewhere / name).symlink_to(images)
    records, _ = discover_slides(
        images,
        tmp_path / "annotations",
        SlideLabels(dict.fromkeys(("near", "far"), SlideLabel("normal"))),
    )
    assert [(record.name, record.status) for record in records] == [
        ("far", "used"),
        ("near", "used"),
    ]
