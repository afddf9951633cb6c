from types import SimpleNamespace

import numpy as np
import pytest
import torch
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide
from torch.nn import functional as F

from epsam.segment.sam.frames import SamFrame


def test_far_corner_of_a_512_patch_is_the_far_corner_of_sams_1024_frame():
    points = SamFrame(512, 1024).to_sam_points(np.array([[512, 512], [0, 0], [100, 3]], np.float32))
    assert points.tolist() == [[1024, 1024], [0, 0], [200, 6]]


@pytest.mark.parametrize(("patch", "sam"), [(512, 1024), (256, 256), (512, 256)])
def test_points_go_where_the_packages_own_transform_puts_them(patch, sam):
    points = np.array([[0, 0], [17, 200], [255, 31]], np.float32)
    expected = ResizeLongestSide(sam).apply_coords(points, (patch, patch))
    assert np.allclose(SamFrame(patch, sam).to_sam_points(points), expected)


def test_a_marked_pixel_and_its_point_land_on_the_same_place():
    patch = np.zeros((64, 64, 3), np.uint8)
    patch[40, 10] = 255
    frame = SamFrame(64, 128)
    brightest = int(frame.to_sam_image(patch)[0].argmax())
    row, column = divmod(brightest, 128)
    x, y = frame.to_sam_points(np.array([[10, 40]], np.float32))[0]
    assert abs(column - x) <= 1
    assert abs(row - y) <= 1


def test_image_is_normalised_with_sams_mean_and_deviation():
    white = np.full((8, 8, 3), 255, np.uint8)
    first_pixel = SamFrame(8, 16).to_sam_image(white)[:, 0, 0]
    expected = [(255 - 123.675) / 58.395, (255 - 116.28) / 57.12, (255 - 103.53) / 57.375]
    assert first_pixel.tolist() == pytest.approx(expected, abs=1e-5)


def test_image_of_another_size_is_refused():
    with pytest.raises(ValueError, match="16 px expected"):
        SamFrame(16, 32).to_sam_image(np.zeros((8, 8, 3), np.uint8))


def test_constant_logits_stay_constant_on_their_way_to_the_patch():
    masks = SamFrame(512, 1024).to_patch_logits(torch.full((2, 256, 256), 1.5))
    assert masks.shape == (2, 512, 512)
    assert torch.allclose(masks, torch.tensor(1.5))


@pytest.mark.parametrize("patch", [5, 16, 40])
def test_masks_return_to_the_patch_by_way_of_sams_frame_as_in_the_package(patch):
    low_res = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(0))
    sam = SimpleNamespace(image_encoder=SimpleNamespace(img_size=16))
    expected = Sam.postprocess_masks(sam, low_res[:, None], (16, 16), (patch, patch))[:, 0]
    assert torch.equal(SamFrame(patch, 16).to_patch_logits(low_res), expected)
    if patch != 16:
        # The direct way gives other logits.
        size = (patch, patch)
        direct = F.interpolate(low_res[:, None], size, mode="bilinear", align_corners=False)[:, 0]
        assert float((direct - expected).abs().max()) > 0.02


def test_minmax_pixels_lie_in_0_to_1_by_each_images_own_lowest_and_highest_value():
    """By hand: values 50, 100 and 250 are 0, 50 / 200 and 1; all channels share one range."""
    frame = SamFrame(2, 2, "minmax")
    patch = np.full((2, 2, 3), 100, np.uint8)
    patch[0, 0, 0], patch[1, 1, 2] = 50, 250
    scaled = frame.to_sam_image(patch)
    assert scaled[0].tolist() == [[0, 0.25], [0.25, 0.25]]
    assert scaled[2].tolist() == [[0.25, 0.25], [0.25, 1]]
    assert not frame.to_sam_image(np.full((2, 2, 3), 9, np.uint8)).any()
