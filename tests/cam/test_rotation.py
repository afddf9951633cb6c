"""CAMs averaged over rotations, on a stand-in classifier whose map is the image itself, so that
every number can be worked out by hand.
"""

import pytest
import torch

from epsam.cam.rotation import rotation_averaged_cam, scale_to_maximum
from epsam.core.errors import EpsamError, ImageError
from epsam.weak.protocol import WeakPrediction
from epsam.weak.resnet import NetworkSpec, build_classifier


class Mirror(torch.nn.Module):
    """Its map is the image's red channel times `weight`, cut at 0; its logit the upper left value
    of that channel.
    """

    def __init__(self, weight=None):
        super().__init__()
        self.weight = weight
        self.passes = []

    def forward_features(self, images, block=""):
        assert not self.training
        assert not torch.is_grad_enabled()
        self.passes.append(len(images))
        return images[:, 0, 0, 0], images[:, 0]

    def cam_from_features(self, features):
        return (features * self.weight if self.weight is not None else features).relu()


def noise(count, side, seed=0):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("rotations", [1, 2, 3, 4])
def test_maps_come_back_upright_and_scaled(rotations):
    images = noise(2, 6)
    _, maps = rotation_averaged_cam(Mirror(), images, rotations)
    expected = images[:, 0] / images[:, 0].amax(dim=(1, 2), keepdim=True)
    torch.testing.assert_close(maps, expected)
    assert maps.dtype == torch.float32


def test_average_is_the_mean_over_the_four_rotations():
    images = noise(1, 4)
    weight = torch.zeros(4, 4)
    # A network that weights two corners of its input differently.
    weight[0, 0] = 1.0
    weight[0, 3] = 3.0
    red = images[0, 0]
    # A quarter turn anticlockwise brings the upper right corner to the upper left: each corner is
    # weighted once by 1 and once by 3.
    expected = torch.zeros(4, 4)
    for row, column in ((0, 0), (0, 3), (3, 0), (3, 3)):
        expected[row, column] = red[row, column] * (1.0 + 3.0) / 4
    _, maps = rotation_averaged_cam(Mirror(weight), images)
    torch.testing.assert_close(maps[0], expected / expected.max())


def test_rotations_are_cut_at_0_before_the_mean_and_scaled_once_after_it():
    images = torch.zeros(1, 3, 2, 2)
    images[0, 0] = torch.tensor([[4.0, 1.0], [2.0, 3.0]])
    weight = torch.tensor([[1.0, 0.0], [0.0, -1.0]])
    # Upper left of the four rotations: 4, 1, 3, 2; the lower right is negative and cut at 0.
    # The mean has a quarter of each value at its own pixel. The ratios stay 4 : 1 : 2 : 3, which
    # scaling each rotation to 1 beforehand would lose.
    _, maps = rotation_averaged_cam(Mirror(weight), images)
    torch.testing.assert_close(maps[0], torch.tensor([[1.0, 0.25], [0.5, 0.75]]))


def test_probability_is_that_of_the_upright_image():
    images = noise(3, 4)
    probabilities, _ = rotation_averaged_cam(Mirror(), images)
    torch.testing.assert_close(probabilities, 1 / (1 + torch.exp(-images[:, 0, 0, 0])))


def test_all_rotations_of_a_batch_share_one_pass():
    model = Mirror()
    rotation_averaged_cam(model, noise(3, 4), rotations=4)
    assert model.passes == [12]


def test_map_of_zeros_stays_0():
    probabilities, maps = rotation_averaged_cam(Mirror(-torch.ones(4, 4)), noise(2, 4))
    assert torch.equal(maps, torch.zeros(2, 4, 4))
    assert torch.isfinite(probabilities).all()


def test_each_map_is_scaled_by_its_own_maximum():
    maps = torch.tensor([[[0.0, 2.0]], [[8.0, 4.0]], [[0.0, 0.0]]])
    assert torch.equal(
        scale_to_maximum(maps), torch.tensor([[[0.0, 1.0]], [[1.0, 0.5]], [[0.0, 0.0]]])
    )


def test_images_that_are_not_square_are_refused_with_their_size():
    with pytest.raises(ImageError, match="6 × 4 px"):
        rotation_averaged_cam(Mirror(), torch.zeros(1, 3, 4, 6))


def test_rotated_image_gives_the_rotated_map_of_the_real_classifier():
    torch.manual_seed(0)
    model = build_classifier(NetworkSpec("resnet18"))
    images = noise(1, 64)
    _, maps = rotation_averaged_cam(model, images)
    _, rotated_maps = rotation_averaged_cam(model, images.rot90(1, (-2, -1)))
    assert maps.shape == (1, 4, 4)
    torch.testing.assert_close(rotated_maps, maps.rot90(1, (-2, -1)), atol=1e-4, rtol=1e-3)


def test_batch_gives_the_maps_of_its_images_alone():
    torch.manual_seed(0)
    model = build_classifier(NetworkSpec("resnet18"))
    images = noise(2, 64)
    probabilities, maps = rotation_averaged_cam(model, images)
    for index in range(2):
        probability, alone = rotation_averaged_cam(model, images[index : index + 1])
        torch.testing.assert_close(alone[0], maps[index], atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(probability[0], probabilities[index], atol=1e-5, rtol=1e-4)


class OwnMaps:
    """A weak model that makes its maps itself, and knows no CAM method."""

    def eval(self):
        return self

    def predict(self, images):
        return WeakPrediction(images.mean(dim=(1, 2, 3))[:, None], images[:, :1])


def test_a_weak_model_may_make_its_maps_itself():
    images = noise(2, 4)
    probabilities, maps = rotation_averaged_cam(OwnMaps(), images, cam="")
    # Its maps turn with the image, so that the average is the map itself.
    torch.testing.assert_close(maps, scale_to_maximum(images[:, 0]))
    torch.testing.assert_close(probabilities, images.mean(dim=(1, 2, 3)).sigmoid())
    with pytest.raises(EpsamError, match="OwnMaps makes its maps itself; leave both out"):
        rotation_averaged_cam(OwnMaps(), images, cam="gradcam")
