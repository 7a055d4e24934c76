"""Pyramid pooling (Zhao et al., CVPR 2017, section 3.2)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dseg.nn.conv import conv_norm_act
from dseg.nn.deterministic import adaptive_avg_pool2d
from dseg.nn.fuse import resize_like

SIZES = (1, 2, 3, 6)  # of the paper's four levels
# keys of Fast_Seg's and GALD's PSPNet module, renamed "context", to those of pooling_context
RELEASE_KEYS = (
    (r"^context\.stages\.0\.", "context.pyramid.size1."),
    (r"^context\.stages\.1\.", "context.pyramid.size2."),
    (r"^context\.stages\.2\.", "context.pyramid.size3."),
    (r"^context\.stages\.3\.", "context.pyramid.size6."),
    (r"^(context\.pyramid\.size\d)\.1\.", r"\1.conv."),
    (r"^(context\.pyramid\.size\d)\.2\.", r"\1.norm."),
    (r"^context\.bottleneck\.0\.", "context.reduce.conv."),
    (r"^context\.bottleneck\.1\.", "context.reduce.norm."),
)


class PoolingPyramid(nn.Module):
    """Concatenate a feature with its averages over increasingly fine grids.

    Every level is average pooling, 1x1 convolution, norm and by default ReLU, upsampled to the
    feature's size with align_corners. The caller reduces the concatenation. A level with one cell
    has one value per channel, so that training needs batches of at least two.

    Args:
        in_channels: channels of the feature.
        channels: channels of each level; a quarter of ``in_channels`` in the paper.
        sizes: number of rows and of columns of each level's grid.
        relu: whether levels have an activation; some releases have none.
        input_last: concatenate the feature after the levels, not in front of them.

    Attributes:
        out_channels: channels of the concatenation.
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
            maps.append(resize_like(level(adaptive_avg_pool2d(x, size)), x, True))
        return torch.cat([*maps, x] if self.input_last else maps, 1)


def pooling_context(
    pyramid: PoolingPyramid,
    out_channels: int,
    kernel: int,
    *,
    padding: int | None = None,
    dropout: float = 0.0,
) -> nn.Sequential:
    """Build a pooling pyramid, the convolution with norm and ReLU that reduces it, and dropout.

    Args:
        kernel, padding: kernel and padding of the convolution; by default it keeps the size.
        dropout: probability of dropping whole maps; 0 for no dropout.
    """
    act = nn.ReLU(inplace=True)
    parts: OrderedDict[str, nn.Module] = OrderedDict(
        pyramid=pyramid,
        reduce=conv_norm_act(pyramid.out_channels, out_channels, kernel, padding=padding, act=act),
    )
    if dropout:
        parts["dropout"] = nn.Dropout2d(dropout)
    return nn.Sequential(parts)
