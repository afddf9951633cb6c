"""Made-up tissue: deterministic, with tumour where the mask says and none without."""

import numpy as np
import pytest

from demo.fields import scattered_points, soft_step
from demo.stain import Scanner, Stain, render
from demo.tissue import draw_tissue
from epsam.core.seeding import generator

SHAPE = (640, 800)


@pytest.fixture(scope="module")
def tissue():
    return draw_tissue(generator(3, "test tissue"), SHAPE, with_tumour=True)


def test_the_same_key_draws_the_same_slide(tissue):
    again = draw_tissue(generator(3, "test tissue"), SHAPE, with_tumour=True)
    assert np.array_equal(again.image, tissue.image)
    assert np.array_equal(again.tumour, tissue.tumour)


def test_image_and_mask_have_the_slides_form(tissue):
    assert tissue.image.shape == (*SHAPE, 3)
    assert tissue.image.dtype == np.uint8
    assert tissue.tumour.shape == SHAPE
    assert 0.02 < tissue.tumour.mean() < 0.7


def test_tumour_holds_more_haematoxylin_than_most_of_the_rest(tissue):
    # Haematoxylin absorbs red, eosin hardly does. The median leaves out lymphocytes, which hold as
    # much.
    red = tissue.image[:, :, 0].astype(float)
    is_tissue = tissue.image.min(axis=2) < 200
    assert (
        np.median(red[tissue.tumour & is_tissue]) < np.median(red[~tissue.tumour & is_tissue]) - 15
    )


def test_a_normal_slide_has_an_empty_mask():
    assert not draw_tissue(generator(3, "normal"), SHAPE, with_tumour=False).tumour.any()


def test_stain_follows_beer_and_lambert():
    stain = Stain(np.array([[0.5, 1.0, 0.25], [0.1, 0.8, 0.4]]))
    scanner = Scanner(np.array([240.0, 250.0, 245.0]), blur=0.3, noise=0.0)
    amounts = np.full((9, 9), 1.0, np.float32), np.full((9, 9), 0.5, np.float32)
    image = render(*amounts, stain, scanner, generator(0, "render"))
    expected = [240 * np.exp(-0.55), 250 * np.exp(-1.4), 245 * np.exp(-0.45)]
    assert np.abs(image[4, 4] - expected).max() <= 0.51


def test_points_lie_where_the_density_is():
    density = np.zeros((100, 200), np.float32)
    density[:, 120:] = 1
    points = scattered_points(generator(1, "points"), density, 10)
    assert 60 <= len(points) <= 100
    assert (points[:, 0] >= 120).all()
    assert (points[:, 1] < 100).all()


def test_soft_step_is_zero_half_and_one():
    assert soft_step(np.array([0.0, 1.0, 2.0], np.float32), 1.0, 1.0).tolist() == [0.0, 0.5, 1.0]
