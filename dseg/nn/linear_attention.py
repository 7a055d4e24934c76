"""Multi-scale linear attention (Cai et al., ICCV 2023, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dseg.nn.conv import conv_norm_act
from dseg.nn.precision import full_precision, to_float32

# Least sum of a position's weights. The release adds it, which is equal in float32 above 1e-7; but
# the ONNX exporter drops the addition of a number as small, and 0 / 0 is NaN.
EPS = 1e-15


class LinearAttention(nn.Module):
    """Attention over all positions with ReLU in place of softmax, at two scales.

    Queries, keys and values are a 1x1 convolution of the map; at the second scale they are
    averaged by a depth-wise 5x5 and mixed within each head by a grouped 1x1. The heads of both
    scales are concatenated and projected. The release's LiteMLA, without its residual connection.

    Args:
        channels: channels of the map, a multiple of ``dim``.
        dim: channels of each head's queries, keys and values.
        eps: epsilon of the norm after the projection.
    """

    def __init__(self, channels: int, dim: int, *, eps: float = 1e-5):
        super().__init__()
        self.dim = dim
        total = 3 * channels
        self.qkv = nn.Conv2d(channels, total, 1, bias=False)
        self.aggregate = nn.Sequential(
            nn.Conv2d(total, total, 5, padding=2, groups=total, bias=False),
            nn.Conv2d(total, total, 1, groups=total // dim, bias=False),
        )
        self.project = conv_norm_act(2 * channels, channels, 1, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, h, w) to the same shape."""
        qkv = self.qkv(x)
        scales = torch.cat([qkv, self.aggregate(qkv)], 1)
        out: Tensor = self.project(attend(scales, self.dim))
        return out


def attend(qkv: Tensor, dim: int) -> Tensor:
    """Return each head's mean of the values, weighted by ``relu(q) . relu(k)``.

    The sums over positions of products of keys and values come first (eq. 3), so that the cost is
    proportional to the number of positions. They are in float32 under autocast too. A position
    whose weights are all 0 gets 0.

    Args:
        qkv: (N, heads * 3 * dim, h, w): ``dim`` channels of queries, then of keys, then of values,
            for each head in turn.
        dim: channels of each.

    Returns:
        (N, heads * dim, h, w) of the same type.
    """
    height, width = qkv.shape[2:]
    with full_precision(qkv.device.type):
        heads = torch.unflatten(to_float32(qkv).flatten(2), 1, (-1, 3, dim))
        query, key, value = heads.unbind(2)  # (N, heads, dim, h * w) each
        value = F.pad(value, (0, 0, 0, 1), value=1.0)  # a row of ones sums up the weights
        sums = value @ key.relu().transpose(2, 3)
        weighted = sums @ query.relu()
        out = weighted[:, :, :-1] / weighted[:, :, -1:].clamp(min=EPS)
    return torch.unflatten(out.flatten(1, 2), 2, (height, width)).to(qkv.dtype)
