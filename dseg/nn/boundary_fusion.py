"""Fusions of PIDNet's three branches (Xu et al., CVPR 2023, sections 3.2 and 3.4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dseg.nn.conv import conv_norm_act, norm_relu_conv
from dseg.nn.fuse import resize_like


class PixelAttention(nn.Module):
    """Mix a fine map with a coarse one, at each position by how well they agree there.

    The pixel-attention-guided fusion module, Pag (section 3.2): the weight of the
    coarse map is the sigmoid of the dot product of both embeddings.

    Args:
        channels: channels of both maps.
        mid: channels of the embeddings.
    """

    def __init__(self, channels: int, mid: int):
        super().__init__()
        self.fine = conv_norm_act(channels, mid, 1)
        self.coarse = conv_norm_act(channels, mid, 1)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Map (N, channels, h, w) and a coarse map of any size to (N, channels, h, w)."""
        embedded = resize_like(self.coarse(coarse), fine, False)
        weight = torch.sigmoid((self.fine(fine) * embedded).sum(1, keepdim=True))
        return (1 - weight) * fine + weight * resize_like(coarse, fine, False)


class BoundaryFusion(nn.Module):
    """Mix detail and context by a boundary map, then norm, ReLU and a 3x3.

    The boundary-attention-guided fusion module, Bag (section 3.4): detail where the
    sigmoid of the boundary map is 1, context where it is 0.

    Args:
        channels: channels of all three maps and of the output.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.smooth = norm_relu_conv(channels, channels, 3)

    def forward(self, detail: Tensor, context: Tensor, boundary: Tensor) -> Tensor:
        """Map three maps (N, channels, h, w) to the same shape."""
        weight = torch.sigmoid(boundary)
        out: Tensor = self.smooth(weight * detail + (1 - weight) * context)
        return out


class LightBoundaryFusion(nn.Module):
    """The same with two 1x1 in place of the 3x3, Light-Bag (section 3.4).

    One reads detail and the context away from boundaries, the other context and the detail near
    them; their results are summed.

    Args:
        channels: channels of all three maps and of the output.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.detail = conv_norm_act(channels, channels, 1)
        self.context = conv_norm_act(channels, channels, 1)

    def forward(self, detail: Tensor, context: Tensor, boundary: Tensor) -> Tensor:
        """Map three maps (N, channels, h, w) to the same shape."""
        weight = torch.sigmoid(boundary)
        added: Tensor = self.detail((1 - weight) * context + detail)
        out: Tensor = added + self.context(context + weight * detail)
        return out
