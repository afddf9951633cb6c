"""The explicit visual prompt against NumPy's own transform and against waves of a single
frequency.
"""

import numpy as np
import pytest
import torch

from epsam.weak.frequency import extract_high_frequencies


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def remove_by_numpy(image, rows, columns):
    """The complex remainder (3, H, W) of an image without these offsets from frequency 0 in the
    shifted spectrum.
    """
    remainders = []
    for channel in image.double().numpy():
        spectrum = np.fft.fftshift(np.fft.fft2(channel))
        row0, column0 = channel.shape[0] // 2, channel.shape[1] // 2
        spectrum[
            row0 + rows[0] : row0 + rows[1] + 1, column0 + columns[0] : column0 + columns[1] + 1
        ] = 0
        remainders.append(np.fft.ifft2(np.fft.ifftshift(spectrum)))
    return np.stack(remainders)


def wave(side, cycles):
    """A horizontal cosine of `cycles` periods around 0.5, amplitude 0.25, as (1, 3, side, side)."""
    row = 0.5 + 0.25 * torch.cos(2 * torch.pi * cycles * torch.arange(side) / side)
    return row.expand(1, 3, side, side).contiguous()


@pytest.mark.parametrize(
    ("height", "width", "ratio", "half"),
    [
        (32, 32, 0.25, 8),  # sqrt(1024 · 0.25) / 2 = 8
        (32, 32, 0.1, 5),  # sqrt(102.4) / 2 = 5.06
        (24, 40, 0.25, 7),  # sqrt(240) / 2 = 7.75
        (33, 33, 0.25, 8),  # sqrt(272.25) / 2 = 8.25
    ],
)
def test_removes_the_square_around_frequency_0_and_averages_magnitudes(height, width, ratio, half):
    images = noise(1, 3, height, width)
    expected = remove_by_numpy(images[0], (-half, half), (-half, half))
    # The square is symmetric: taking the real part loses nothing.
    assert np.abs(expected.imag).max() < 1e-12
    prompt = extract_high_frequencies(images, ratio)
    assert prompt.shape == (1, 1, height, width)
    assert prompt.dtype == torch.float32
    np.testing.assert_allclose(prompt[0, 0], np.abs(expected).mean(axis=0), atol=1e-6)


def test_published_block_removes_frequencies_minus_1_and_0_and_takes_the_real_part():
    images = noise(1, 3, 16, 16)
    expected = remove_by_numpy(images[0], (-1, 0), (-1, 0))
    assert np.abs(expected.imag).max() > 1e-3  # the asymmetry that the published code hides
    prompt = extract_high_frequencies(images, block="center2x2")
    np.testing.assert_allclose(prompt[0, 0], np.abs(expected.real).mean(axis=0), atol=1e-6)


def test_flat_image_has_no_high_frequency():
    assert extract_high_frequencies(torch.full((1, 3, 16, 16), 0.7)).abs().max() < 1e-6


def test_wave_inside_the_square_goes_and_wave_outside_stays():
    # 32 px at ratio 0.25: frequencies up to 8 go.
    assert extract_high_frequencies(wave(32, 8)).max() < 1e-6
    remainder = extract_high_frequencies(wave(32, 9))[0, 0]
    torch.testing.assert_close(remainder, (wave(32, 9)[0, 0] - 0.5).abs(), atol=1e-6, rtol=0)


def test_mirrored_and_rotated_images_give_mirrored_and_rotated_prompts():
    images = noise(1, 3, 32, 32)
    prompt = extract_high_frequencies(images)
    torch.testing.assert_close(
        extract_high_frequencies(images.flip(-1)), prompt.flip(-1), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(
        extract_high_frequencies(images.rot90(1, (-2, -1))),
        prompt.rot90(1, (-2, -1)),
        atol=1e-6,
        rtol=0,
    )


def test_image_in_a_batch_gives_what_it_gives_alone():
    images = noise(3, 3, 24, 24)
    together = extract_high_frequencies(images)
    for index in range(3):
        alone = extract_high_frequencies(images[index : index + 1])
        torch.testing.assert_close(together[index : index + 1], alone, atol=1e-7, rtol=0)


def test_float32_under_autocast_and_for_half_precision_input():
    images = noise(1, 3, 16, 16)
    expected = extract_high_frequencies(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(extract_high_frequencies(images), expected)
    half = extract_high_frequencies(images.bfloat16())
    assert half.dtype == torch.float32
    assert torch.equal(half, extract_high_frequencies(images.bfloat16().float()))
