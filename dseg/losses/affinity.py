"""Adaptive affinity fields, a pairwise loss between neighbouring pixels. Experimental.

After "Adaptive Affinity Fields for Semantic Segmentation" (Ke et al., ECCV 2018, arXiv
1803.10335). Experimental, because the published training could not be reproduced exactly: the
loss, its margin of 3, the three field sizes and their adversarial weights follow descriptions of
the paper and were not verified against its text. Forming pairs on every fourth pixel only is our
choice, to limit the cost.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dseg.labels import IGNORE

REACHES = (1, 2, 3)  # distances of neighbours in fields of 3x3, 5x5 and 7x7
DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))  # half of the eight; pairs count both ways
LEAST = 1e-4  # probabilities are clipped to this distance from 0 and 1


class AffinityFields(nn.Module):
    """The adaptive affinity field loss, with learned adversarial weights of the field sizes.

    Experimental: see the module's docstring.

    For a class c, a pair of pixels i, j is an edge pair if exactly one of them is of class c. With
    D the Kullback-Leibler divergence of the two Bernoulli distributions of class c, the loss of
    a pair is

        same:  D(p_j || p_i)        edge:  max(0, margin - D(p_j || p_i))

    It is averaged over the pairs of a field, which are a pixel and its eight neighbours at a
    distance of 1, 2 or 3 pixels; then over field sizes, by weights for each class and kind of
    pair; then over classes. The weights are adversarial: their gradient is reversed, so that an
    optimizer that minimises the loss for the network maximises it for them.

    Args:
        num_classes: number of classes K of the logits.
        margin: divergence from which an edge pair has no loss.
        stride: distance in pixels between the positions that form pairs.
    """

    def __init__(self, num_classes: int, *, margin: float = 3.0, stride: int = 4):
        super().__init__()
        self.margin, self.stride = margin, stride
        self.same = nn.Parameter(torch.zeros(num_classes, len(REACHES)))
        self.edge = nn.Parameter(torch.zeros(num_classes, len(REACHES)))

    def forward(self, logits: Tensor, ids: Tensor) -> Tensor:
        """Return the loss, not below 0.

        Args:
            logits: (N, K, H, W) float32.
            ids: (N, H, W) int64; pairs with a pixel of ``IGNORE`` do not count.
        """
        ids = ids[:, :: self.stride, :: self.stride]
        p = logits[..., :: self.stride, :: self.stride].softmax(1).clamp(LEAST, 1 - LEAST)
        found = [_field(p, ids, reach, self.margin) for reach in REACHES]
        same = torch.stack([pair[0] for pair in found], 1)
        edge = torch.stack([pair[1] for pair in found], 1)
        same_weights = _reverse_gradient(self.same).softmax(1)
        edge_weights = _reverse_gradient(self.edge).softmax(1)
        weighted = same_weights * same + edge_weights * edge
        return weighted.sum(1).mean()


def _field(p: Tensor, ids: Tensor, reach: int, margin: float) -> tuple[Tensor, Tensor]:
    """Return the mean losses (K,) of same pairs and of edge pairs at a distance in pixels."""
    classes = torch.arange(p.shape[1], device=p.device).view(1, -1, 1, 1)
    sums = p.new_zeros(4, p.shape[1])
    for down, right in DIRECTIONS:
        step = (down * reach, right * reach)
        first, second = _shift(p, *step)
        ids1, ids2 = _shift(ids[:, None], *step)
        counts = (ids1 != IGNORE) & (ids2 != IGNORE)
        differ = (ids1 == classes) != (ids2 == classes)
        edges, alike = counts & differ, counts & ~differ
        for divergence in (_diverge(first, second), _diverge(second, first)):
            short = (margin - divergence).clamp(min=0)
            terms = (divergence * alike, alike, short * edges, edges)
            sums = sums + torch.stack([term.sum((0, 2, 3)) for term in terms])
    same, alike_pairs, edge, edge_pairs = sums
    return same / alike_pairs.clamp(min=1), edge / edge_pairs.clamp(min=1)


def _diverge(p: Tensor, q: Tensor) -> Tensor:
    """Return the divergence D(p || q) of Bernoulli distributions with these probabilities."""
    return p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()


def _shift(x: Tensor, down: int, right: int) -> tuple[Tensor, Tensor]:
    """Return two views (N, C, h, w): the pixels with a neighbour at an offset, the neighbours."""
    height, width = max(x.shape[2] - down, 0), max(x.shape[3] - abs(right), 0)
    left = max(-right, 0)
    first = x[:, :, :height, left : left + width]
    second = x[:, :, down : down + height, left + right : left + right + width]
    return first, second


class _GradientReversal(torch.autograd.Function):
    """The identity, whose gradient has the opposite sign."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return -grad


def _reverse_gradient(x: Tensor) -> Tensor:
    result: Tensor = _GradientReversal.apply(x)
    return result
