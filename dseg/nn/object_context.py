"""Object context pooling (Yuan et al., arXiv 1809.00916): alone, in pyramids, and with ASPP.

Self-attention between the positions of a map approximates the context of each position's object.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dseg.nn.attention import attend
from dseg.nn.conv import conv_norm_act, rectifier
from dseg.nn.fuse import resize_like

SLOPE = 0.01  # negative slope of the activations in the release's head


class ObjectContext(nn.Module):
    """Self-attention in each region of a grid, with one map for queries and keys.

    ``softmax(k^T k / sqrt(key_channels))`` over the region's positions, applied to the values.
    The norm reads the whole map, not each region.

    Args:
        channels: channels of input and output.
        value_channels: channels of the values; the keys have half of ``channels``.
        grid: number of rows and of columns of regions. Sizes are rounded down; the last region
            takes the remainder. A map with fewer rows than the grid has one region per row, which
            is ours: the release cannot read such maps.
        pool: side of the max pooling before attention, upsampled afterwards with align_corners.
        slope: negative slope of the activations; see ``rectifier``.
    """

    def __init__(
        self,
        channels: int,
        value_channels: int,
        grid: int = 1,
        *,
        pool: int = 1,
        slope: float = SLOPE,
    ):
        super().__init__()
        self.grid, self.pool = grid, pool
        self.scale = (channels // 2) ** -0.5
        self.key = conv_norm_act(channels, channels // 2, 1, bias=True, act=rectifier(slope))
        self.value = nn.Conv2d(channels, value_channels, 1)
        self.out = nn.Conv2d(value_channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, h, w) to the same shape; h and w are at least ``pool``."""
        pooled = F.max_pool2d(x, self.pool) if self.pool > 1 else x
        key, value = self.key(pooled), self.value(pooled)
        height, width = pooled.shape[-2:]
        rows = []
        for top, bottom in _spans(height, self.grid):
            regions = [
                self._attend(key[..., top:bottom, left:right], value[..., top:bottom, left:right])
                for left, right in _spans(width, self.grid)
            ]
            rows.append(torch.cat(regions, 3))
        context: Tensor = self.out(torch.cat(rows, 2))
        return resize_like(context, x, True) if self.pool > 1 else context

    def _attend(self, key: Tensor, value: Tensor) -> Tensor:
        flat = key.flatten(2)
        return attend(flat, flat, value.flatten(2), self.scale).reshape(value.shape)


class ObjectPyramid(nn.Module):
    """Object contexts of a map in one or several grids, reduced by a 1x1 convolution.

    The paper's Base-OC with one grid, Pyramid-OC with several.

    Args:
        channels: channels of input and output.
        value_channels: see ``ObjectContext``.
        grids: grid of each context.
        pool: see ``ObjectContext``.
        slope: negative slope of all activations; see ``rectifier``.
        beside: also concatenate the map itself, after the contexts.
        widened: channels of a 1x1 convolution of the map, with norm and activation, concatenated
            in front of the contexts; 0 for none.
        dropout: probability of dropping whole maps of the output.
    """

    def __init__(
        self,
        channels: int,
        value_channels: int,
        grids: Sequence[int] = (1,),
        *,
        pool: int = 1,
        slope: float = SLOPE,
        beside: bool = False,
        widened: int = 0,
        dropout: float = 0.05,
    ):
        super().__init__()
        self.beside = beside
        self.widen: nn.Module | None = None
        if widened:
            self.widen = conv_norm_act(channels, widened, 1, bias=True, act=rectifier(slope))
        for grid in grids:
            context = ObjectContext(channels, value_channels, grid, pool=pool, slope=slope)
            self.add_module(f"grid{grid}", context)
        joined = widened + channels * (len(grids) + beside)
        self.project = conv_norm_act(joined, channels, 1, bias=True, act=rectifier(slope))
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, h, w) to the same shape."""
        maps = [] if self.widen is None else [self.widen(x)]
        maps += [part(x) for part in self.children() if isinstance(part, ObjectContext)]
        joined = torch.cat([*maps, x] if self.beside else maps, 1)
        out: Tensor = self.dropout(self.project(joined))
        return out


class ObjectAtrousPyramid(nn.Module):
    """Object context of a reduced, pooled map, and atrous convolutions: the paper's ASP-OC.

    It is DeepLabV3's pyramid with object context in place of the global mean.

    Args:
        in_channels: channels of the feature.
        channels: channels of each branch.
        out_channels: channels of the 1x1 convolution that reduces the branches.
        rates: dilations of the branches after the object context, in this order; rate 1 is a 1x1
            convolution, the others are 3x3.
        slope: negative slope of all activations; see ``rectifier``.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        out_channels: int,
        rates: Sequence[int] = (1, 12, 24, 36),
        *,
        slope: float = SLOPE,
    ):
        super().__init__()
        self.reduce = conv_norm_act(in_channels, channels, 3, bias=True, act=rectifier(slope))
        # the dropout of the release's context is unknown; none here, since the result has dropout
        self.attend = ObjectPyramid(channels, channels, pool=2, slope=slope, dropout=0.0)
        self.rates = tuple(rates)
        for rate in self.rates:
            kernel, act = (1 if rate == 1 else 3), rectifier(slope)
            branch = conv_norm_act(in_channels, channels, kernel, dilation=rate, act=act)
            self.add_module(f"rate{rate}", branch)
        joined = channels * (len(self.rates) + 1)
        self.project = conv_norm_act(joined, out_channels, 1, act=rectifier(slope))
        self.dropout = nn.Dropout2d(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, out_channels, h, w); h and w are at least 2."""
        branches = [self.get_submodule(f"rate{rate}")(x) for rate in self.rates]
        joined = torch.cat([self.attend(self.reduce(x)), *branches], 1)
        out: Tensor = self.dropout(self.project(joined))
        return out


def start_closed(network: nn.Module) -> None:
    """Set ``out`` of every object context to zero, so that it has no effect at first.

    Args:
        network: network with initialised convolutions.
    """
    for module in network.modules():
        if isinstance(module, ObjectContext):
            for parameter in module.out.parameters():
                nn.init.zeros_(parameter)


def _spans(size: int, parts: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of each part; the last part takes the remainder."""
    step = max(1, size // parts)
    parts = min(parts, size)
    for index in range(parts):
        yield index * step, size if index == parts - 1 else (index + 1) * step
