"""Resize maps to another map's size, and fuse them with a channel gate."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dseg.nn.conv import conv_norm_act
from dseg.nn.gates import channel_gate


def resize_like(x: Tensor, like: Tensor, align_corners: bool | None = None) -> Tensor:
    """Resize (N, C, h, w) to the height and width of another map.

    Args:
        align_corners: as in bilinear ``F.interpolate``; None for nearest-neighbour interpolation.
    """
    mode = "nearest" if align_corners is None else "bilinear"
    return F.interpolate(x, like.shape[-2:], mode=mode, align_corners=align_corners)


class FeatureFusion(nn.Module):
    """Concatenate maps, reduce them by a 1x1 convolution, and weight its channels by a gate.

    The feature fusion module of BiSeNet (Yu et al., ECCV 2018): ``x + x * gate(x)``.

    Args:
        in_channels: channels of all maps together.
        out_channels: channels of the 1x1 convolution, with norm and ReLU.
        gate_mid: see ``channel_gate``.
    """

    def __init__(self, in_channels: int, out_channels: int, gate_mid: int = 0):
        super().__init__()
        self.reduce = conv_norm_act(in_channels, out_channels, 1, act=nn.ReLU(inplace=True))
        self.gate = channel_gate(out_channels, gate_mid)

    def forward(self, *maps: Tensor) -> Tensor:
        """Fuse maps of equal size into (N, out_channels, h, w)."""
        x = self.reduce(torch.cat(maps, 1))
        out: Tensor = x + x * self.gate(x)
        return out
