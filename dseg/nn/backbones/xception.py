"""Xception-A, the light Xception of DFANet (Li et al., CVPR 2019), and its modules.

Xception (Chollet, CVPR 2017) is a chain of residual blocks of separable convolutions; here a block
is a bottleneck with a quarter of its channels, and channel attention follows the last block.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dseg.nn.backbones.base import Backbone
from dseg.nn.conv import conv_norm_act

# (channels, blocks) of enc2, enc3 and enc4
STAGES = ((48, 4), (96, 6), (192, 4))
ATTENTION = 1000  # features of the fully connected layer


class XceptionBlock(nn.Module):
    """Three times ReLU, separable 3x3 and norm, added to the input, without a last ReLU.

    Args:
        in_channels, out_channels: channels of the block; a quarter of ``out_channels`` within.
        stride: stride of the last 3x3 and of the shortcut, a 1x1 convolution if the shape
            changes.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        mid = out_channels // 4
        self.branch = nn.Sequential(
            _separable(in_channels, mid, 1, inplace=False),  # the shortcut also reads the input
            _separable(mid, mid, 1),
            _separable(mid, out_channels, stride),
        )
        self.stride = stride
        self.shortcut: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.shortcut = conv_norm_act(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, out_channels, h / stride, w / stride), rounded up.

        The shortcut strides by slicing: on the CPU, the backward pass of a strided 1x1 convolution
        of fewer than 16 channels in channels_last crashes oneDNN (torch 2.14).
        """
        shortcut = x if self.stride == 1 else x[..., :: self.stride, :: self.stride]
        if self.shortcut is not None:
            shortcut = self.shortcut(shortcut)
        out: Tensor = self.branch(x) + shortcut
        return out


class SqueezeAttention(nn.Module):
    """The fully connected attention of DFANet: ``x * f(mean(x))`` by channel.

    ``f`` is a linear layer to 1000 features, as many as ImageNet has classes, then a 1x1
    convolution back, norm and ReLU. The factors have no upper bound. In training the norm
    reads one value per image and channel, so that a batch needs at least two images.

    Args:
        channels: channels of the map.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.fc = nn.Linear(channels, ATTENTION)
        self.project = conv_norm_act(ATTENTION, channels, 1, act=nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to the same shape."""
        features = self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))
        out: Tensor = x * self.project(features[..., None, None])
        return out


class XceptionEncoder(nn.Module):
    """The three stages ``enc2``, ``enc3`` and ``enc4``, each of stride 2, and the attention.

    Args:
        in_channels: channels of the input.
        beside: channels to concatenate in front of the second and the third stage's input.
    """

    def __init__(self, in_channels: int, beside: tuple[int, int] = (0, 0)):
        super().__init__()
        second, third, fourth = STAGES
        self.enc2 = _stage(in_channels, *second)
        self.enc3 = _stage(beside[0] + second[0], *third)
        self.enc4 = _stage(beside[1] + third[0], *fourth)
        self.attention = SqueezeAttention(fourth[0])
        self.out_channels = fourth[0]

    def forward(self, x: Tensor, beside: Sequence[Tensor] = ()) -> list[Tensor]:
        """Return the three stages' maps, the last after attention: (N, 48, h/2, w/2) and so on.

        Args:
            x: (N, in_channels, h, w).
            beside: maps to concatenate in front of the second and the third stage's input.
        """
        second = self.enc2(x)
        third = self.enc3(torch.cat([*beside[:1], second], 1))
        fourth = self.enc4(torch.cat([*beside[1:], third], 1))
        return [second, third, fourth, self.attention(fourth)]


class XceptionA(Backbone):
    """A 3x3 of stride 2 to 8 channels, the three stages, the attention; stride 16."""

    KEY_MAP = (
        (r"^(backbone\.)?fc\.", None),  # the ImageNet classifier, never read
        (r"(fca(_\d)?)\.conv\.0\.", r"\1.project.conv."),
        (r"(fca(_\d)?)\.conv\.1\.", r"\1.project.norm."),
        (r"^(backbone\.)?conv1\.0\.", r"\1stem.conv."),
        (r"^(backbone\.)?conv1\.1\.", r"\1stem.norm."),
        (r"^(backbone\.)?(enc\d)\.", r"\1encoder.\2."),
        (r"^(backbone\.)?fca\.", r"\1encoder.attention."),
        (r"\.block\.(\d+)\.", r".\1."),
        (r"\.skip\.", ".shortcut.conv."),
        (r"\.skipbn\.", ".shortcut.norm."),
        (r"\.rep\.1\.", ".branch.0."),
        (r"\.rep\.2\.", ".branch.0.norm."),
        (r"\.rep\.4\.", ".branch.1."),
        (r"\.rep\.5\.", ".branch.1.norm."),
        (r"\.rep\.7\.", ".branch.2."),
        (r"\.rep\.8\.", ".branch.2.norm."),
        (r"(\.branch\.\d)\.conv1\.", r"\1.depthwise."),
        (r"(\.branch\.\d)\.bn\.", r"\1.inner."),
    )

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_norm_act(3, 8, 3, stride=2, act=nn.ReLU(inplace=True))
        self.encoder = XceptionEncoder(8)
        self.out_channels = self.encoder.out_channels

    def maps(self, image: Tensor) -> list[Tensor]:
        """Return ``enc2``, ``enc3``, ``enc4`` and the attention's map, at 1/4, 1/8, 1/16, 1/16.

        Args:
            image: (N, 3, H, W); a side of n becomes ceil(n / 2) at every stride.
        """
        maps: list[Tensor] = self.encoder(self.stem(image))
        return maps

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, 3, H, W) to (N, 192, H / 16, W / 16), after the attention."""
        return self.maps(image)[-1]


def _stage(in_channels: int, channels: int, blocks: int) -> nn.Sequential:
    rest = (XceptionBlock(channels, channels, 1) for _ in range(blocks - 1))
    return nn.Sequential(XceptionBlock(in_channels, channels, 2), *rest)


def _separable(
    in_channels: int, out_channels: int, stride: int, *, inplace: bool = True
) -> nn.Sequential:
    """Build ReLU, depthwise 3x3, norm, pointwise 1x1, norm."""
    depthwise = nn.Conv2d(
        in_channels, in_channels, 3, stride, padding=1, groups=in_channels, bias=False
    )
    return nn.Sequential(
        OrderedDict(
            act=nn.ReLU(inplace=inplace),
            depthwise=depthwise,
            inner=nn.BatchNorm2d(in_channels),
            pointwise=nn.Conv2d(in_channels, out_channels, 1, bias=False),
            norm=nn.BatchNorm2d(out_channels),
        )
    )
