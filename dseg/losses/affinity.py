"""Adaptive affinity fields: neighbours of one class agree, of two classes differ (Ke et al., 2018).

"Adaptive Affinity Fields for Semantic Segmentation", ECCV 2018, arXiv 1803.10335. The pairwise
loss, its margin of 3, the three sizes and the adversarial choice among them are the paper's as
commonly reported, and were not verified against its text; that pairs are formed on every fourth
pixel is ours, and what makes it affordable.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dseg.labels import IGNORE

REACHES = (1, 2, 3)  # of the fields of 3x3, 5x5 and 7x7
DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))  # half of the eight; a pair is seen from both ends
LEAST = 1e-4  # probabilities are kept so far from 0 and 1


class AffinityFields(nn.Module):
    """The loss of a prediction's affinities, and the weights of their sizes, which oppose it.

    For a class c, a pair of pixels i, j is one of an edge if one of them is of that class and the
    other is not. With D the divergence of two Bernoulli distributions, of the probabilities of c,

        same:  D(p_j || p_i)        edge:  max(0, margin - D(p_j || p_i))

    Each is averaged over the pairs of a field, that is, the eight neighbours at a distance of 1, 2
    or 3 pixels; over sizes by weights that are learned to make the loss large, for each class and
    kind of pair; and over classes. Gradients of those weights are turned round here, so that any
    optimizer that lessens the loss by the network increases it by them.

    Args:
        num_classes: of the logits.
        margin: divergence beyond which an edge is sharp enough.
        stride: of the pixels between which pairs are formed.
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
            ids: (N, H, W) int64, ``IGNORE`` for ignored, whose pairs do not count.
        """
        ids = ids[:, :: self.stride, :: self.stride]
        p = logits[..., :: self.stride, :: self.stride].softmax(1).clamp(LEAST, 1 - LEAST)
        found = [_field(p, ids, reach, self.margin) for reach in REACHES]
        same = torch.stack([pair[0] for pair in found], 1)
        edge = torch.stack([pair[1] for pair in found], 1)
        weighted = _oppose(self.same).softmax(1) * same + _oppose(self.edge).softmax(1) * edge
        return weighted.sum(1).mean()


def _field(p: Tensor, ids: Tensor, reach: int, margin: float) -> tuple[Tensor, Tensor]:
    """Return the mean losses (K,) of same pairs and of edges at a distance of so many pixels."""
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
    """Return the divergence of Bernoulli distributions of these probabilities, D(p || q)."""
    return p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()


def _shift(x: Tensor, down: int, right: int) -> tuple[Tensor, Tensor]:
    """Return the (N, C, h, w) of all pixels that have a neighbour so far away, and of these."""
    height, width = max(x.shape[2] - down, 0), max(x.shape[3] - abs(right), 0)
    left = max(-right, 0)
    first = x[:, :, :height, left : left + width]
    second = x[:, :, down : down + height, left + right : left + right + width]
    return first, second


class _Oppose(torch.autograd.Function):
    """The identity, with the opposite gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return -grad


def _oppose(x: Tensor) -> Tensor:
    opposed: Tensor = _Oppose.apply(x)
    return opposed
