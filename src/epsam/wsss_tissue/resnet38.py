"""ResNet38-D: the wide, dilated ResNet of Wu et al. (2019) as weakly supervised segmentation has
it since AffinityNet. State-dict keys are those of its converted ImageNet weights.
"""

from torch import Tensor, nn
from torch.nn import functional as F


class WideBlock(nn.Module):
    """Two 3 × 3 convolutions, each after batch norm and ReLU, beside a shortcut."""

    def __init__(
        self,
        inputs: int,
        middle: int,
        outputs: int,
        stride: int = 1,
        dilations: tuple[int, int] = (1, 1),
    ) -> None:
        """dilations: of the first and of the second convolution."""
        super().__init__()
        first, second = dilations
        self.bn_branch2a = nn.BatchNorm2d(inputs)
        self.conv_branch2a = nn.Conv2d(
            inputs, middle, 3, stride, padding=first, dilation=first, bias=False
        )
        self.bn_branch2b1 = nn.BatchNorm2d(middle)
        self.conv_branch2b1 = nn.Conv2d(
            middle, outputs, 3, padding=second, dilation=second, bias=False
        )
        self.conv_branch1 = _shortcut(inputs, outputs, stride)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, outputs, h, w)."""
        branch = F.relu(self.bn_branch2a(features))
        # A shortcut that changes the shape starts behind the first batch norm.
        shortcut = features if self.conv_branch1 is None else self.conv_branch1(branch)
        branch = F.relu(self.bn_branch2b1(self.conv_branch2a(branch)))
        result: Tensor = shortcut + self.conv_branch2b1(branch)
        return result


class BottleneckBlock(nn.Module):
    """A dilated 3 × 3 convolution between two of 1 × 1, with dropout of whole channels."""

    def __init__(self, inputs: int, outputs: int, dilation: int, dropout: float) -> None:
        super().__init__()
        quarter, half = outputs // 4, outputs // 2
        self.bn_branch2a = nn.BatchNorm2d(inputs)
        self.conv_branch2a = nn.Conv2d(inputs, quarter, 1, bias=False)
        self.bn_branch2b1 = nn.BatchNorm2d(quarter)
        self.dropout_2b1 = nn.Dropout2d(dropout)
        self.conv_branch2b1 = nn.Conv2d(
            quarter, half, 3, padding=dilation, dilation=dilation, bias=False
        )
        self.bn_branch2b2 = nn.BatchNorm2d(half)
        self.dropout_2b2 = nn.Dropout2d(dropout)
        self.conv_branch2b2 = nn.Conv2d(half, outputs, 1, bias=False)
        self.conv_branch1 = _shortcut(inputs, outputs, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, outputs, h, w)."""
        branch = F.relu(self.bn_branch2a(features))
        shortcut = features if self.conv_branch1 is None else self.conv_branch1(branch)
        branch = self.dropout_2b1(F.relu(self.bn_branch2b1(self.conv_branch2a(branch))))
        branch = self.dropout_2b2(F.relu(self.bn_branch2b2(self.conv_branch2b1(branch))))
        result: Tensor = shortcut + self.conv_branch2b2(branch)
        return result


class ResNet38(nn.Module):
    """The trunk; its batch norm and its first blocks stay as they are in training.

    channels: of the features of blocks b4_5 and b5_2 and of bn7.
    """

    channels = (512, 1024, 4096)

    def __init__(self) -> None:
        """The weights are random."""
        super().__init__()
        self.conv1a = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.b2 = WideBlock(64, 128, 128, stride=2)
        self.b2_1 = WideBlock(128, 128, 128)
        self.b2_2 = WideBlock(128, 128, 128)
        self.b3 = WideBlock(128, 256, 256, stride=2)
        self.b3_1 = WideBlock(256, 256, 256)
        self.b3_2 = WideBlock(256, 256, 256)
        self.b4 = WideBlock(256, 512, 512, stride=2)
        self.b4_1 = WideBlock(512, 512, 512)
        self.b4_2 = WideBlock(512, 512, 512)
        self.b4_3 = WideBlock(512, 512, 512)
        self.b4_4 = WideBlock(512, 512, 512)
        self.b4_5 = WideBlock(512, 512, 512)
        self.b5 = WideBlock(512, 512, 1024, dilations=(1, 2))
        self.b5_1 = WideBlock(1024, 512, 1024, dilations=(2, 2))
        self.b5_2 = WideBlock(1024, 512, 1024, dilations=(2, 2))
        self.b6 = BottleneckBlock(1024, 2048, dilation=4, dropout=0.3)
        self.b7 = BottleneckBlock(2048, 4096, dilation=4, dropout=0.5)
        self.bn7 = nn.BatchNorm2d(4096)
        self._freeze()

    def forward(self, images: Tensor) -> list[Tensor]:
        """The features of b4_5, b5_2 and bn7, (B, C, h, w) each, of images (B, 3, H, W) in 0..1."""
        features = self.conv1a(images)
        for block in (self.b2, self.b2_1, self.b2_2, self.b3, self.b3_1, self.b3_2):
            features = block(features)
        for block in (self.b4, self.b4_1, self.b4_2, self.b4_3, self.b4_4, self.b4_5):
            features = block(features)
        fourth = features
        fifth = self.b5_2(self.b5_1(self.b5(fourth)))
        seventh = F.relu(self.bn7(self.b7(self.b6(fifth))))
        return [fourth, fifth, seventh]

    def train(self, mode: bool = True) -> "ResNet38":
        """Set the mode of all but batch norm, which keeps the statistics of its weights' file."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def _freeze(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.requires_grad_(False)
        for frozen in (self.conv1a, self.b2, self.b2_1, self.b2_2):
            frozen.requires_grad_(False)


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Conv2d | None:
    """A 1 × 1 convolution where the shape changes; None where it does not."""
    if inputs == outputs and stride == 1:
        return None
    return nn.Conv2d(inputs, outputs, 1, stride, bias=False)
