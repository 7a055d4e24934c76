"""Blocks of DFN (Yu et al., CVPR 2018): residual refinement, channel attention, and stages."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dseg.nn.conv import conv_norm_act
from dseg.nn.fuse import resize_like


class RefinementResidualBlock(nn.Module):
    """A 1x1 convolution, then 3x3, norm, ReLU, 3x3 added to it, then ReLU (figure 2b).

    Args:
        in_channels: channels of the map.
        channels: channels of the 1x1 and of both 3x3 convolutions.
        relu: whether to apply the last ReLU; the release's heads have none.
    """

    def __init__(self, in_channels: int, channels: int, *, relu: bool = True):
        super().__init__()
        self.relu = relu
        self.project = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.branch = nn.Sequential(
            OrderedDict(
                inner=conv_norm_act(channels, channels, 3, act=nn.ReLU(inplace=True)),
                outer=nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, channels, h, w)."""
        x = self.project(x)
        x = x + self.branch(x)
        return x.relu_() if self.relu else x


class ChannelAttentionBlock(nn.Module):
    """Weight the channels of a fine map by the means of both maps, and add the coarse one.

    Figure 2c: ``fine * sigmoid(W2 relu(W1 mean([fine, coarse]) + b1) + b2) + coarse``.

    Args:
        channels: channels of each map.
        reduction: factor by which the hidden layer is narrower.
    """

    def __init__(self, channels: int, reduction: int = 1):
        super().__init__()
        mid = channels // reduction
        self.gate = nn.Sequential(
            OrderedDict(
                fc1=nn.Linear(2 * channels, mid),
                act=nn.ReLU(inplace=True),
                fc2=nn.Linear(mid, channels),
                sigmoid=nn.Sigmoid(),
            )
        )

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Map two (N, channels, h, w) maps to one."""
        means = torch.cat([fine, coarse], 1).mean((2, 3))
        out: Tensor = fine * self.gate(means)[:, :, None, None] + coarse
        return out


class SmoothStage(nn.Module):
    """A stage of the Smooth Network: refine, weight channels by the coarser stage, refine.

    Args:
        in_channels: channels of the backbone's map.
        channels: channels of the coarser stage's map and of the output.
    """

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.before = RefinementResidualBlock(in_channels, channels)
        self.attend = ChannelAttentionBlock(channels)
        self.after = RefinementResidualBlock(channels, channels)

    def forward(self, x: Tensor, coarse: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) and a coarse (N, channels, .., ..) to (N, channels, h, w)."""
        x = self.before(x)
        out: Tensor = self.after(self.attend(x, resize_like(coarse, x, True)))
        return out


class BorderStage(nn.Module):
    """A stage of the Border Network: refine, add to the sum of finer stages, refine the sum.

    Args:
        in_channels: channels of the backbone's map.
        channels: channels of the sum.
        first: True for the first stage, which has no sum to add to.
    """

    def __init__(self, in_channels: int, channels: int, *, first: bool = False):
        super().__init__()
        self.before = RefinementResidualBlock(in_channels, channels)
        self.after = None if first else RefinementResidualBlock(channels, channels)
        self.head = refined_head(channels, 1)

    def forward(self, x: Tensor, finer: Tensor | None = None) -> Tensor:
        """Map (N, in_channels, .., ..) to (N, channels, h, w), which ``head`` reads.

        Args:
            finer: (N, channels, h, w), the result of the stage before.
        """
        x = self.before(x)
        if finer is not None and self.after is not None:
            x = self.after(finer + resize_like(x, finer, True))
        return x


class AuxiliaryHeads(nn.Module):
    """Auxiliary heads: the earlier stages of the Smooth Network, and the Border Network.

    Args:
        in_channels: channels of the backbone's maps, finest first.
        smooth: channels of the Smooth Network.
        border: channels of the Border Network.
        num_classes: number of outputs of the Smooth Network.
    """

    def __init__(self, in_channels: Sequence[int], smooth: int, border: int, num_classes: int):
        super().__init__()
        self.smooth = nn.ModuleList(refined_head(smooth, num_classes) for _ in in_channels[1:])
        self.border = nn.ModuleList(
            BorderStage(channels, border, first=not index)
            for index, channels in enumerate(in_channels)
        )

    def forward(self, maps: Sequence[Tensor], stages: Sequence[Tensor]) -> list[Tensor]:
        """Return the logits of classes, (N, K, .., ..) each, then of borders, (N, 1, h, w).

        Args:
            maps: maps of the backbone, finest first, the first one (N, C, h, w).
            stages: results of the Smooth Network's stages, coarsest first, without the last.
        """
        scores = [head(x) for head, x in zip(self.smooth, stages, strict=True)]
        total = None
        for stage, feature in zip(self.border, maps, strict=True):
            total = stage(feature, total)
            scores.append(stage.get_submodule("head")(total))
        return scores


def refined_head(in_channels: int, num_classes: int) -> nn.Sequential:
    """Build ``refine``, a residual refinement to nine channels per class, and ``classifier``.

    The width is the release's.
    """
    return nn.Sequential(
        OrderedDict(
            refine=RefinementResidualBlock(in_channels, 9 * num_classes, relu=False),
            classifier=nn.Conv2d(9 * num_classes, num_classes, 1),
        )
    )
