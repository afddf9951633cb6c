"""Stain augmentation, by hand."""

import math

import numpy as np
import pytest
import torch

from epsam.core.seeding import generator
from epsam.data.stain_jitter import (
    NO_JITTER,
    STAIN_DENSITIES,
    StainJitter,
    draw_stain_jitter,
    jitter_stains,
)


def image_of(amounts):
    """One pixel (1, 3, 1, 1) with these amounts of haematoxylin, eosin and residual."""
    densities = np.asarray(amounts) @ np.asarray(STAIN_DENSITIES)
    return torch.tensor(np.exp(-densities), dtype=torch.float32).view(1, 3, 1, 1)


def test_no_jitter_changes_nothing():
    image = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    image = image.clamp(min=1 / 255)
    torch.testing.assert_close(jitter_stains(image, [NO_JITTER] * 2), image, atol=1e-5, rtol=0)


def test_each_stain_is_scaled_and_shifted_alone():
    jitter = StainJitter(scale=(1.5, 1.0, 1.0), shift=(0.0, 0.1, 0.0))
    changed = jitter_stains(image_of([0.4, 0.3, 0.1]), [jitter])
    torch.testing.assert_close(changed, image_of([0.6, 0.4, 0.1]), atol=1e-5, rtol=0)


def test_twice_the_haematoxylin_squares_what_it_lets_through():
    # A pixel of haematoxylin alone lets through exp(−density) of each colour.
    changed = jitter_stains(image_of([1.0, 0.0, 0.0]), [StainJitter(scale=(2.0, 1.0, 1.0))])
    expected = [math.exp(-2 * density) for density in STAIN_DENSITIES[0]]
    assert changed.flatten().tolist() == pytest.approx(expected, abs=1e-5)


def test_images_of_a_batch_have_their_own_jitter():
    image = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    jitters = [NO_JITTER, StainJitter(scale=(0.7, 1.2, 1.0))]
    together = jitter_stains(image, jitters)
    for index, jitter in enumerate(jitters):
        alone = jitter_stains(image[index : index + 1], [jitter])
        torch.testing.assert_close(together[index : index + 1], alone)


def test_values_stay_within_0_and_1_and_black_stays_finite():
    image = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    changed = jitter_stains(image, [StainJitter(scale=(0.5, 0.5, 0.5), shift=(-0.5, -0.5, -0.5))])
    assert torch.isfinite(changed).all()
    assert float(changed.min()) >= 0.0
    assert float(changed.max()) <= 1.0


def test_half_precision_keeps_its_type():
    image = torch.full((1, 3, 2, 2), 0.5, dtype=torch.bfloat16)
    changed = jitter_stains(image, [NO_JITTER])
    assert changed.dtype == torch.bfloat16
    torch.testing.assert_close(changed, image)


def test_draws_fill_their_range_and_differ_from_stain_to_stain():
    jitters = [draw_stain_jitter(generator(5, i), 0.2) for i in range(300)]
    scales = np.array([jitter.scale for jitter in jitters])
    shifts = np.array([jitter.shift for jitter in jitters])
    assert 0.8 <= scales.min() < 0.82
    assert 1.18 < scales.max() <= 1.2
    assert -0.2 <= shifts.min() < -0.18
    assert 0.18 < shifts.max() <= 0.2
    # Independent draws: 300 of them correlate by less than four standard deviations.
    correlations = np.corrcoef(np.hstack([scales, shifts]).T) - np.eye(6)
    assert np.abs(correlations).max() < 4 / math.sqrt(300)


def test_strength_0_is_no_jitter():
    assert draw_stain_jitter(generator(6, 0), 0.0) == NO_JITTER
