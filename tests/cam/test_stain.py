"""Stain regression, against plain NumPy and by hand."""

import dataclasses

import numpy as np
import pytest
import torch

from epsam.cam.protocol import FittedRefiner, StagedRefiner
from epsam.cam.refiner import build_refiner
from epsam.cam.stain import LATTICE, blur, fit_stain_weights, stain_densities_and_textures
from epsam.cam.stain import stain_densities as densities_of
from epsam.config.masks import MaskRule
from epsam.core.errors import EpsamError

DARK_GREEN = (0.0, 1.0, 0.0) + (0.0,) * 6
"""Weights that look at green's density alone, without a blur."""
FITTED = MaskRule(refine="stain", stain_weights=DARK_GREEN)


N_DENSITIES = 9


def example_images(count=2, side=96, seed=0):
    """Smooth noise, so that neighbouring cells are alike."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, side // 8, side // 8, generator=rng)
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)


def zero_logits_and(maps):
    return lambda images: (torch.zeros(len(images)), maps[: len(images)])


def test_dark_pixels_are_dense_and_a_patch_has_mean_0_and_deviation_1():
    image = torch.ones(1, 3, 128, 128)
    image[:, 1, :, 64:] = 0.2
    densities = densities_of(image)
    assert densities.shape == (1, 9, LATTICE, LATTICE)
    green = densities[0, 1]
    # Half of the cells are dense: one deviation above the mean, and the others one below.
    assert green[:, :32].allclose(torch.tensor(-1.0), atol=1e-4)
    assert green[:, 32:].allclose(torch.tensor(1.0), atol=1e-4)
    assert densities[0, 4].mean().abs() < 1e-5
    assert densities[0, 4].std(unbiased=False).item() == pytest.approx(1, abs=1e-4)


def test_channels_without_any_change_are_0():
    assert densities_of(torch.full((1, 3, 64, 64), 0.4)).abs().max() < 1e-3


def striped_image():
    """Left, green has stripes of a pixel; right, it is flat with about the stripes' mean density.

    The density of a value v of 255 is −log((v + 8) / 263): its mean over 4 and 1 − … is no round
    number, so the flat side is computed.
    """
    dark, light = 0.2, 0.8
    image = torch.ones(1, 3, 128, 128)
    image[:, 1, :, 0:64:2] = dark
    image[:, 1, :, 1:64:2] = light
    mean = (density(dark) + density(light)) / 2
    image[:, 1, :, 64:] = (263 * np.exp(-mean) - 8) / 255
    return image


def density(value):
    return -np.log((255 * value + 8) / 263)


def test_texture_tells_stripes_from_a_flat_region_of_the_same_density():
    known = stain_densities_and_textures(striped_image())
    assert known.shape == (1, 18, LATTICE, LATTICE)
    # The density is the same everywhere; rounding is not scaled up to a deviation of 1.
    assert known[0, 1].abs().max() < 1e-2
    texture = known[0, 10]
    assert texture[:, :32].allclose(torch.tensor(1.0), atol=1e-3)
    assert texture[:, 32:].allclose(torch.tensor(-1.0), atol=1e-3)


def test_texture_is_the_standard_deviation_of_the_pixels_under_a_blur():
    image = example_images(1, side=64)
    # A cell is a pixel here: without a blur it does not vary.
    unblurred = stain_densities_and_textures(image)[:, 9:12]
    assert unblurred.abs().max() < 0.05
    pixels = -torch.log((image * 255 + 8) / 263)
    variance = blur(pixels.square(), 1) - blur(pixels, 1).square()
    deviation = variance.sqrt()
    centred = deviation - deviation.mean(dim=(2, 3), keepdim=True)
    expected = centred / centred.std(dim=(2, 3), keepdim=True, unbiased=False)
    blurred = stain_densities_and_textures(image)[:, 12:15]
    np.testing.assert_allclose(blurred.numpy(), expected.numpy(), atol=2e-3)


def test_with_texture_the_first_numbers_are_the_densities():
    images = example_images(2)
    assert torch.equal(stain_densities_and_textures(images)[:, :9], densities_of(images))


def test_each_row_of_the_table_has_weights_of_its_own_number():
    rule = MaskRule(refine="stain_texture")
    maps = torch.rand(2, 7, 7, generator=torch.Generator().manual_seed(6))
    fitted = build_refiner(rule).fit([(example_images(2), maps)])
    assert len(fitted["stain_weights"]) == 18
    refined = build_refiner(dataclasses.replace(rule, **fitted)).improve(example_images(2), maps)
    assert refined.shape == (2, LATTICE, LATTICE)
    unfit = dataclasses.replace(rule, stain_weights=DARK_GREEN)
    with pytest.raises(EpsamError, match="--refine stain_texture: 9 weights where 18 are needed"):
        build_refiner(unfit).improve(example_images(2), maps)


def test_a_blur_is_the_mean_by_a_gaussian_with_mirrored_borders():
    cells = torch.rand(1, 1, 12, 10, generator=torch.Generator().manual_seed(1))
    weights = {offset: np.exp(-(offset**2) / (2 * 1.5**2)) for offset in range(-5, 6)}
    expected = np.zeros((12, 10))
    for row in range(12):
        for column in range(10):
            total = 0.0
            for down, down_weight in weights.items():
                for right, right_weight in weights.items():
                    y, x = mirror(row + down, 12), mirror(column + right, 10)
                    expected[row, column] += down_weight * right_weight * float(cells[0, 0, y, x])
                    total += down_weight * right_weight
            expected[row, column] /= total
    np.testing.assert_allclose(blur(cells, 1.5)[0, 0].numpy(), expected, atol=1e-6)


def mirror(index, length):
    """An index beyond an end, mirrored at the last cell."""
    index = abs(index)
    return index if index < length else 2 * (length - 1) - index


def test_weights_are_those_of_a_ridge_regression_on_maps_without_their_means():
    images = example_images(3)
    maps = torch.rand(3, LATTICE, LATTICE, generator=torch.Generator().manual_seed(2))
    ridge = 0.5
    batches = [(images[:2], maps[:2]), (images[2:], maps[2:])]
    weights = fit_stain_weights(batches, ridge, densities_of)

    # The same as least squares with a row for each weight that pulls it to 0.
    features = densities_of(images).permute(0, 2, 3, 1).reshape(-1, N_DENSITIES).double().numpy()
    centred = (maps - maps.mean(dim=(1, 2), keepdim=True)).reshape(-1).double().numpy()
    pull = np.sqrt(ridge * len(features)) * np.eye(N_DENSITIES)
    expected, *_ = np.linalg.lstsq(
        np.vstack([features, pull]), np.concatenate([centred, np.zeros(N_DENSITIES)]), rcond=None
    )
    np.testing.assert_allclose(weights, expected, rtol=1e-4, atol=1e-7)


def test_how_high_a_map_is_as_a_whole_does_not_count():
    images = example_images(2)
    maps = torch.rand(2, 7, 7, generator=torch.Generator().manual_seed(3))
    lower = maps * 0.5 + torch.tensor([0.0, 0.4])[:, None, None]
    np.testing.assert_allclose(
        fit_stain_weights([(images, lower)], 1.0, densities_of),
        np.array(fit_stain_weights([(images, maps)], 1.0, densities_of)) / 2,
        rtol=1e-4,
        atol=1e-8,
    )


def test_maps_that_lie_on_dense_stain_only_by_tendency_still_teach_it():
    # In each map, half of the cells are noise.
    images = example_images(6)
    truth = densities_of(images)[:, 1]
    rng = torch.Generator().manual_seed(4)
    noise = torch.randn(truth.shape, generator=rng)
    rule = MaskRule(refine="stain")
    refiner = build_refiner(rule)
    fitted = refiner.fit([(images, truth + 2 * noise)])
    refined = build_refiner(dataclasses.replace(rule, **fitted)).improve(images, truth.abs() + 1)
    for one, true in zip(refined, truth, strict=True):
        correlation = torch.corrcoef(torch.stack([one.flatten(), true.flatten()]))[0, 1]
        assert correlation > 0.8


def test_a_refined_map_runs_from_0_to_1_along_the_weighted_densities():
    images = example_images(1)
    refined = build_refiner(FITTED).improve(images, torch.ones(1, 4, 4))
    green = densities_of(images)[:, 1]
    assert refined.shape == (1, LATTICE, LATTICE)
    assert (refined.min(), refined.max()) == (0, 1)
    expected = (green - green.min()) / (green.max() - green.min())
    assert refined.allclose(expected, atol=1e-6)


def test_a_cam_of_zeros_stays_a_map_of_zeros():
    maps = torch.zeros(2, 4, 4)
    maps[1, 0, 0] = 0.1
    refined = build_refiner(FITTED).improve(example_images(2), maps)
    assert refined[0].max() == 0
    assert refined[1].max() == 1


def test_inference_refines_upright_maps_to_the_bits_of_training():
    images = example_images(2)
    maps = torch.rand(8, 4, 4, generator=torch.Generator().manual_seed(5))
    refiner = build_refiner(MaskRule(refine="stain", rotations=1, stain_weights=DARK_GREEN))
    predict = zero_logits_and(maps)
    probabilities, trained = refiner(predict, images)
    assert probabilities.tolist() == [0.5, 0.5]
    assert torch.equal(trained, refiner.refine(predict, images, maps[:2]))


def test_weights_are_fitted_before_maps_are_refined():
    unfitted = build_refiner(MaskRule(refine="stain"))
    assert isinstance(unfitted, FittedRefiner)
    assert isinstance(unfitted, StagedRefiner)
    assert not unfitted.is_fitted
    with pytest.raises(EpsamError, match="0 weights where 9 are needed"):
        unfitted.improve(example_images(1), torch.ones(1, 4, 4))
    with pytest.raises(EpsamError, match="no training patch with tumour to fit"):
        unfitted.fit([])
    assert build_refiner(FITTED).is_fitted


def test_it_starts_from_the_averages_over_rotations():
    rule = MaskRule(refine="stain", rotations=2, stain_ridge=3.0, stain_weights=DARK_GREEN)
    assert build_refiner(rule).base_rule == MaskRule(rotations=2)
