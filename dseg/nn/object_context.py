"""Object context pooling (Yuan et al., arXiv 1809.00916): alone, in pyramids, beside atrous rates.

Self-attention among the positions of a map stands in for each position's object.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dseg.nn.attention import attend
from dseg.nn.conv import conv_norm_act, rectifier
from dseg.nn.fuse import resize_like

SLOPE = 0.01  # of the release's activations in the head


class ObjectContext(nn.Module):
    """Self-attention within each region of a grid, whose queries are the keys.

    ``softmax(k^T k / sqrt(key_channels))`` over the region's positions, applied to the values.
    The norm sees the whole map, not each region.

    Args:
        channels: in and out.
        value_channels: of the values; the keys have half of ``channels``.
        grid: rows, and columns, of regions; each is as large as the whole map's share rounded
            down, the last one takes the rest. A map with fewer rows than the grid has one region a
            row, which is ours: the release cannot read it.
        pool: side of the max pooling before it, whose result is upsampled with align_corners.
        slope: of ``rectifier``.
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
        """Map (N, channels, h, w) to the same; h and w are ``pool`` at least."""
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
    """Object contexts of one map in one grid or in several, joined by a 1x1 convolution.

    The paper's Base-OC with one grid, Pyramid-OC with several.

    Args:
        channels: in and out.
        value_channels: of ``ObjectContext``.
        grids: one context each.
        pool: of ``ObjectContext``.
        slope: of ``rectifier``, in all parts.
        beside: join the map itself too, after the contexts.
        widened: channels of the map that is joined in front of the contexts, by a 1x1 convolution,
            norm and activation; 0 for none.
        dropout: probability, of whole maps, at the end.
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
        """Map (N, channels, h, w) to the same."""
        maps = [] if self.widen is None else [self.widen(x)]
        maps += [part(x) for part in self.children() if isinstance(part, ObjectContext)]
        joined = torch.cat([*maps, x] if self.beside else maps, 1)
        out: Tensor = self.dropout(self.project(joined))
        return out


class ObjectAtrousPyramid(nn.Module):
    """Object context of a reduced, pooled map, beside atrous convolutions: the paper's ASP-OC.

    DeepLabV3's pyramid with object context in place of the image's mean.

    Args:
        in_channels: of the feature.
        channels: of each branch.
        out_channels: of the 1x1 convolution that joins them.
        rates: of the branches after the object context, in this order; 1 is a 1x1 convolution,
            the others are 3x3.
        slope: of ``rectifier``, in all parts.
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
        # of the dropout within nothing is known; none, as the whole is dropped from at the end
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
        """Map (N, in_channels, h, w) to (N, out_channels, h, w); h and w are 2 at least."""
        branches = [self.get_submodule(f"rate{rate}")(x) for rate in self.rates]
        joined = torch.cat([self.attend(self.reduce(x)), *branches], 1)
        out: Tensor = self.dropout(self.project(joined))
        return out


def start_closed(network: nn.Module) -> None:
    """Set ``out`` of every object context to zero, as the release starts: there is none at first.

    Args:
        network: its convolutions have got their weights.
    """
    for module in network.modules():
        if isinstance(module, ObjectContext):
            for parameter in module.out.parameters():
                nn.init.zeros_(parameter)


def _spans(size: int, parts: int) -> Iterator[tuple[int, int]]:
    """Yield the first and the following index of each part; the last part takes the rest."""
    step = max(1, size // parts)
    parts = min(parts, size)
    for index in range(parts):
        yield index * step, size if index == parts - 1 else (index + 1) * step
