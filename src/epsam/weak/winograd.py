"""3 × 3 convolutions with a quarter of the multiplications: Winograd's minimal filtering F(4×4,
3×3).

After Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016), section 4.3,
which gives the matrices below. For CPUs, where PyTorch has no such algorithm; on a GPU cuDNN
brings its own.
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
    """Computes a 3 × 3 convolution of stride 1 and padding 1.

    In fp32 the result differs by some 1e-5 of its largest value. Input and output are (B, C, H, W)
    in channels-last order, of any height and width.
    """

    kernel: Tensor
    bias: Tensor
    to_tile: Tensor
    from_tile: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        weight = conv.weight.detach()
        outputs, inputs = weight.shape[:2]
        # The axes are permuted before the kernel grows fourfold: permuting afterwards takes up to
        # ten times as long. Double precision keeps the sixths and twenty-fourths exact enough.
        squares = weight.double().cpu().permute(2, 3, 1, 0).reshape(9, inputs * outputs)
        kernel = (_for_flat_squares(_KERNEL) @ squares).view(-1, inputs, outputs).to(weight)
        bias = torch.zeros_like(weight[:, 0, 0, 0]) if conv.bias is None else conv.bias.detach()

        self.register_buffer("kernel", kernel)
        self.register_buffer("bias", bias)
        self.register_buffer("to_tile", _for_flat_squares(_INPUT).to(weight))
        self.register_buffer("from_tile", _for_flat_squares(_OUTPUT).to(weight))

    def forward(self, images: Tensor) -> Tensor:
        """The convolution's result (B, K, H, W) of images (B, C, H, W)."""
        count, channels, height, width = images.shape
        # Tiles overlap by two px: one for each side of the kernel.
        n_rows, n_columns = -(-height // STEP), -(-width // STEP)
        right = n_columns * STEP - width + 1
        bottom = n_rows * STEP - height + 1
        padded = F.pad(images, (1, right, 1, bottom)).permute(0, 2, 3, 1)

        # Pixel (row, column) of all tiles at once: every fourth pixel of the image from there on.
        pixels = []
        for row in range(_TILE):
            for column in range(_TILE):
                rows = slice(row, row + STEP * n_rows - 3, STEP)
                columns = slice(column, column + STEP * n_columns - 3, STEP)
                pixels.append(padded[:, rows, columns])

        # In the transformed tiles the convolution is one matrix product for each of 36 positions.
        tiles = self.to_tile @ torch.stack(pixels).view(_TILE**2, -1)
        products = torch.bmm(tiles.view(_TILE**2, -1, channels), self.kernel)
        squares = self.from_tile @ products.view(_TILE**2, -1)
        squares = squares.view(STEP, STEP, count, n_rows, n_columns, -1) + self.bias

        # Put the squares side by side and cut off the padding.
        result = squares.permute(2, 3, 0, 4, 1, 5)
        result = result.reshape(count, STEP * n_rows, STEP * n_columns, -1)
        return result.permute(0, 3, 1, 2)[:, :, :height, :width]


def is_winograd_compatible(conv: nn.Conv2d) -> bool:
    """Whether a WinogradConv can replace this convolution."""
    form = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups)
    return form == ((3, 3), (1, 1), (1, 1), (1, 1), 1) and conv.padding_mode == "zeros"


def _for_flat_squares(matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    """The matrix that applies `matrix` to both the rows and the columns of a flattened square."""
    rows = torch.tensor(matrix, dtype=torch.float64)
    return torch.kron(rows, rows)
