"""The explicit visual prompt: what is left of a patch without its low frequencies (paper 3.2.1, Eq.
2; EVP).
"""

import math
from typing import Literal

import torch
from torch import Tensor

FrequencyBlock = Literal["ratio", "center2x2"]


def high_frequency(images: Tensor, ratio: float = 0.25, block: FrequencyBlock = "ratio") -> Tensor:
    """High-frequency magnitude (B, 1, H, W), float32, of RGB images (B, 3, H, W) in [0, 1].

    Each channel loses a square of its spectrum around frequency 0; the absolute values of what is
    left are averaged over the channels. Always in float32, whatever autocast says: half precision
    cannot hold the spectrum of a patch.

    ratio: the square's share of the spectrum; its half-width is int(sqrt(H·W·ratio) / 2), so
    frequency 0 always goes. block: "ratio", or "center2x2" for the frequencies -1 and 0 only, as
    checkpoints of the published code expect
        (methods D9: that square is not symmetric, so the inverse has an imaginary part, which is
        left out).
    """
    height, width = images.shape[-2:]
    half_width = int(math.sqrt(height * width * ratio) / 2)
    lowest, highest = (-1, 0) if block == "center2x2" else (-half_width, half_width)
    removed = torch.outer(_between(height, lowest, highest), _between(width, lowest, highest)).to(
        images.device
    )
    with torch.autocast(device_type=images.device.type, enabled=False):
        spectrum = torch.fft.fft2(images.float(), dim=(-2, -1))
        remainder: Tensor = torch.fft.ifft2(spectrum.masked_fill(removed, 0), dim=(-2, -1)).real
        return remainder.abs().mean(dim=1, keepdim=True)


def _between(length: int, lowest: int, highest: int) -> Tensor:
    """Which of the `length` frequencies of an axis, in the order of torch.fft, lie in [lowest,
    highest]; bool.
    """
    frequencies: Tensor = torch.fft.fftfreq(length, d=1 / length).round()
    return (frequencies >= lowest) & (frequencies <= highest)
