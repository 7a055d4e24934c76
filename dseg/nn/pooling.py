"""Pyramid pooling (Zhao et al., CVPR 2017, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dseg.nn.conv import conv_norm_act

SIZES = (1, 2, 3, 6)  # of the paper's four levels


class PoolingPyramid(nn.Module):
    """The feature beside its averages over ever finer grids.

    Every level is average pooling, 1x1 convolution, norm and, unless told otherwise, ReLU,
    upsampled to the feature's size with align_corners. What reduces the concatenation again is the
    caller's. A level of one cell has one value a channel: training needs batches of two and more.

    Args:
        in_channels: of the feature.
        channels: of each level; a quarter of ``in_channels`` in the paper.
        sizes: rows, and columns, of the grid of each level.
        relu: False leaves out the activation, as some releases do.
        input_last: concatenate the feature after the levels, not in front of them.

    Attributes:
        out_channels: of the concatenation.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        sizes: Sequence[int] = SIZES,
        *,
        relu: bool = True,
        input_last: bool = False,
    ):
        super().__init__()
        self.sizes = tuple(sizes)
        self.input_last = input_last
        self.out_channels = in_channels + channels * len(self.sizes)
        for size in self.sizes:
            act = nn.ReLU(inplace=True) if relu else None
            self.add_module(f"size{size}", conv_norm_act(in_channels, channels, 1, act=act))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, out_channels, h, w), levels in the order of sizes."""
        maps = [] if self.input_last else [x]
        for size, level in zip(self.sizes, self.children(), strict=True):
            maps.append(resize_to(level(F.adaptive_avg_pool2d(x, size)), x))
        return torch.cat([*maps, x] if self.input_last else maps, 1)


def resize_to(x: Tensor, like: Tensor) -> Tensor:
    """Resize (N, C, h, w) bilinearly, with align_corners, to the height and width of another."""
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=True)
