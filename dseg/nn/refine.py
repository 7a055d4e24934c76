"""Blocks of RefineNet (Lin et al., CVPR 2017, section 3.2), all without norms."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F

from dseg.nn.fuse import resize_like


class ResidualConvUnit(nn.Module):
    """ReLU, 3x3, ReLU, 3x3, added to the input: a block of ResNet without norms.

    Only the first convolution has a bias, as in the release.

    Args:
        channels: channels of input and output.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = conv3x3(channels, channels, bias=True)
        self.conv2 = conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, h, w) to the same shape."""
        out: Tensor = x + self.conv2(self.conv1(x.relu()).relu_())
        return out


class ChainedResidualPooling(nn.Module):
    """ReLU, then a chain of 5x5 max pooling and 3x3 convolution; all results are added.

    Pooling has stride 1, so that link n of the chain reads a window of 6 * n - 1 pixels.

    Args:
        channels: channels of input and output.
        links: number of links in the chain; the release has four.
    """

    def __init__(self, channels: int, links: int = 4):
        super().__init__()
        for number in range(1, links + 1):
            self.add_module(f"conv{number}", conv3x3(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, h, w) to the same shape."""
        total = link = x.relu()
        for conv in self.children():
            link = conv(F.max_pool2d(link, 5, stride=1, padding=2))
            total = total + link
        return total


class RefineBlock(nn.Module):
    """Adapt the backbone's map, add the coarser block's result, pool in a chain, refine, project.

    The 3x3 convolutions before either map is added are the paper's multi-resolution fusion; here,
    as in the release, the coarser block has its own, ``project``.

    Args:
        in_channels: channels of the backbone's map.
        channels: channels of the block.
        out_channels: channels of the next block, to which the result is projected; None for the
            last block, whose result is (N, channels, h, w).
        joins: whether a coarser map is added.
    """

    def __init__(
        self, in_channels: int, channels: int, out_channels: int | None, *, joins: bool = True
    ):
        super().__init__()
        self.reduce = conv3x3(in_channels, channels)
        self.adapt = residual_conv_units(channels, 2)
        self.join = conv3x3(channels, channels) if joins else None
        self.pool = ChainedResidualPooling(channels)
        self.refine = residual_conv_units(channels, 3)
        self.project = conv3x3(channels, out_channels) if out_channels else None

    def forward(self, x: Tensor, coarse: Tensor | None = None) -> Tensor:
        """Map (N, in_channels, h, w) to (N, out_channels, h, w).

        Args:
            coarse: (N, channels, .., ..), the coarser block's result, if ``joins``.
        """
        x = self.adapt(self.reduce(x))
        if self.join is not None and coarse is not None:
            x = self.join(x)
            x = x + resize_like(coarse, x, True)
        x = self.refine(self.pool(x))
        return x if self.project is None else self.project(x)


def residual_conv_units(channels: int, count: int) -> nn.Sequential:
    """Build a sequence of residual convolution units, named ``unit1``, ``unit2`` and so on."""
    return nn.Sequential(
        OrderedDict((f"unit{n + 1}", ResidualConvUnit(channels)) for n in range(count))
    )


def conv3x3(in_channels: int, out_channels: int, *, bias: bool = False) -> nn.Conv2d:
    """Build a 3x3 convolution that keeps the size."""
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=bias)
