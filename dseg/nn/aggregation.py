"""Pyramids that add up pooled maps step by step: DAPPM (DDRNet) and PAPPM (PIDNet)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dseg.nn.conv import norm_relu_conv
from dseg.nn.fuse import resize_like

POOLS = ((5, 2), (9, 4), (17, 8))  # kernel and stride of the average poolings
SCALES = 2 + len(POOLS)  # with the map itself and its mean
# keys of both modules in DDRNet's and PIDNet's releases, named "spp", to ours, named "context"
RELEASE_KEYS = (
    (r"^spp\.scale0\.", "context.scales.0."),
    (r"^spp\.scale([1-4])\.1\.", r"context.scales.\1.norm."),
    (r"^spp\.scale([1-4])\.3\.", r"context.scales.\1.conv."),
    (r"^spp\.process1\.", "context.steps.0."),
    (r"^spp\.process2\.", "context.steps.1."),
    (r"^spp\.process3\.", "context.steps.2."),
    (r"^spp\.process4\.", "context.steps.3."),
    (r"^spp\.scale_process\.", "context.steps."),
    (r"^spp\.compression\.", "context.reduce."),
    (r"^spp\.shortcut\.", "context.shortcut."),
    (r"^(context\..*\.?)\b0\.(weight|bias|running_\w+|num_batches_tracked)$", r"\1norm.\2"),
    (r"^(context\..*\.?)\b2\.(weight)$", r"\1conv.\2"),
)


class AggregationPyramid(nn.Module):
    """Base class of both pyramids: a map at five scales, each with norm, ReLU and a 1x1.

    The scales are the map, its averages over windows of 5, 9 and 17 at strides of 2, 4 and 8, whose
    zero padding counts, and its mean; the mean has one value per channel, so that training needs
    batches of at least two.

    Args:
        in_channels: channels of the map.
        mid: channels of each scale.
        out_channels: channels of the result.
    """

    def __init__(self, in_channels: int, mid: int, out_channels: int):
        super().__init__()
        self.scales = nn.ModuleList(norm_relu_conv(in_channels, mid, 1) for _ in range(SCALES))
        self.reduce = norm_relu_conv(SCALES * mid, out_channels, 1)
        self.shortcut = norm_relu_conv(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, out_channels, h, w)."""
        pooled = [F.avg_pool2d(x, side, stride, side // 2) for side, stride in POOLS]
        pooled.append(F.adaptive_avg_pool2d(x, 1))
        first, *rest = self.scales
        finest = first(x)
        coarse = [scale(y) for scale, y in zip(rest, pooled, strict=True)]
        added = self.add_up(finest, [resize_like(y, x, False) for y in coarse])
        out: Tensor = self.reduce(torch.cat([finest, *added], 1)) + self.shortcut(x)
        return out

    def add_up(self, finest: Tensor, coarse: list[Tensor]) -> list[Tensor]:
        """Fuse the coarse scales, finest first, with the finest: (N, mid, h, w) each."""
        raise NotImplementedError


class DeepAggregation(AggregationPyramid):
    """Each scale is added to the result of the finer one before it, and convolved.

    The deep aggregation pyramid pooling module, DAPPM (Hong et al., arXiv 2101.06085, section 3.3,
    eq. 1).
    """

    def __init__(self, in_channels: int, mid: int, out_channels: int):
        super().__init__(in_channels, mid, out_channels)
        self.steps = nn.ModuleList(norm_relu_conv(mid, mid, 3) for _ in range(SCALES - 1))

    def add_up(self, finest: Tensor, coarse: list[Tensor]) -> list[Tensor]:
        """Return the sums after each 3x3 convolution."""
        sums = [finest]
        for step, y in zip(self.steps, coarse, strict=True):
            sums.append(step(y + sums[-1]))
        return sums[1:]


class ParallelAggregation(AggregationPyramid):
    """Each scale is added to the finest, and all sums are convolved at once, each by itself.

    The parallel aggregation pyramid pooling module, PAPPM (Xu et al., CVPR 2023, section 3.3).
    """

    def __init__(self, in_channels: int, mid: int, out_channels: int):
        super().__init__(in_channels, mid, out_channels)
        groups = SCALES - 1
        self.steps = norm_relu_conv(groups * mid, groups * mid, 3, groups=groups)

    def add_up(self, finest: Tensor, coarse: list[Tensor]) -> list[Tensor]:
        """Return one map of (N, 4 * mid, h, w): the sums after the grouped 3x3 convolution."""
        return [self.steps(torch.cat([y + finest for y in coarse], 1))]
