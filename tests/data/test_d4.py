import numpy as np
import pytest

from epsam.core.seeding import generator
from epsam.data.d4 import apply_d4, draw_d4, undo_d4

SQUARE = np.arange(9).reshape(3, 3)


def test_the_eight_transforms_are_the_eight_symmetries_of_a_square():
    assert len({apply_d4(SQUARE, transform).tobytes() for transform in range(8)}) == 8
    assert np.array_equal(apply_d4(SQUARE, 0), SQUARE)


def test_the_second_transform_is_the_mirror_image():
    assert apply_d4(SQUARE, 1).tolist() == [[2, 1, 0], [5, 4, 3], [8, 7, 6]]


def test_image_and_mask_move_together():
    image = np.stack([SQUARE] * 3, axis=-1)
    for transform in range(8):
        assert np.array_equal(apply_d4(image, transform)[..., 1], apply_d4(SQUARE, transform))


@pytest.mark.parametrize("n_transforms", [1, 2, 4, 8])
def test_half_of_the_draws_are_the_identity_and_the_rest_are_the_first_transforms(n_transforms):
    draws = [draw_d4(n_transforms, generator(i)) for i in range(2000)]
    identity_fraction = draws.count(0) / 2000
    assert set(draws) == set(range(n_transforms))
    assert identity_fraction == pytest.approx(1.0 if n_transforms == 1 else 0.5, abs=0.04)


@pytest.mark.parametrize("transform", range(8))
def test_a_transform_can_be_undone(transform):
    image = np.arange(5 * 5 * 2).reshape(5, 5, 2)
    assert np.array_equal(undo_d4(apply_d4(image, transform), transform), image)
    assert np.array_equal(apply_d4(undo_d4(image, transform), transform), image)
