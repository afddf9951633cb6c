"""The CAM methods against their papers' formulas, worked out cell by cell."""

import pytest
import torch

from epsam.cam.cam_methods import (
    class_activation_map,
    eigencam,
    gradcam,
    gradcam_plus_plus,
)
from epsam.cam.rotation import rotation_averaged_cam, scale_to_maximum
from epsam.config.classifier import NetworkOptions
from epsam.core.errors import EpsamError, TrainingError
from epsam.methods import CAM_METHODS
from epsam.weak.resnet import NetworkSpec, build_classifier

PLAIN = NetworkSpec("resnet18", adl_positions=(), evp_fuse="none", cam="gradcam")


def noise(count, side, seed=0):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def plain():
    torch.manual_seed(0)
    return build_classifier(PLAIN).eval()


class Linear:
    """features(images) are the images' channels; the logit is Σ_k w_k mean(F_k) + Σ_k v_k
    mean(F_k²).
    """

    def __init__(self, weights, squares):
        self.weights, self.squares = torch.tensor(weights), torch.tensor(squares)

    def features(self, images, block=""):
        return images

    def head(self, features, block=""):
        return (
            features.mean(dim=(2, 3)) @ self.weights + (features**2).mean(dim=(2, 3)) @ self.squares
        )

    def forward_features(self, images, block=""):
        return self.head(images), images


def test_gradcam_of_a_linear_head_is_the_cam_up_to_a_factor(plain):
    with torch.no_grad():
        images = noise(2, 64)
        logits, maps = gradcam(plain, images, "")
        expected_logits, expected = class_activation_map(plain, images, "")
    assert expected.max() > 0
    torch.testing.assert_close(logits, expected_logits)
    torch.testing.assert_close(maps * maps[0].numel(), expected, atol=1e-5, rtol=1e-4)


def test_gradcam_weights_a_channel_by_its_mean_gradient():
    images = noise(2, 3)
    model = Linear([1.0, -2.0, 0.5], [0.0, 3.0, 0.0])
    # d logit / d F_k at a cell is (w_k + 2 v_k F_k) / 9, so its mean over the cells is (w_k + 2 v_k
    # mean F_k) / 9.
    weights = (model.weights + 2 * model.squares * images.mean(dim=(2, 3))) / 9
    expected = (weights[:, :, None, None] * images).sum(dim=1).clamp(min=0)
    torch.testing.assert_close(gradcam(model, images, "")[1], expected)


def test_gradcam_plus_plus_is_the_papers_formula_with_exact_numbers():
    images = noise(1, 2).double().float()
    model = Linear([1.0, -2.0, 0.5], [0.5, 0.0, -0.6])
    expected = torch.zeros(2, 2, dtype=torch.float64)
    for channel in range(3):
        cells = images[0, channel].double()
        gradient = (model.weights[channel] + 2 * model.squares[channel] * cells) / 4
        alpha = gradient**2 / (2 * gradient**2 + cells.sum() * gradient**3)
        expected += (alpha * gradient.clamp(min=0)).sum() * cells
    torch.testing.assert_close(
        gradcam_plus_plus(model, images, "")[1][0], expected.float().clamp(min=0)
    )


def test_gradients_are_taken_for_each_image_alone_and_leave_none_behind(plain):
    images = noise(3, 64)
    for method in (gradcam, gradcam_plus_plus):
        together = method(plain, images, "4.0")[1]
        alone = torch.cat([method(plain, image[None], "4.0")[1] for image in images])
        assert not together.requires_grad
        torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-3)
    assert all(parameter.grad is None for parameter in plain.parameters())


def test_eigencam_is_the_first_principal_component_towards_the_mean_feature():
    images = noise(2, 4)
    _, maps = eigencam(Linear([1.0, 0.0, 0.0], [0.0] * 3), images, "")
    for image, cam_map in zip(images, maps, strict=True):
        cells = image.flatten(1).T.double()
        centred = cells - cells.mean(dim=0)
        axis = torch.linalg.svd(centred, full_matrices=False)[2][0]
        projection = centred @ axis
        if (projection * cells.mean(dim=1)).sum() < 0:
            projection = -projection
        torch.testing.assert_close(
            cam_map.flatten(), projection.clamp(min=0).float(), atol=1e-5, rtol=1e-4
        )


def test_eigencam_of_constant_features_is_empty():
    _, maps = eigencam(Linear([1.0, 0.0, 0.0], [0.0] * 3), torch.full((1, 3, 4, 4), 0.5), "")
    assert torch.equal(maps, torch.zeros(1, 4, 4))


@pytest.mark.parametrize("cam", CAM_METHODS)
def test_every_method_runs_on_the_network_that_is_built_for_it(cam):
    torch.manual_seed(1)
    model = build_classifier(NetworkSpec.of(NetworkOptions(cam=cam, backbone="resnet18")))
    images = noise(2, 64)
    probabilities, maps = rotation_averaged_cam(model, images, 4, cam)
    assert maps.shape == (2, 4, 4)
    assert probabilities.shape == (2,)
    torch.testing.assert_close(maps, scale_to_maximum(maps))
    assert maps.min() >= 0
    _, rotated_maps = rotation_averaged_cam(model, images.rot90(1, (-2, -1)), 4, cam)
    torch.testing.assert_close(rotated_maps, maps.rot90(1, (-2, -1)), atol=1e-3, rtol=1e-2)


def test_another_block_gives_its_own_map_and_the_same_decision(plain):
    images = noise(1, 64)
    with torch.no_grad():
        last_block = plain.forward_features(images)
        inner_block = plain.forward_features(images, "3.1")
    torch.testing.assert_close(last_block[0], inner_block[0])
    assert inner_block[1].shape == (1, 256, 4, 4)
    assert gradcam(plain, images, "2.0")[1].shape == (1, 8, 8)
    first_maps = rotation_averaged_cam(plain, images, 1, "gradcam", "4.0")[1]
    last_maps = rotation_averaged_cam(plain, images, 1, "gradcam", "")[1]
    assert not torch.equal(first_maps, last_maps)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("9.0", "block 9.0: no such block in resnet18; use some of 1.0,1.1"),
        ("3.1", "features of 256 channels"),
    ],
)
def test_an_impossible_block_is_one_clear_line(plain, block, message):
    with pytest.raises(TrainingError, match=message):
        rotation_averaged_cam(plain, noise(1, 32), 1, "adl", block)


def test_an_unknown_method_is_named():
    with pytest.raises(EpsamError, match="--cam layercam: not known here"):
        rotation_averaged_cam(None, noise(1, 32), 1, "layercam")
