"""Rows of MAP_REFINERS, on a stand-in whose map is the image itself."""

import pytest
import torch

from epsam.cam.refiner import build_refiner
from epsam.config.masks import MaskRule
from epsam.core.errors import EpsamError, ImageError


def red_corner(images):
    """Logits of the upper left value; the map is the red channel with its upper row doubled."""
    maps = images[:, 0].clone()
    maps[:, 0] *= 2
    return images[:, 0, 0, 0], maps


def example_images():
    images = torch.zeros(1, 3, 2, 2)
    images[0, 0] = torch.tensor([[0.1, 0.2], [0.3, 0.4]])
    return images


def test_none_only_scales_the_map():
    probabilities, maps = build_refiner(MaskRule(refine="none"))(red_corner, example_images())
    # The upper row doubled, all divided by the largest value, 0.4.
    torch.testing.assert_close(maps[0], torch.tensor([[0.5, 1.0], [0.75, 1.0]]))
    assert probabilities.tolist() == pytest.approx([1 / (1 + 2.718281828**-0.1)])


def test_unscaled_leaves_probabilities_as_they_are_and_refuses_other_maps():
    refiner = build_refiner(MaskRule(refine="unscaled"))
    probabilities, maps = refiner(red_corner, example_images())
    torch.testing.assert_close(maps[0], torch.tensor([[0.2, 0.4], [0.3, 0.4]]))
    assert probabilities.tolist() == pytest.approx([1 / (1 + 2.718281828**-0.1)])
    with pytest.raises(EpsamError, match="--refine unscaled: maps of up to 4, .* use --refine"):
        refiner(red_corner, 10 * example_images())


def test_the_average_over_two_rotations_is_that_of_the_flag():
    refiner = build_refiner(MaskRule(rotations=2))
    _, maps = refiner(red_corner, example_images())
    # Doubled once at the top and, rotated by a quarter turn, once at the right: means of
    # 0.2 and 0.1, 0.4 and 0.4, 0.3 and 0.3, 0.4 and 0.8, divided by the largest, 0.6.
    expected = torch.tensor([[0.15, 0.4], [0.3, 0.6]]) / 0.6
    torch.testing.assert_close(maps[0], expected)


@pytest.mark.parametrize(
    "rule",
    [MaskRule(rotations=1), MaskRule(), MaskRule(refine="none"), MaskRule(refine="unscaled")],
)
def test_refining_a_known_map_gives_what_refining_the_image_gives(rule):
    images = example_images()
    refiner = build_refiner(rule)
    _, expected = refiner(red_corner, images)
    _, upright = red_corner(images)
    torch.testing.assert_close(refiner.refine(red_corner, images, upright), expected)


def test_an_unknown_row_and_an_image_that_is_not_square_are_refused():
    with pytest.raises(EpsamError, match="--refine affinity: not known here; use rotation_average"):
        build_refiner(MaskRule(refine="affinity"))
    with pytest.raises(ImageError, match="need square ones"):
        build_refiner(MaskRule())(red_corner, torch.zeros(1, 3, 2, 4))
