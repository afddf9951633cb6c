"""The explicit visual prompt (EVP): a patch without its low frequencies (paper 3.2.1, Eq. 2)."""

import math
from typing import Literal

import torch
from torch import Tensor

FrequencyBlock = Literal["ratio", "center2x2"]


def extract_high_frequencies(
    images: Tensor, ratio: float = 0.25, block: FrequencyBlock = "ratio"
) -> Tensor:
    """Magnitude (B, 1, H, W), float32, of the high frequencies of RGB images (B, 3, H, W) in 0..1.

    A square of each channel's spectrum around frequency 0 is removed; the absolute values of the
    inverse transform are averaged over the channels.

    ratio: the square's fraction of the spectrum. Its half-width is int(sqrt(H·W·ratio) / 2), so
    frequency 0 always goes. block: "ratio", or "center2x2" for the frequencies -1 and 0 only, as
    checkpoints of the published code expect (docs/deviations.md, "Frequency mask").
    """
    removed = select_low_frequencies(images.shape[-2], images.shape[-1], ratio, block)
    return remove_frequencies(images, removed.to(images.device))


def select_low_frequencies(
    height: int, width: int, ratio: float = 0.25, block: FrequencyBlock = "ratio"
) -> Tensor:
    """The frequencies that `extract_high_frequencies` removes, bool (height, width), in the order
    of torch.fft.
    """
    half_width = int(math.sqrt(height * width * ratio) / 2)
    lowest, highest = -half_width, half_width
    if block == "center2x2":
        lowest, highest = -1, 0
    rows = _is_frequency_between(height, lowest, highest)
    columns = _is_frequency_between(width, lowest, highest)
    return torch.outer(rows, columns)


def remove_frequencies(images: Tensor, removed: Tensor) -> Tensor:
    """Magnitude (B, 1, H, W) of RGB images (B, 3, H, W) without the frequencies `removed`, bool
    (H, W).
    """
    # Always in float32, also under autocast: half precision cannot hold the spectrum of a patch.
    with torch.autocast(device_type=images.device.type, enabled=False):
        spectrum = torch.fft.fft2(images.float(), dim=(-2, -1))
        # The square of "center2x2" is not symmetric, so its inverse has an imaginary part; the
        # published code drops it as well.
        high_spectrum = spectrum.masked_fill(removed, 0)
        remainder: Tensor = torch.fft.ifft2(high_spectrum, dim=(-2, -1)).real
        return remainder.abs().mean(dim=1, keepdim=True)


def _is_frequency_between(length: int, lowest: int, highest: int) -> Tensor:
    """Whether each of the `length` frequencies of an axis, in the order of torch.fft, lies in
    [lowest, highest]; bool (length,).
    """
    frequencies: Tensor = torch.fft.fftfreq(length, d=1 / length).round()
    return (frequencies >= lowest) & (frequencies <= highest)
