import math
from collections import Counter

import pytest
import torch

from epsam.core.seeding import generator
from epsam.data.augmentation import (
    Augmentation,
    augment,
    augment_with_masks,
    draw_augmentation,
)

IDENTITY = Augmentation(False, 0.0, 1.0, 1.0, 1.0, 0.0, False)


def augmentation(**values):
    return Augmentation(**{**IDENTITY.__dict__, **values})


@pytest.fixture
def image():
    return torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_the_identity_changes_nothing(image):
    assert torch.allclose(augment(image, [IDENTITY]), image, atol=1e-5)


def test_a_quarter_turn_and_a_mirror_are_exact(image):
    rotated = augment(image, [augmentation(angle=math.pi / 2)])
    assert any(torch.allclose(rotated, torch.rot90(image, k, (2, 3)), atol=1e-4) for k in (1, 3))
    assert torch.allclose(augment(image, [augmentation(mirrored=True)]), image.flip(3), atol=1e-5)


def test_a_slanted_rotation_leaves_black_corners(image):
    rotated = augment(image + 0.1, [augmentation(angle=math.pi / 4)])
    assert float(rotated[0, :, 0, 0].abs().max()) == 0.0


def test_brightness_and_grey_by_hand():
    pixel = torch.tensor([0.5, 0.25, 0.75]).view(1, 3, 1, 1)
    brighter = augment(pixel, [augmentation(brightness=1.2)]).flatten()
    assert brighter.tolist() == pytest.approx([0.6, 0.3, 0.9], abs=1e-5)
    grey = augment(pixel, [augmentation(grey=True)]).flatten()
    assert grey.tolist() == pytest.approx([0.299 * 0.5 + 0.587 * 0.25 + 0.114 * 0.75] * 3, abs=1e-4)


def test_hue_changes_colour_and_leaves_luma_and_grey_alone():
    pixel = torch.tensor([0.5, 0.4, 0.45]).view(1, 3, 1, 1)
    luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    rotated = augment(pixel, [augmentation(hue=0.2)])
    assert float((rotated * luma).sum()) == pytest.approx(float((pixel * luma).sum()), abs=1e-4)
    assert not torch.allclose(rotated, pixel, atol=1e-2)
    flat = torch.full((1, 3, 1, 1), 0.4)
    assert torch.allclose(augment(flat, [augmentation(hue=0.2)]), flat, atol=1e-3)


def test_a_patch_is_augmented_alike_in_any_batch(image):
    augmentations = [draw_augmentation(generator(1, i)) for i in range(3)]
    batch = torch.cat([image, image.flip(2), image * 0.5])
    augmented = augment(batch, augmentations)
    assert torch.allclose(augmented[1:2], augment(batch[1:2], augmentations[1:2]), atol=1e-5)


def test_half_of_the_patches_are_mirrored():
    augmentations = [draw_augmentation(generator(3, i)) for i in range(500)]
    # 500 draws of 0.5: mean 250, standard deviation 11.
    assert 205 <= sum(a.mirrored for a in augmentations) <= 295


def test_angles_fill_the_whole_circle():
    angles = [draw_augmentation(generator(4, i)).angle for i in range(480)]
    # 24 bins of 15 degrees: 20 each on average, standard deviation 4.4. Quarter turns fill 4 bins.
    bins = Counter(int(angle / (math.pi / 12)) for angle in angles)
    assert sorted(bins) == list(range(24))
    assert max(bins.values()) <= 40


@pytest.mark.parametrize(
    ("name", "centre"), [("brightness", 1), ("contrast", 1), ("saturation", 1), ("hue", 0)]
)
def test_colours_jitter_evenly_by_0_2_to_both_sides(name, centre):
    values = [getattr(draw_augmentation(generator(5, i)), name) - centre for i in range(500)]
    # Uniform in -0.2 ... 0.2: mean 0, standard deviation of the mean 0.005; root mean square 0.115.
    assert sum(values) / 500 == pytest.approx(0, abs=0.025)
    assert math.sqrt(sum(value**2 for value in values) / 500) == pytest.approx(0.1155, abs=0.012)


def test_drawn_parameters_stay_in_the_published_ranges():
    augmentations = [draw_augmentation(generator(2, i)) for i in range(500)]
    assert all(
        0.8 <= a.brightness <= 1.2 and -0.2 <= a.hue <= 0.2 and 0 <= a.angle < 2 * math.pi
        for a in augmentations
    )
    assert 0.05 < sum(a.grey for a in augmentations) / 500 < 0.16


def test_masks_move_with_their_images_which_stay_as_without_masks():
    source = torch.Generator().manual_seed(1)
    images = torch.rand(4, 3, 16, 16, generator=source)
    draws = [draw_augmentation(generator(5, number)) for number in range(4)]
    # Uncoloured, so that an image of a mask moves as the image does.
    moves = [augmentation(mirrored=draw.mirrored, angle=draw.angle) for draw in draws]
    masks = (torch.rand(4, 1, 16, 16, generator=source) > 0.5).float()
    augmented, moved = augment_with_masks(images, masks, draws)
    assert torch.equal(augmented, augment(images, draws))
    assert moved.unique().tolist() == [0, 1]

    pictures = augment(masks.expand(-1, 3, -1, -1), moves)[:, :1]
    # Bilinear and nearest neighbour agree wherever the picture is all but one value.
    certain = (pictures < 0.01) | (pictures > 0.99)
    assert certain.float().mean() > 0.1
    assert torch.equal(moved[certain], pictures[certain].round())
