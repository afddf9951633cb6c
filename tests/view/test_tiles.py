import cv2
import numpy as np
import pytest

from epsam.core.errors import SlideError
from epsam.data.images import write_mask, write_rgb
from epsam.view import open_images
from epsam.view.catalogue import read_catalogue
from epsam.view.levels import ZoomLevels
from epsam.view.open_images import OpenImages
from epsam.view.tiles import (
    GROUND_TRUTH,
    IMAGE,
    MASK,
    PROBABILITY,
    UNCERTAINTY,
    TileAddress,
    TileReader,
)
from support.viewed_results import probability_pixels, slide_pixels, write_results


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    images = read_catalogue(write_results(tmp_path_factory.mktemp("viewed"))).images
    return TileReader(images, OpenImages())


def pixels(content):
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)


def test_levels_halve_until_one_tile_holds_all():
    levels = ZoomLevels(700, 500)
    assert (levels.finest, levels.coarsest) == (10, 8)
    assert [levels.count_tiles(level) for level in (10, 9, 8)] == [(3, 2), (2, 1), (1, 1)]
    # 175 × 125 px at a quarter of the size.
    assert levels.find_tile(8, 0, 0) == levels.find_tile(8, 0, 0).__class__(0, 0, 4, 175, 125)
    last = levels.find_tile(10, 2, 1)
    assert (last.left_px, last.top_px, last.width, last.height) == (512, 256, 188, 244)


@pytest.mark.parametrize("place", [(10, 3, 0), (10, 0, 2), (7, 0, 0), (11, 0, 0), (10, -1, 0)])
def test_there_is_no_tile_outside(place):
    assert ZoomLevels(700, 500).find_tile(*place) is None


@pytest.mark.parametrize(("width", "finest"), [(1, 0), (2, 1), (256, 8), (257, 9), (100_000, 17)])
def test_the_finest_level_is_the_image_itself(width, finest):
    levels = ZoomLevels(width, 1)
    assert levels.finest == finest
    assert levels.find_tile(finest, 0, 0).downsample == 1
    assert levels.find_tile(levels.coarsest, 1, 0) is None


def test_fine_tiles_of_probability_are_its_pixels(reader):
    tile = pixels(reader.read(TileAddress(0, PROBABILITY, 10, 1, 0)))
    assert np.array_equal(tile, probability_pixels()[:256, 256:512])
    last = pixels(reader.read(TileAddress(0, PROBABILITY, 10, 2, 1)))
    assert np.array_equal(last, probability_pixels()[256:, 512:])


def test_coarse_tiles_are_means_and_the_glass_outside_is_no_tumour(reader):
    tile = pixels(reader.read(TileAddress(0, PROBABILITY, 8, 0, 0)))
    means = probability_pixels().reshape(125, 4, 175, 4).mean(axis=(1, 3))
    assert tile.shape == (125, 175)
    assert np.abs(tile - means).max() <= 2
    assert tile[:, -1].max() == 0


def test_a_tile_of_the_slide_is_a_jpeg_of_its_pixels(reader):
    tile = pixels(reader.read(TileAddress(1, IMAGE, 10, 0, 0)))[:, :, ::-1]
    assert np.abs(tile.mean(axis=(0, 1)) - slide_pixels(1)[:256, :256].mean(axis=(0, 1))).max() < 2


def test_uncertainty_is_the_entropy_of_fine_pixels(reader):
    tile = pixels(reader.read(TileAddress(0, UNCERTAINTY, 10, 1, 0)))
    # −0.6 log2 0.6 − 0.4 log2 0.4 = 0.971 bit, 248 of 255.
    assert tile[150, 350 - 256] == 248
    assert tile[150, 270 - 256] == 0

    # At a quarter of the size, sure pixels beside empty ones stay sure: their mean would not be.
    coarse = pixels(reader.read(TileAddress(0, UNCERTAINTY, 8, 0, 0)))
    assert coarse[25:75, 20:74].max() == 0
    assert coarse[50, 87] == 248


def test_a_mask_is_drawn_as_its_inner_border_without_seams_at_tiles(reader):
    left, right = (pixels(reader.read(TileAddress(0, MASK, 10, column, 0))) for column in (0, 1))
    rows = np.concatenate([left, right], axis=1)
    mask = np.zeros((256, 512), bool)
    mask[100:, 100:400] = True
    inside = np.zeros_like(mask)
    inside[102:, 102:398] = True
    assert np.array_equal(rows > 0, mask & ~inside)


def test_a_layer_or_image_that_is_not_there_has_no_tile(reader):
    assert reader.read(TileAddress(0, GROUND_TRUTH, 10, 0, 0)) is None
    assert reader.read(TileAddress(9, IMAGE, 10, 0, 0)) is None
    assert reader.read(TileAddress(0, "record", 10, 0, 0)) is None


def test_a_tile_that_was_read_is_in_memory(reader, monkeypatch):
    address = TileAddress(0, IMAGE, 10, 1, 1)
    content = reader.read(address)
    monkeypatch.setattr(reader, "_render", lambda address: pytest.fail("read again"))
    assert reader.read(address) is content


def test_memory_of_tiles_is_bounded(reader, monkeypatch):
    monkeypatch.setattr("epsam.view.tiles.CACHE_BYTES", 1)
    assert reader.read(TileAddress(0, IMAGE, 9, 0, 0))
    assert reader._cache_bytes <= 1


def test_plain_images_have_one_level(tmp_path):
    image = slide_pixels(0)[:40, :30]
    write_rgb(tmp_path / "a.png", image)
    write_mask(tmp_path / "m.png", image[:, :, 0] > 190)
    files = OpenImages()
    assert np.array_equal(files.read_square(tmp_path / "a.png", 0, 0, 30, 30), image[:30])
    grey = files.read_grey_square(tmp_path / "m.png", -10, 20, 40, 40)
    assert not grey[:, :10].any()
    assert not grey[20:].any()
    assert np.array_equal(grey[:20, 10:] > 0, image[20:, :, 0] > 190)


def test_a_slide_without_coarse_levels_is_shown_from_an_overview(tmp_path, monkeypatch):
    monkeypatch.setattr(open_images, "MAX_SIDE_PX", 300)
    monkeypatch.setattr(open_images, "OVERVIEW_PX", 175)
    image = np.zeros((500, 700, 3), np.uint8)
    image[:, 352:] = 200
    write_rgb(tmp_path / "a.png", image)
    square = OpenImages().read_square(tmp_path / "a.png", 0, 0, 1024, 256)
    assert (square[:125, :88] == 0).all()
    assert (square[:125, 88:175] == 200).all()
    assert (square[125:] == 255).all()


def test_few_files_are_open_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(open_images, "MAX_OPEN", 2)
    files = OpenImages()
    for name in "abcd":
        write_rgb(tmp_path / f"{name}.png", np.zeros((2, 2, 3), np.uint8))
        files.read_square(tmp_path / f"{name}.png", 0, 0, 2, 2)
    assert [path.stem for path in files._images] == ["c", "d"]
    files.close()
    assert not files._images


def test_a_damaged_slide_is_an_error_with_its_name(tmp_path):
    (tmp_path / "a.svs").write_bytes(b"II*\0" + bytes(100))
    with pytest.raises(SlideError, match="a.svs"):
        OpenImages().read_square(tmp_path / "a.svs", 0, 0, 10, 10)
