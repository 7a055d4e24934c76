"""Flow alignment: warp a coarse map to a fine one (Li et al., ECCV 2020, section 3.2)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from dseg.nn.deterministic import grid_sample
from dseg.nn.fuse import resize_like
from dseg.nn.precision import to_float32

# keys of both modules in the authors' release, as "align." or "align.N.", to ours
ALIGN_KEYS = (
    (r"^(align\.(?:\d\.)?)down_h\.", r"\1reduce_coarse."),
    (r"^(align\.(?:\d\.)?)down_l\.", r"\1reduce_fine."),
    (r"^(align\.(?:\d\.)?)flow_make\.", r"\1flow."),
    (r"^(align\.(?:\d\.)?)flow_gate\.0\.", r"\1gate."),
)


def warp(x: Tensor, flow: Tensor) -> Tensor:
    """Sample a map at evenly spaced positions, from corner to corner, each moved by a flow.

    Positions are computed in float32 at least, since 16 bits cannot represent those of a large
    map; outside of the map it is zero.

    Args:
        x: (N, C, any, any).
        flow: (N, 2, H, W), columns and rows to the right and down. As in the authors' release, a
            flow of (W, H) moves by half the side of the map.

    Returns:
        (N, C, H, W), of the type of ``x``.
    """
    flow = to_float32(flow)
    height, width = flow.shape[-2:]
    column = _from_corner_to_corner(width, flow) + flow[:, 0] / width
    row = _from_corner_to_corner(height, flow)[:, None] + flow[:, 1] / height
    grid = torch.stack([column, row], -1)
    return grid_sample(x.to(grid.dtype), grid, align_corners=True).to(x.dtype)


def _from_corner_to_corner(count: int, like: Tensor) -> Tensor:
    """Return evenly spaced numbers from -1 to 1, or -1 alone, also while sizes are traced."""
    places = torch.arange(count, device=like.device, dtype=like.dtype)
    return 2 * places / places[-1:].clamp(min=1) - 1


class FlowAlignment(nn.Module):
    """Predict a flow from a coarse and a fine map, and warp the coarse one by it.

    The flow alignment module: both maps are reduced by a 1x1 convolution, the coarse one is
    upsampled, and a 3x3 convolution of both predicts the flow.

    Args:
        channels: channels of both maps.
        mid: channels of the reduced maps.
    """

    flows: ClassVar[int] = 1

    def __init__(self, channels: int, mid: int):
        super().__init__()
        self.reduce_coarse = nn.Conv2d(channels, mid, 1, bias=False)
        self.reduce_fine = nn.Conv2d(channels, mid, 1, bias=False)
        self.flow = nn.Conv2d(2 * mid, 2 * self.flows, 3, padding=1, bias=False)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """Map (N, channels, any, any) and (N, channels, h, w) to (N, channels, h, w)."""
        both = torch.cat([self.upsampled(coarse, fine), self.reduce_fine(fine)], 1)
        return warp(coarse, self.flow(both))

    def upsampled(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """Return the reduced coarse map at the size of the fine one, (N, mid, h, w)."""
        return resize_like(self.reduce_coarse(coarse), fine, True)


class GatedFlowAlignment(FlowAlignment):
    """Warp both maps, each by a flow of its own, and blend them by a gate.

    The gated dual flow alignment module of SFNet-Lite (Li et al., IJCV 2023): the gate of each
    position is a 3x3 convolution of the means and maxima over the channels of the reduced coarse
    map and of the fine map.
    """

    flows: ClassVar[int] = 2

    def __init__(self, channels: int, mid: int):
        super().__init__(channels, mid)
        self.gate = nn.Conv2d(4, 1, 3, padding=1, bias=False)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """Map (N, channels, any, any) and (N, channels, h, w) to (N, channels, h, w)."""
        reduced = self.upsampled(coarse, fine)
        of_coarse, of_fine = self.flow(torch.cat([reduced, self.reduce_fine(fine)], 1)).chunk(2, 1)
        means = [x.mean(1, keepdim=True) for x in (reduced, fine)]
        maxima = [x.amax(1, keepdim=True) for x in (reduced, fine)]
        gate = self.gate(torch.cat([*means, *maxima], 1)).sigmoid()
        out: Tensor = gate * warp(coarse, of_coarse) + (1 - gate) * warp(fine, of_fine)
        return out
