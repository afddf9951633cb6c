"""3 × 3 convolutions with a quarter of the multiplications: Winograd's minimal filtering F(4×4,
3×3).

After Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016), section 4.3,
whose matrices stand below. For CPUs, where PyTorch has no such way; on a GPU cuDNN has its own.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STEP = 4
"""Side of the square of results that one tile gives, px; the tile itself is two px wider."""

_TILE = STEP + 2
_INPUT = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_KERNEL = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
_OUTPUT = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))


class WinogradConv(nn.Module):
    """What a 3 × 3 convolution of stride 1 and padding 1 computes, up to some 1e-5 of its largest
    result in fp32.

    Takes and gives (B, C, H, W) in channels-last order, of any height and width.
    """

    kernel: Tensor
    bias: Tensor
    to_tile: Tensor
    from_tile: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        weight = conv.weight.detach()
        outputs, inputs = weight.shape[:2]
        # Put in order before it grows fourfold: the other way round takes up to ten times as long.
        squares = weight.double().cpu().permute(2, 3, 1, 0).reshape(9, inputs * outputs)
        self.register_buffer(
            "kernel", (_on_squares(_KERNEL) @ squares).view(-1, inputs, outputs).to(weight)
        )
        self.register_buffer(
            "bias",
            torch.zeros_like(weight[:, 0, 0, 0]) if conv.bias is None else conv.bias.detach(),
        )
        self.register_buffer("to_tile", _on_squares(_INPUT).to(weight))
        self.register_buffer("from_tile", _on_squares(_OUTPUT).to(weight))

    def forward(self, images: Tensor) -> Tensor:
        """The convolution's result (B, K, H, W) of images (B, C, H, W)."""
        count, channels, height, width = images.shape
        down, across = -(-height // STEP), -(-width // STEP)
        padded = F.pad(images, (1, across * STEP - width + 1, 1, down * STEP - height + 1)).permute(
            0, 2, 3, 1
        )
        # Each of a tile's 36 px, of all tiles: every fourth px from it on.
        pixels = [
            padded[
                :, row : row + STEP * down - 3 : STEP, column : column + STEP * across - 3 : STEP
            ]
            for row in range(_TILE)
            for column in range(_TILE)
        ]
        tiles = self.to_tile @ torch.stack(pixels).view(_TILE**2, -1)
        products = torch.bmm(tiles.view(_TILE**2, -1, channels), self.kernel)
        squares = (self.from_tile @ products.view(_TILE**2, -1)).view(
            STEP, STEP, count, down, across, -1
        ) + self.bias
        whole = squares.permute(2, 3, 0, 4, 1, 5).reshape(count, STEP * down, STEP * across, -1)
        return whole.permute(0, 3, 1, 2)[:, :, :height, :width]


def fits(conv: nn.Conv2d) -> bool:
    """Whether a WinogradConv can take the place of this convolution."""
    form = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups)
    return form == ((3, 3), (1, 1), (1, 1), (1, 1), 1) and conv.padding_mode == "zeros"


def _on_squares(matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    """What transforms the rows and the columns of a square by `matrix`, for squares as vectors."""
    rows = torch.tensor(matrix, dtype=torch.float64)
    return torch.kron(rows, rows)
