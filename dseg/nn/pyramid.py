"""Densely connected atrous pyramid (Yang et al., CVPR 2018, section 3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Branch = Callable[[int, int], nn.Module]  # (channels read, atrous rate) -> branch


class DenseAtrousPyramid(nn.Module):
    """Atrous branches of growing rate, each of which reads the feature and all branches before it.

    Eq. 2 of the paper: ``y_l = H_{K, d_l}([y_{l-1}, ..., y_0])``. The newest output is
    concatenated in front, as in the authors' release.

    Args:
        in_channels: channels of the feature.
        rates: dilation of each branch, ascending.
        branch: builds the branch that reads so many channels at that rate.
        growth: channels that every branch adds.
    """

    def __init__(self, in_channels: int, rates: Sequence[int], branch: Branch, growth: int):
        super().__init__()
        channels = in_channels
        for rate in rates:
            self.add_module(f"rate{rate}", branch(channels, rate))
            channels += growth
        self.out_channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, out_channels, h, w)."""
        for branch in self.children():
            x = torch.cat([branch(x), x], dim=1)
        return x


class PreNormBranch(nn.Module):
    """Norm, ReLU, 1x1, norm, ReLU, atrous 3x3: the order of DenseNet's layers.

    Args:
        leading_norm: False for the pyramid's first branch, whose input the caller has activated.
        momentum: of the running statistics; the authors' 0.0003 keeps them nearly still.
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
        if self.norm1 is not None:
            x = self.norm1(x).relu_()
        x = self.norm2(self.conv1(x)).relu_()
        out: Tensor = self.dropout(self.conv2(x))
        return out


class PostNormBranch(nn.Module):
    """1x1, norm, ReLU, atrous 3x3, norm, ReLU: the usual order, the feature is read as it is."""

    def __init__(self, in_channels: int, mid: int, growth: int, rate: int, *, dropout: float = 0.1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, mid, 1)
        self.norm1 = nn.BatchNorm2d(mid)
        self.conv2 = nn.Conv2d(mid, growth, 3, padding=rate, dilation=rate)
        self.norm2 = nn.BatchNorm2d(growth)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, growth, h, w)."""
        x = self.norm1(self.conv1(x)).relu_()
        out: Tensor = self.dropout(self.norm2(self.conv2(x)).relu_())
        return out
