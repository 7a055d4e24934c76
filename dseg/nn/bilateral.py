"""Blocks of the two branches of BiSeNetV2 (Yu et al., IJCV 2021)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from dseg.nn.conv import conv_norm_act
from dseg.nn.fuse import resize_like

EXPANSION = 6  # factor of the channels in a gather-and-expansion layer


class GatherExpansion(nn.Module):
    """A 3x3, a depth-wise 3x3 to six times the channels, and a 1x1 back.

    With stride, two depth-wise 3x3 convolutions, and a shortcut that strides as well. The last
    norm starts at 0, so that the block starts as its shortcut.

    Args:
        in_channels, out_channels: equal where the stride is 1.
        stride: 1 or 2.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        wide = EXPANSION * in_channels
        self.gather = conv_norm_act(in_channels, in_channels, 3, act=nn.ReLU(inplace=True))
        self.shortcut: nn.Module = nn.Identity()
        if stride == 1:
            self.expand = nn.Sequential(_depthwise(in_channels, wide, act=nn.ReLU(inplace=True)))
        else:
            self.expand = nn.Sequential(
                _depthwise(in_channels, wide, stride=stride),
                _depthwise(wide, wide, act=nn.ReLU(inplace=True)),
            )
            self.shortcut = nn.Sequential(
                _depthwise(in_channels, in_channels, stride=stride),
                conv_norm_act(in_channels, out_channels, 1),
            )
        self.project = conv_norm_act(wide, out_channels, 1)
        nn.init.zeros_(self.project.get_parameter("norm.weight"))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, out_channels, h/stride, w/stride), rounded up."""
        y = self.project(self.expand(self.gather(x)))
        return F.relu(y + self.shortcut(x))


class ContextEmbedding(nn.Module):
    """The mean of the whole map, projected and added at every position.

    Args:
        channels: channels of input and output.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.mean = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.BatchNorm2d(channels),
            conv_norm_act(channels, channels, 1, act=nn.ReLU(inplace=True)),
        )
        self.smooth = conv_norm_act(channels, channels, 3, act=nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, h, w) to the same shape."""
        out: Tensor = self.smooth(x + self.mean(x))
        return out


class GuidedAggregation(nn.Module):
    """Each branch gates the other one at that one's size, and the results are summed.

    Args:
        channels: channels of both branches and of the output.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.detail_fine = _separable(channels)
        self.detail_coarse = nn.Sequential(
            conv_norm_act(channels, channels, 3, stride=2), nn.AvgPool2d(3, stride=2, padding=1)
        )
        self.semantic_fine = conv_norm_act(channels, channels, 3)
        self.semantic_coarse = _separable(channels)
        self.smooth = conv_norm_act(channels, channels, 3, act=nn.ReLU(inplace=True))

    def forward(self, detail: Tensor, semantic: Tensor) -> Tensor:
        """Map (N, channels, h, w) and (N, channels, h/4, w/4) to (N, channels, h, w)."""
        gate = resize_like(self.semantic_fine(semantic).sigmoid(), detail)
        fine = self.detail_fine(detail) * gate
        coarse = self.detail_coarse(detail) * self.semantic_coarse(semantic).sigmoid()
        out: Tensor = self.smooth(fine + resize_like(coarse, fine))
        return out


def _depthwise(
    in_channels: int, out_channels: int, *, stride: int = 1, act: nn.Module | None = None
) -> nn.Sequential:
    return conv_norm_act(in_channels, out_channels, 3, stride=stride, groups=in_channels, act=act)


def _separable(channels: int) -> nn.Sequential:
    return nn.Sequential(
        _depthwise(channels, channels), nn.Conv2d(channels, channels, 1, bias=False)
    )
