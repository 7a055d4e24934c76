"""Atrous pyramids: parallel (DeepLabV3) and densely connected (DenseASPP)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from dseg.nn.conv import conv_norm_act
from dseg.nn.dense import DenselyConnected, map_rows

# keys of DecoupleSegNets' and its predecessor's module, to those of ``context.pyramid``
ATROUS_KEYS = (
    (r"^aspp\.features\.0\.", "context.pyramid.rate1."),
    (r"^aspp\.features\.1\.", "context.pyramid.rate12."),
    (r"^aspp\.features\.2\.", "context.pyramid.rate24."),
    (r"^aspp\.features\.3\.", "context.pyramid.rate36."),
    (r"^aspp\.img_conv\.", "context.pyramid.pooled.1."),
    (r"^(context\.pyramid\.(?:rate\d+|pooled\.1))\.0\.", r"\1.conv."),
    (r"^(context\.pyramid\.(?:rate\d+|pooled\.1))\.1\.", r"\1.norm."),
)

Branch = Callable[[int, int], nn.Module]  # (input channels, atrous rate) -> branch


class AtrousPyramid(nn.Module):
    """A 1x1 convolution, 3x3 ones at several rates, and the global mean, concatenated.

    Atrous spatial pyramid pooling with image-level features (Chen et al., arXiv 1706.05587,
    section 3.3); each branch has norm and ReLU. The mean has one value per channel, so that
    training needs batches of at least two.

    Args:
        in_channels: channels of the feature.
        channels: channels of each branch.
        rates: dilations of the 3x3 convolutions; the paper's 6, 12, 18 at output stride 16, twice
            that at 8.
        pooled_first: concatenate the mean in front of the branches instead of after them.

    Attributes:
        out_channels: channels of the concatenation.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int = 256,
        rates: Sequence[int] = (12, 24, 36),
        *,
        pooled_first: bool = False,
    ):
        super().__init__()
        self.pooled_first = pooled_first
        self.out_channels = channels * (len(rates) + 2)
        self.rate1 = conv_norm_act(in_channels, channels, 1, act=nn.ReLU(inplace=True))
        for rate in rates:
            act = nn.ReLU(inplace=True)
            branch = conv_norm_act(in_channels, channels, 3, dilation=rate, act=act)
            self.add_module(f"rate{rate}", branch)
        self.pooled = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            conv_norm_act(in_channels, channels, 1, act=nn.ReLU(inplace=True)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, out_channels, h, w), rates in ascending order."""
        maps = [branch(x) for name, branch in self.named_children() if name != "pooled"]
        pooled = self.pooled(x).expand(-1, -1, *x.shape[-2:])
        return torch.cat([pooled, *maps] if self.pooled_first else [*maps, pooled], 1)


class DenseAtrousPyramid(DenselyConnected):
    """Atrous branches of growing rate; each reads the feature and all branches before it.

    Eq. 2 of the paper: ``y_l = H_{K, d_l}([y_{l-1}, ..., y_0])``. The newest output is
    concatenated in front, as in the authors' release.

    Args:
        in_channels: channels of the feature.
        rates: dilation of each branch, ascending.
        branch: function that builds a branch from its input channels and rate.
        growth: output channels of every branch.
    """

    newest_first: ClassVar[bool] = True

    def __init__(self, in_channels: int, rates: Sequence[int], branch: Branch, growth: int):
        super().__init__()
        self.in_channels = channels = in_channels
        for rate in rates:
            self.add_module(f"rate{rate}", branch(channels, rate))
            channels += growth
        self.out_channels = channels


class PreNormBranch(nn.Module):
    """Norm, ReLU, 1x1, norm, ReLU, atrous 3x3: the order of DenseNet's layers.

    Args:
        leading_norm: False for the pyramid's first branch, whose input is already activated.
        momentum: momentum of the running statistics; the authors' 0.0003 hardly changes them.
    """

    def __init__(
        self,
        in_channels: int,
        mid: int,
        growth: int,
        rate: int,
        *,
        leading_norm: bool = True,
        dropout: float = 0.1,
        momentum: float = 0.0003,
    ):
        super().__init__()
        norm1 = nn.BatchNorm2d(in_channels, momentum=momentum) if leading_norm else None
        self.norm1 = norm1
        self.conv1 = nn.Conv2d(in_channels, mid, 1)
        self.norm2 = nn.BatchNorm2d(mid, momentum=momentum)
        self.conv2 = nn.Conv2d(mid, growth, 3, padding=rate, dilation=rate)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, growth, h, w)."""
        x = self.norm2(map_rows(self._reduce, x)).relu_()
        out: Tensor = self.dropout(self.conv2(x))
        return out

    def _reduce(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv1(x if self.norm1 is None else self.norm1(x).relu_())
        return out


class PostNormBranch(nn.Module):
    """1x1, norm, ReLU, atrous 3x3, norm, ReLU: the usual order, without a norm of the input."""

    def __init__(self, in_channels: int, mid: int, growth: int, rate: int, *, dropout: float = 0.1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, mid, 1)
        self.norm1 = nn.BatchNorm2d(mid)
        self.conv2 = nn.Conv2d(mid, growth, 3, padding=rate, dilation=rate)
        self.norm2 = nn.BatchNorm2d(growth)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, growth, h, w)."""
        x = self.norm1(map_rows(self.conv1, x)).relu_()
        out: Tensor = self.dropout(self.norm2(self.conv2(x)).relu_())
        return out
