"""Self-attention between the positions or the channels of a feature map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dseg.nn.precision import full_precision, to_float32

BLOCK = 1 << 25  # affinities in memory at a time: 128 MiB of float32
EXPORTED_BLOCKS = 16  # of queries in a graph for any size, whose number is fixed


def attend(query: Tensor, key: Tensor, value: Tensor, scale: float = 1.0) -> Tensor:
    """Return the softmax-weighted sums of values, in blocks of queries.

    Applies ``softmax(scale * query^T key)`` over the keys to the values. Evaluation keeps at most
    ``BLOCK`` affinities in memory (one query's at least); training keeps all for the backward
    pass; a graph that is exported for any size keeps a sixteenth.

    Args:
        query: (N, C, P).
        key: (N, C, Q).
        value: (N, D, Q).
        scale: factor of the affinities.

    Returns:
        (N, D, P).
    """
    values = value.transpose(1, 2)
    blocks = []
    for part in _split(query, key.shape[0] * key.shape[2]):
        weights = multiply(part.transpose(1, 2) * scale, key).softmax(2)
        blocks.append(torch.bmm(weights.to(value.dtype), values))
    return torch.cat(blocks, 1)[:, : query.shape[2]].transpose(1, 2)


def _split(query: Tensor, affinities: int) -> Sequence[Tensor]:
    """Split queries (N, C, P) into blocks; the last ones of a graph for any size may be padded.

    Args:
        affinities: number of affinities of a query in the whole batch.
    """
    if all(type(side) is int for side in (affinities, query.shape[2])):
        return torch.split(query, max(1, BLOCK // max(1, affinities)), 2)
    batch, channels, positions = query.shape
    padded = F.pad(query, (0, -positions % EXPORTED_BLOCKS))
    return padded.reshape(batch, channels, EXPORTED_BLOCKS, -1).unbind(2)


def multiply(first: Tensor, second: Tensor) -> Tensor:
    """Return the matrix products that a softmax reads, in float32 at least.

    This holds under autocast and with 16-bit weights too: the sums are too large for float16, and
    the small differences that decide a softmax are lost in bfloat16.

    Args:
        first: (N, P, C).
        second: (N, C, Q).

    Returns:
        (N, P, Q).
    """
    with full_precision(first.device.type):
        return torch.bmm(to_float32(first), to_float32(second))


class SelfAttention(nn.Module):
    """A map plus gamma times a weighted sum over its positions, which subclasses compute.

    Queries, keys and values are 1x1 convolutions with biases. Gamma is learned and starts at zero,
    so that the module starts as the identity.

    Args:
        channels: channels of the input, the output and the values.
        reduction: factor by which queries and keys have fewer channels.
    """

    def __init__(self, channels: int, reduction: int = 8):
        super().__init__()
        self.query = nn.Conv2d(channels, channels // reduction, 1)
        self.key = nn.Conv2d(channels, channels // reduction, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def gather(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return the weighted sums of values, (N, channels, h, w) like the values."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, h, w) to the same shape."""
        return x + self.gamma * self.gather(self.query(x), self.key(x), self.value(x))


class PositionAttention(SelfAttention):
    """Attention of every position to all positions (Fu et al., CVPR 2019, eq. 1 and 2).

    The weights are the softmax, over the keys, of ``query^T key``, without a scale.

    Args:
        channels: channels of input and output.
        reduction: see ``SelfAttention``; the paper has none, its release 8.
    """

    def gather(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return the sums over all positions, in blocks of queries; see ``attend``."""
        return attend(query.flatten(2), key.flatten(2), value.flatten(2)).view_as(value)


class ChannelAttention(nn.Module):
    """Attention of every channel to all channels (Fu et al., CVPR 2019, section 3.3, eq. 3 and 4).

    The paper's weights are the softmax of the products of channels; its release and this module
    use the negative products, so that the least similar channels have the largest weights. Gamma
    (beta in the paper) starts at zero.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to the same shape."""
        channels = x.flatten(2)
        weights = multiply(channels, channels.transpose(1, 2)).neg().softmax(2).to(x.dtype)
        return x + self.gamma * torch.bmm(weights, channels).view_as(x)


class CrissCrossAttention(SelfAttention):
    """Attention of every position to its row and its column (Huang et al., ICCV 2019).

    The weights are one softmax over all H + W - 1 positions of both (section 3.2), without a
    scale. After two applications each position has read from all (section 3.3); the applications
    share their weights.

    Args:
        channels: channels of input and output.
        reduction: see ``SelfAttention``; the paper leaves it open, its release has 8.
        recurrence: number of applications.
    """

    def __init__(self, channels: int, reduction: int = 8, recurrence: int = 1):
        super().__init__(channels, reduction)
        self.recurrence = recurrence

    def gather(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return the sums over row and column, with at most H + W affinities per position."""
        height = value.shape[2]
        # channels_last is N, H, W, C in memory; its columns are strided views
        query, key, value = (x.permute(0, 2, 3, 1) for x in (query, key, value))
        with full_precision(value.device.type):  # for the reason in ``multiply``
            query, key = to_float32(query), to_float32(key)
            column = torch.matmul(query.transpose(1, 2), key.permute(0, 2, 3, 1))  # N, W, H, H
            row = torch.matmul(query, key.transpose(2, 3))  # N, H, W, W
        itself = torch.eye(height, dtype=torch.bool, device=value.device)
        column = column.masked_fill(
            itself, -torch.inf
        )  # the row includes the position itself already
        weights = torch.cat([column.transpose(1, 2), row], 3).softmax(3)
        weights = weights.to(value.dtype)
        column, row = weights[..., :height], weights[..., height:]
        sums = torch.matmul(column.transpose(1, 2), value.transpose(1, 2)).transpose(1, 2)
        return (sums + torch.matmul(row, value)).permute(0, 3, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, h, w) to the same shape."""
        for _ in range(self.recurrence):
            x = super().forward(x)
        return x
