from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from epsam.core.errors import SlideError
from epsam.wsi import tiff
from epsam.wsi.reader import open_slide, plan_overview, read_overview_strips, read_tile

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def noise(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def write(path, *levels, **options):
    """A TIFF with one page for each level; the reduced ones are marked as such."""
    with tifffile.TiffWriter(path) as file:
        for number, level in enumerate(levels):
            file.write(
                level,
                subfiletype=int(number > 0),
                metadata=None,
                **{"photometric": "rgb", **options},
            )
    return path


def halve(image):
    return np.ascontiguousarray(image[::2, ::2])


@pytest.mark.parametrize(
    "options",
    [
        {"tile": (64, 64)},
        {"tile": (64, 48), "compression": "deflate"},
        {"rowsperstrip": 7},
        {"rowsperstrip": 1000},
        {"tile": (64, 64), "compression": "lzw", "predictor": True},
        {"tile": (32, 32), "planarconfig": "separate"},
        {"rowsperstrip": 16, "compression": "deflate", "planarconfig": "separate"},
    ],
    ids=str,
)
def test_any_region_equals_the_same_slice_of_the_array(tmp_path, options):
    image = noise(150, 203)
    stored = np.moveaxis(image, 2, 0) if options.get("planarconfig") else image
    with open_slide(write(tmp_path / "a.tif", stored, **options)) as slide:
        assert (slide.width0, slide.height0, slide.name) == (203, 150, "a")
        for left, top, width, height in (
            (0, 0, 203, 150),
            (63, 64, 2, 1),
            (10, 20, 130, 70),
            (202, 149, 1, 1),
        ):
            assert np.array_equal(
                slide.read(left, top, width, height), image[top : top + height, left : left + width]
            )


def test_outside_of_the_slide_is_white(tmp_path):
    image = noise(40, 60)
    with open_slide(write(tmp_path / "a.tif", image, tile=(32, 32))) as slide:
        region = slide.read(-5, -7, 80, 60)
        assert np.array_equal(region[7:47, 5:65], image)
        region[7:47, 5:65] = 255
        assert (region == 255).all()
        assert (slide.read(500, 500, 4, 3) == 255).all()


def test_tiles_without_bytes_are_white(tmp_path):
    tile = np.full((32, 32, 3), 9, dtype=np.uint8)
    with tifffile.TiffWriter(tmp_path / "sparse.tif") as file:
        content = iter([tile.tobytes(), b"", b"", tile.tobytes()])
        file.write(
            content,
            shape=(64, 64, 3),
            dtype=np.uint8,
            tile=(32, 32),
            photometric="rgb",
            metadata=None,
            compression="none",
        )
    zero_byte_counts(tmp_path / "sparse.tif", [1, 2])
    with open_slide(tmp_path / "sparse.tif") as slide:
        region = slide.read(0, 0, 64, 64)
    assert (region[:32, :32] == 9).all()
    assert (region[32:, 32:] == 9).all()
    assert (region[:32, 32:] == 255).all()
    assert (region[32:, :32] == 255).all()


def zero_byte_counts(path, tiles):
    with tifffile.TiffFile(path, mode="r+b") as file:
        counts = list(file.pages[0].tags["TileByteCounts"].value)
        file.pages[0].tags["TileByteCounts"].overwrite(
            [0 if n in tiles else count for n, count in enumerate(counts)]
        )


def test_levels_of_consecutive_pages_and_of_subifds(tmp_path):
    image = noise(256, 384)
    pages = write(tmp_path / "pages.tif", image, halve(image), halve(halve(image)), tile=(64, 64))
    with tifffile.TiffWriter(tmp_path / "sub.tif") as file:
        file.write(image, subifds=1, tile=(64, 64), photometric="rgb")
        file.write(halve(image), subfiletype=1, tile=(64, 64), photometric="rgb")
    with open_slide(pages) as slide:
        assert [(level.width, level.height, level.downsample) for level in slide.levels] == [
            (384, 256, 1),
            (192, 128, 2),
            (96, 64, 4),
        ]
        assert np.array_equal(slide.read(5, 6, 50, 40, 2), image[::4, ::4][6:46, 5:55])
    with open_slide(tmp_path / "sub.tif") as slide:
        assert [level.downsample for level in slide.levels] == [1, 2]
        assert np.array_equal(slide.read(5, 6, 50, 40, 1), image[::2, ::2][6:46, 5:55])


def test_a_label_page_is_no_level(tmp_path):
    image = noise(256, 384)
    write(tmp_path / "a.tif", image, noise(100, 100), tile=(64, 64))
    with open_slide(tmp_path / "a.tif") as slide:
        assert len(slide.levels) == 1


def test_grey_16_bit_inverted_and_palette(tmp_path):
    grey = noise(40, 50, 1)[:, :, 0]
    as_rgb = np.repeat(grey[:, :, None], 3, axis=2)
    files = {
        "black": (grey, {"photometric": "minisblack"}),
        "white": (255 - grey, {"photometric": "miniswhite"}),
        "deep": (grey.astype(np.uint16) << 8 | 77, {"photometric": "minisblack"}),
        "palette": (
            grey,
            {
                "photometric": "palette",
                "colormap": np.repeat(np.arange(256, dtype=np.uint16)[None] * 257, 3, axis=0),
            },
        ),
    }
    for name, (pixels, options) in files.items():
        with open_slide(write(tmp_path / f"{name}.tif", pixels, tile=(16, 16), **options)) as slide:
            assert np.array_equal(slide.read(0, 0, 50, 40), as_rgb), name


def test_transparent_pixels_are_white_and_alpha_is_dropped(tmp_path):
    image = noise(32, 32, 4)
    image[:, :, 3] = 200
    image[3, 4] = (0, 0, 0, 0)
    write(tmp_path / "a.tif", image, tile=(16, 16), extrasamples=["unassalpha"])
    with open_slide(tmp_path / "a.tif") as slide:
        region = slide.read(0, 0, 32, 32)
    assert tuple(region[3, 4]) == (255, 255, 255)
    assert np.array_equal(region[5:], image[5:, :, :3])


@pytest.mark.parametrize(
    ("compression", "arguments"),
    [("jpeg", {}), ("jpeg", {"outcolorspace": "rgb"}), ("jpeg2000", {})],
    ids=["ycbcr", "rgb", "jpeg2000"],
)
def test_lossy_codecs_give_rgb_in_the_right_order(tmp_path, compression, arguments):
    image = np.empty((64, 64, 3), dtype=np.uint8)
    image[:] = (200, 100, 30)
    write(
        tmp_path / "a.tif", image, tile=(32, 32), compression=compression, compressionargs=arguments
    )
    with open_slide(tmp_path / "a.tif") as slide:
        assert np.abs(slide.read(0, 0, 64, 64).astype(int) - (200, 100, 30)).max() <= 4


def test_only_the_tiles_that_a_region_touches_are_decoded_and_each_once(tmp_path):
    with open_slide(write(tmp_path / "a.tif", noise(320, 320), tile=(64, 64))) as slide:
        slide.read(64, 64, 65, 64)
        assert slide.decoded_px == 2 * 64 * 64
        slide.read(70, 70, 20, 20)
        assert slide.decoded_px == 2 * 64 * 64


def test_cached_tiles_stay_within_their_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff, "TILE_CACHE_BYTES", 3 * 64 * 64 * 3)
    image = noise(320, 320)
    with open_slide(write(tmp_path / "a.tif", image, tile=(64, 64))) as slide:
        assert np.array_equal(slide.read(0, 0, 320, 320), image)
        assert len(slide._tile_cache) == 3
        assert sum(tile.nbytes for tile in slide._tile_cache.values()) <= 3 * 64 * 64 * 3


def test_pixel_size_comes_from_the_file_and_else_from_the_user(tmp_path):
    image = noise(32, 32)
    write(tmp_path / "cm.tif", image, resolution=(40_000, 40_000), resolutionunit="CENTIMETER")
    write(tmp_path / "inch.tif", image, resolution=(50_800, 50_800), resolutionunit="INCH")
    write(tmp_path / "none.tif", image)
    for name, slide_mpp, mpp in (
        ("cm", 0.0, 0.25),
        ("inch", 0.0, 0.5),
        ("cm", 0.7, 0.25),
        ("none", 0.7, 0.7),
    ):
        with open_slide(tmp_path / f"{name}.tif", slide_mpp) as slide:
            assert slide.mpp == pytest.approx(mpp)
    with open_slide(tmp_path / "none.tif") as slide:
        assert slide.mpp is None


def test_a_tile_is_read_from_the_coarsest_level_that_is_fine_enough(tmp_path):
    image = noise(256, 256)
    levels = [image, np.full((128, 128, 3), 60, np.uint8), np.full((64, 64, 3), 120, np.uint8)]
    with open_slide(write(tmp_path / "a.tif", *levels, tile=(64, 64))) as slide:
        assert np.array_equal(read_tile(slide, 10, 20, 64, 64), image[20:84, 10:74])
        assert (read_tile(slide, 0, 0, 128, 64) == 60).all()
        assert (read_tile(slide, 0, 0, 192, 64) == 60).all()  # 3×: level 4× would be too coarse
        assert (read_tile(slide, 0, 0, 256, 64) == 120).all()
        assert read_tile(slide, 0, 0, 32, 64).shape == (64, 64, 3)


def test_a_tile_at_half_resolution_averages_blocks_where_there_is_one_level(tmp_path):
    image = noise(64, 64)
    with open_slide(write(tmp_path / "a.tif", image, tile=(32, 32))) as slide:
        tile = read_tile(slide, 8, 4, 32, 16)
    blocks = image[4:36, 8:40].reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))
    assert np.abs(tile - blocks).max() <= 0.5


def test_an_overview_in_strips_is_the_block_mean_of_the_slide(tmp_path, monkeypatch):
    monkeypatch.setattr("epsam.wsi.reader._STRIP_PX", 700)
    image = noise(90, 100)
    with open_slide(write(tmp_path / "a.tif", image, tile=(32, 32))) as slide:
        plan = plan_overview(slide, 4.9)
        strips = list(read_overview_strips(slide, plan))
    assert (plan.block, plan.downsample, plan.width, plan.height) == (4, 4.0, 25, 23)
    assert len(strips) > 10
    padded = np.full((92, 100, 3), 255, dtype=np.uint8)
    padded[:90] = image
    overview = np.concatenate([strip for _, strip in strips])
    assert np.abs(overview - padded.reshape(23, 4, 25, 4, 3).mean(axis=(1, 3))).max() <= 0.5


def test_missing_unknown_and_broken_files_are_named(tmp_path):
    good = write(
        tmp_path / "good.tif", noise(300, 300), tile=(64, 64), compression="jpeg"
    ).read_bytes()
    (tmp_path / "empty.tif").write_bytes(b"")
    (tmp_path / "text.tif").write_text("not a slide")
    (tmp_path / "cut.tif").write_bytes(good[: len(good) // 2])
    (tmp_path / "a.jpeg").write_bytes(b"x")
    for name in ("absent.tif", "empty.tif", "text.tif", "cut.tif", "a.jpeg"):
        with pytest.raises(SlideError, match=name):
            open_slide(tmp_path / name)


def test_a_truncated_file_whose_directory_is_whole_is_refused_at_opening(tmp_path):
    path = write(tmp_path / "a.tif", noise(128, 128), tile=(64, 64))
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags["TileOffsets"].overwrite([8, 8, 8, path.stat().st_size - 10])
    with pytest.raises(SlideError, match=r"a\.tif: truncated"):
        open_slide(path)


def test_a_damaged_tile_is_an_error_that_names_file_and_level(tmp_path):
    path = write(tmp_path / "a.tif", noise(128, 128), tile=(64, 64), compression="jpeg")
    with tifffile.TiffFile(path) as file:
        offset = file.pages[0].dataoffsets[3]
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(b"\0" * 64)
    with open_slide(path) as slide:
        slide.read(0, 0, 64, 64)
        with pytest.raises(SlideError, match=r"a\.tif: tile 3 of level 0"):
            slide.read(64, 64, 64, 64)


def test_the_error_about_a_missing_codec_names_the_command(tmp_path, monkeypatch):
    path = write(tmp_path / "a.tif", noise(64, 64), tile=(32, 32), compression="deflate")
    monkeypatch.setattr(tiff.tifffile.TIFF, "DECOMPRESSORS", {1: None})
    with pytest.raises(SlideError, match="pip install imagecodecs"):
        open_slide(path)


def test_vendor_formats_say_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openslide", None)
    (tmp_path / "a.mrxs").write_bytes(b"x")
    with pytest.raises(SlideError, match=r"pip install -r requirements\.txt"):
        open_slide(tmp_path / "a.mrxs")


@pytest.mark.skipif(
    not DATA.is_dir(), reason="../shared/data is absent: its slides are no part of the project"
)
def test_real_svs_files():
    with open_slide(DATA / "slides" / "CMU-1-Small-Region.svs") as slide:
        assert (slide.width0, slide.height0, len(slide.levels), slide.mpp) == (2220, 2967, 1, 0.499)
    path = DATA / "slides" / "tcga_hnsc_no_mpp.svs"
    with open_slide(path) as slide:
        assert [level.downsample for level in slide.levels] == [1, 2]
        assert slide.mpp is None
        coarse = slide.read(500, 500, 200, 200, 1).astype(int)
        differences = []
        for shift in (-2, -1, 0, 1, 2):
            fine = slide.read(1000 + shift, 1000, 400, 400)
            differences.append(
                np.abs(cv2.resize(fine, (200, 200), interpolation=cv2.INTER_AREA) - coarse).mean()
            )
        assert np.argmin(differences) == 2
