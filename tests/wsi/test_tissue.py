import numpy as np
import tifffile
from skimage.filters import threshold_otsu

from epsam.wsi.reader import open_slide
from epsam.wsi.tissue import TissueMask, find_tissue, otsu, threshold_tissue, tissue_fractions

PINK, WHITE, BLACK = (210, 120, 180), (245, 245, 245), (0, 0, 0)


def slide_of(tmp_path, image, levels=1, step=2):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for number in range(levels):
            factor = step**number
            file.write(
                np.ascontiguousarray(image[::factor, ::factor]),
                subfiletype=int(number > 0),
                tile=(64, 64),
                photometric="rgb",
                metadata=None,
            )
    return open_slide(path)


def draw_slide(height=512, width=768, background=WHITE):
    """Tissue in rows 128..383 and columns 256..511."""
    image = np.empty((height, width, 3), dtype=np.uint8)
    image[:] = background
    image[128:384, 256:512] = PINK
    return image


def otsu_by_definition(histogram):
    """The threshold of largest variance between classes, by trying all of them."""
    values = np.repeat(np.arange(len(histogram)), histogram)
    largest, best = 0.0, 0
    for threshold in range(len(histogram)):
        low, high = values[values <= threshold], values[values > threshold]
        if len(low) and len(high):
            spread = len(low) * len(high) * (high.mean() - low.mean()) ** 2
            if spread > largest * (1 + 1e-12):
                largest, best = spread, threshold
    return best


def test_otsu_is_the_best_of_all_thresholds():
    rng = np.random.default_rng(0)
    for _ in range(5):
        histogram = rng.integers(0, 30, 40)
        assert otsu(histogram) == otsu_by_definition(histogram)


def test_otsu_of_glass_and_tissue_is_scikit_images():
    rng = np.random.default_rng(0)
    for _ in range(20):
        glass = rng.normal(6, 3, 9000)
        tissue = rng.normal(rng.uniform(60, 150), 30, rng.integers(10, 9000))
        values = np.clip(np.concatenate([glass, tissue]), 0, 255).astype(np.uint8)
        histogram = np.bincount(values, minlength=256)
        assert otsu(histogram) == threshold_otsu(hist=histogram)


def test_otsu_does_not_round_counts():
    """Of n, n and n + 1 pixels at 10, 20 and 30 the spread is n (30n + 20)² / (2n + 1) above 10
    and 450 n (n + 1) above 20: the latter is larger, by less than 32 bits tell.
    """
    histogram = np.zeros(256, dtype=np.int64)
    histogram[[10, 20, 30]] = 100_000_000, 100_000_000, 100_000_001
    assert otsu(histogram) == 20


def test_otsu_of_nothing_and_of_one_value_is_0():
    assert otsu(np.zeros(256, dtype=np.int64)) == 0
    assert otsu(np.bincount([90] * 7, minlength=256)) == 0


def test_tissue_is_found_where_it_is_at_the_true_downsample(tmp_path):
    for levels, downsample in ((1, 16), (3, 16), (4, 8), (5, 16)):
        with slide_of(tmp_path, draw_slide(), levels) as slide:
            tissue = find_tissue(slide)
        assert tissue.downsample == downsample
        expected = np.zeros((512 // downsample, 768 // downsample), dtype=bool)
        expected[128 // downsample : 384 // downsample, 256 // downsample : 512 // downsample] = (
            True
        )
        assert np.array_equal(tissue.mask, expected)


def test_a_coarse_level_keeps_level_0_from_being_decoded(tmp_path):
    with slide_of(tmp_path, draw_slide(), 5) as slide:
        find_tissue(slide)
        assert slide.decoded_px == 64 * 64


def test_black_fill_is_background_and_does_not_shift_the_threshold(tmp_path):
    image = draw_slide()
    image[:, 600:] = BLACK
    image[400:] = (6, 2, 9)  # what JPEG makes of black: its saturation is high
    with slide_of(tmp_path, image) as slide:
        mask = find_tissue(slide).mask
    assert mask.sum() == 16 * 16
    assert mask[8:24, 16:32].all()


def test_slides_without_tissue_give_an_empty_mask(tmp_path):
    rng = np.random.default_rng(0)
    noisy = rng.integers(236, 244, (256, 256, 3), dtype=np.uint8)
    for image in (noisy, np.full((256, 256, 3), 255, np.uint8), np.zeros((256, 256, 3), np.uint8)):
        with slide_of(tmp_path, image) as slide:
            mask = find_tissue(slide).mask
        assert mask.shape == (16, 16)
        assert not mask.any()


def test_a_slide_that_is_all_tissue_is_not_split_in_two():
    saturation = np.where(np.arange(64 * 64).reshape(64, 64) % 2, 70, 160).astype(np.uint8)
    assert threshold_tissue(saturation, np.full((64, 64), 200, np.uint8)).all()


def test_share_of_windows_against_slices():
    mask = np.random.default_rng(3).random((24, 36)) < 0.4
    lefts, tops = np.arange(0, 500, 32), np.arange(0, 320, 32)
    fractions = tissue_fractions(TissueMask(mask, 16.0), lefts, tops, 64)
    assert fractions.shape == (10, 16)
    for row, top in enumerate(tops // 16):
        for column, left in enumerate(lefts // 16):
            assert np.isclose(fractions[row, column], mask[top : top + 4, left : left + 4].mean())


def test_share_of_windows_smaller_than_a_mask_pixel():
    mask = np.array([[True, False]])
    assert tissue_fractions(
        TissueMask(mask, 16.0), np.array([0, 16, 30]), np.array([0]), 2
    ).tolist() == [[1.0, 0.0, 0.0]]


def test_the_body_of_tissue_has_no_gaps_and_a_margin_of_two_pixels():
    mask = np.zeros((20, 30), bool)
    mask[5:15, 5:15] = True
    mask[8:12, 8:12] = False
    mask[10, 25] = True
    closed = TissueMask(mask, 16.0).close_gaps()
    expected = np.zeros_like(mask)
    # An ellipse of five pixels, as OpenCV draws it, is a square without the outer columns' corners.
    for row, column in np.argwhere(mask):
        expected[row - 1 : row + 2, column - 2 : column + 3] = True
        expected[row - 2 : row + 3, column] = True
    expected[8:12, 8:12] = True
    assert np.array_equal(closed.mask, expected)
    assert closed.downsample == 16.0
    assert TissueMask(np.zeros((0, 0), bool), 8).close_gaps().mask.shape == (0, 0)


def test_tissue_under_the_pixels_of_another_resolution():
    tissue = TissueMask(np.array([[1, 0, 0], [0, 0, 1]], bool), downsample=8)
    # A pixel of 4 level-0 pixels: two by two of them lie on each of the tissue's.
    assert tissue.resample(1, (3, 6), 4).astype(int).tolist() == [
        [1, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 1],
        [0, 0, 0, 0, 1, 1],
    ]
    # What rounding leaves beyond the border counts as its last pixel.
    assert tissue.resample(4, (1, 7), 4).astype(int).tolist() == [[0, 0, 0, 0, 1, 1, 1]]
    assert not TissueMask(np.zeros((0, 0), bool), 8).resample(0, (2, 2), 4).any()
