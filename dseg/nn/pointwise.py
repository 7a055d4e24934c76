"""Point-wise spatial attention (Zhao et al., ECCV 2018, section 3)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dseg.nn.conv import conv_norm_act
from dseg.nn.fuse import resize_like
from dseg.nn.precision import full_precision, to_float32

BLOCK = 1 << 23  # affinities in memory at a time: 32 MiB of float32, three times that for alignment
Flow = Callable[[Tensor, Tensor, Tensor], Tensor]  # collect or distribute


def collect(value: Tensor, hidden: Tensor, kernel: Tensor, block: int = BLOCK) -> Tensor:
    """Sum the values of all positions at every position, with weights that it predicts itself.

    A position q predicts from ``hidden`` one affinity for each displacement d within the mask,
    ``kernel[d] . hidden[q]``: the paper's over-completed map, of which a map of sides h and w needs
    2 h - 1 by 2 w - 1. Outside the mask affinities are 0, not left out. Then, with p over all
    positions, ``z[q] = sum_p softmax_p(kernel[p - q] . hidden[q]) value[p]``. The softmax, and that
    it reads the zeros outside the mask, are the release's.

    Evaluation keeps at most ``block`` affinities in memory (those of one row at least), and only
    displacements that occur in the map are predicted.

    Args:
        value: (N, C, h, w).
        hidden: (N, D, h, w).
        kernel: (K, K, D), K odd, for displacements of -(K // 2) to K // 2 down and across.
        block: largest number of affinities in memory.

    Returns:
        (N, C, h, w).
    """
    values = value.flatten(2).transpose(1, 2)
    blocks = [
        torch.bmm(affinity.softmax(2).to(values.dtype), values)
        for affinity in _predict(hidden, kernel, block)
    ]
    return torch.unflatten(torch.cat(blocks, 1).transpose(1, 2), 2, value.shape[2:])


def distribute(value: Tensor, hidden: Tensor, kernel: Tensor, block: int = BLOCK) -> Tensor:
    """Sum the values of all positions p at every position q, with weights that p predicts.

    The affinities are those of ``collect`` with the two positions exchanged:
    ``z[q] = sum_p softmax_p(kernel[q - p] . hidden[p]) value[p]``. The blocks are over p, so that
    the softmax over p is accumulated block by block.

    Args:
        value, hidden, kernel, block: as for ``collect``.

    Returns:
        (N, C, h, w).
    """
    values = value.flatten(2)
    highest = values.new_full((), -torch.inf)
    total = out = values.new_zeros(())
    first = 0
    for affinity in _predict(hidden, kernel, block):
        above = torch.maximum(highest, affinity.detach().amax(1, keepdim=True))
        weights, kept = (affinity - above).exp(), (highest - above).exp()
        last = first + weights.shape[1]
        total = total * kept + weights.sum(1, keepdim=True)
        out = out * kept + torch.bmm(values[..., first:last], weights.to(values.dtype))
        highest, first = above, last
    return torch.unflatten((out / total).to(value.dtype), 2, value.shape[2:])


def _predict(hidden: Tensor, kernel: Tensor, block: int) -> Iterator[Tensor]:
    """Yield (N, positions that predict, all positions), for blocks of rows from top to bottom."""
    height, width = hidden.shape[2:]
    rows = max(1, block // (hidden.shape[0] * height * width * width))
    for first in range(0, height, rows):
        yield _affinity(hidden[:, :, first : first + rows], kernel, first, height)


def _affinity(hidden: Tensor, kernel: Tensor, first: int, height: int) -> Tensor:
    """Return the affinities (N, rows * w, height * w) of the rows from ``first`` on."""
    rows, width = hidden.shape[2:]
    down, above_below = _overlap(1 - first - rows, height - first, kernel.shape[0])
    across, beside = _overlap(1 - width, width, kernel.shape[1])
    kernel = kernel[down, across]
    with full_precision(hidden.device.type):  # differences of affinities decide the softmax
        scores = to_float32(hidden).flatten(2).transpose(1, 2) @ to_float32(kernel).flatten(0, 1).T
    scores = scores.reshape(-1, rows, width, *kernel.shape[:2]).transpose(2, 3)
    scores = _align(F.pad(scores, beside), 3, width)
    scores = _align(F.pad(scores, (0, 0, 0, 0, *above_below)), 1, height)
    return scores.transpose(2, 3).flatten(3).flatten(1, 2)


def _overlap(lowest: int, highest: int, size: int) -> tuple[slice, tuple[int, int]]:
    """Return the kernel's displacements in a range, and how many it lacks at either end."""
    start, stop = lowest + size // 2, highest + size // 2 + 1
    return slice(max(start, 0), min(stop, size)), (max(-start, 0), max(stop - size, 0))


def _align(scores: Tensor, dim: int, count: int) -> Tensor:
    """Convert displacements to positions.

    Dimensions ``dim`` and ``dim + 1`` have b predicting positions and b + count displacements from
    1 - b on; predicting position i has position p at displacement p - i. Rows that are reshaped to
    one entry fewer start one entry earlier each, so that p has the same index in all of them.
    """
    places, length = scores.shape[dim : dim + 2]
    flat = scores.flatten(dim, dim + 1).narrow(dim, places - 1, places * (length - 1))
    return torch.unflatten(flat, dim, (places, length - 1)).narrow(dim + 1, 0, count)


class PointwiseBranch(nn.Module):
    """Reduction, the layers that predict the mask, and one direction of information flow.

    Args:
        in_channels: channels of the feature.
        channels: channels of what is collected or distributed, and of the layer before the mask.
        mask_size: number of rows and of columns of predicted displacements; odd.
        shrink: factor by which the sides of the attention's map are smaller.
        flow: ``collect`` or ``distribute``.
    """

    def __init__(self, in_channels: int, channels: int, mask_size: int, shrink: int, flow: Flow):
        super().__init__()
        self.mask_size = mask_size
        self.shrink = shrink
        self.flow = flow
        self.reduce = conv_norm_act(in_channels, channels, 1, act=nn.ReLU(inplace=True))
        self.adapt = conv_norm_act(channels, channels, 1, act=nn.ReLU(inplace=True))
        self.mask = nn.Conv2d(channels, mask_size**2, 1, bias=False)  # read as a matrix

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, channels, ceil(h / shrink), ceil(w / shrink))."""
        x = self.reduce(x)
        size = [(side - 1) // self.shrink + 1 for side in x.shape[2:]]
        x = F.interpolate(x, size, mode="bilinear", align_corners=True)
        kernel = self.mask.weight.reshape(self.mask_size, self.mask_size, -1)
        return self.flow(x, self.adapt(x), kernel)


class PointwiseSpatialAttention(nn.Module):
    """Concatenate a feature with what its positions collect from and distribute to each other.

    Args:
        in_channels: channels of the feature.
        channels: channels of each branch; a quarter of ``in_channels`` in the paper.
        mask_size: see ``PointwiseBranch``. The paper's mask spans the map of a training crop: twice
            the side less one. Larger maps have affinities of 0 outside it.
        shrink: see ``PointwiseBranch``.

    Attributes:
        out_channels: channels of the concatenation.
    """

    def __init__(self, in_channels: int, channels: int, mask_size: int, shrink: int = 2):
        super().__init__()
        self.out_channels = 2 * in_channels
        self.branches = nn.ModuleDict(
            OrderedDict(
                collect=PointwiseBranch(in_channels, channels, mask_size, shrink, collect),
                distribute=PointwiseBranch(in_channels, channels, mask_size, shrink, distribute),
            )
        )
        self.project = conv_norm_act(2 * channels, in_channels, 1, act=nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, out_channels, h, w), the feature first."""
        flows = self.project(torch.cat([branch(x) for branch in self.branches.values()], 1))
        return torch.cat([x, resize_like(flows, x, True)], 1)
