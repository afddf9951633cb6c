"""Pixels through OpenSlide: a TIFF of ours, which both readers open, has to be the same slide in
both.
"""

from pathlib import Path

import numpy as np
import openslide
import pytest

from epsam.core.errors import SlideError
from epsam.wsi.openslide_reader import OpenSlideFile
from epsam.wsi.reader import VENDOR_SUFFIXES, open_slide, read_tile
from epsam.wsi.tiff import TiffSlide
from epsam.wsi.writer import PyramidFormat, write_slide

SLIDES = Path(__file__).resolve().parents[3] / "shared" / "data" / "slides"
HEIGHT, WIDTH = 304, 416
IMAGE = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture(params=["a.tif", "a.svs"])
def path(tmp_path, request):
    write_slide(
        tmp_path / request.param, IMAGE, 0.25, PyramidFormat(tile=64, compression="deflate")
    )
    return tmp_path / request.param


def test_levels_and_pixel_size_are_those_of_our_own_reader(path):
    with OpenSlideFile(path) as slide, TiffSlide(path) as expected:
        assert slide.levels == expected.levels
        assert [(level.width, level.height, level.downsample) for level in slide.levels] == [
            (416, 304, 1),
            (208, 152, 2),
            (104, 76, 4),
            (52, 38, 8),
        ]
        assert slide.mpp == pytest.approx(0.25)
        assert slide.name == "a"


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_regions_are_those_of_our_own_reader_and_white_outside(path, level):
    with OpenSlideFile(path) as slide, TiffSlide(path) as expected:
        width, height = expected.levels[level].width, expected.levels[level].height
        for region in (
            (0, 0, width, height),
            (7, 11, 30, 20),
            (width - 1, height - 1, 1, 1),
            (-5, -6, 20, 30),
            (width - 10, height - 12, 40, 50),
        ):
            assert np.array_equal(slide.read(*region, level), expected.read(*region, level)), region
        assert (slide.read(width, height, 3, 4, level) == 255).all()
        assert (slide.read(width - 10, 0, 20, 5, level)[:, 10:] == 255).all()
        assert slide.read(0, 0, 8, 8, level).min() < 255
    if level == 0:
        with OpenSlideFile(path) as slide:
            assert np.array_equal(slide.read(0, 0, WIDTH, HEIGHT), IMAGE)


def test_levels_of_rounded_sizes_are_not_shifted(tmp_path):
    """A ramp of 4 a pixel at level 3, whose 52 px span 423: 8.13 each, where 8 were averaged."""
    ramp = np.broadcast_to((np.arange(423) // 2).astype(np.uint8)[None, :, None], (303, 423, 3))
    write_slide(
        tmp_path / "a.tif",
        np.ascontiguousarray(ramp),
        0.25,
        PyramidFormat(tile=64, compression="deflate"),
    )
    with OpenSlideFile(tmp_path / "a.tif") as slide, TiffSlide(tmp_path / "a.tif") as expected:
        assert slide.levels[3].downsample == 8
        region = slide.read(44, 10, 7, 7, 3).astype(int)
        same = expected.read(44, 10, 7, 7, 3).astype(int)
    assert np.abs(region - same).max() <= 1


def test_formats_of_openslide_are_known_by_their_suffix():
    # What OpenSlide 4 reads, but for TIFF and SVS, which our own reader takes.
    formats = {".bif", ".czi", ".dcm", ".mrxs", ".ndpi", ".scn", ".svslide", ".vms", ".vmu"}
    assert set(VENDOR_SUFFIXES) == formats


@pytest.mark.parametrize("suffix", [*VENDOR_SUFFIXES, ".NDPI"])
def test_a_vendors_suffix_leads_to_openslide(path, suffix):
    """No file of these vendors is at hand: OpenSlide knows a TIFF of ours by its content."""
    renamed = path.rename(path.with_name(f"b{suffix}"))
    with open_slide(renamed) as slide:
        assert isinstance(slide, OpenSlideFile)
        assert slide.mpp == pytest.approx(0.25)
        assert np.array_equal(slide.read(7, 11, 30, 20), IMAGE[11:31, 7:37])


@pytest.mark.parametrize(
    ("name", "mpp"), [("CMU-1-Small-Region.svs", 0.499), ("tcga_hnsc_no_mpp.svs", None)]
)
@pytest.mark.skipif(
    not SLIDES.is_dir(), reason="../shared/data is absent: its slides are no part of the project"
)
def test_real_svs_files_are_the_same_slide_in_both_readers(name, mpp):
    with open_slide(SLIDES / name) as slide, OpenSlideFile(SLIDES / name) as other:
        assert isinstance(slide, TiffSlide)
        assert slide.mpp == other.mpp == mpp
        assert slide.levels == other.levels
        left, top = slide.width0 // 2, slide.height0 // 2
        tile = read_tile(slide, left, top, 512, 512)
        assert tile.std() > 20, "tissue"
        assert np.array_equal(tile, read_tile(other, left, top, 512, 512))
        # OpenSlide takes a corner in whole pixels of level 0: a coarser level is off by up to a
        # quarter of a pixel there, and interpolated.
        region = (left // 4, top // 4, 300, 200)
        level = len(slide.levels) - 1
        ours = slide.read(*region, level).astype(float)
        theirs = other.read(*region, level).astype(float)
        assert np.abs(ours - theirs).mean() < 0.2 * ours.std()


def test_a_pixel_size_that_is_no_number_is_as_none(path, monkeypatch):
    monkeypatch.setattr(openslide.OpenSlide, "properties", {"openslide.mpp-x": "abc"})
    with OpenSlideFile(path, 0.7) as slide:
        assert slide.mpp == 0.7
    with OpenSlideFile(path) as slide:
        assert slide.mpp is None


@pytest.mark.parametrize("content", [b"not a slide", b""], ids=["text", "empty"])
def test_what_is_no_slide_is_one_clear_error(tmp_path, content):
    (tmp_path / "a.mrxs").write_bytes(content)
    with pytest.raises(
        SlideError, match=r"a\.mrxs: OpenSlide cannot read it \(.+\); replace or remove"
    ) as caught:
        OpenSlideFile(tmp_path / "a.mrxs")
    assert "\n" not in str(caught.value)
