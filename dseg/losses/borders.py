"""Find the borders between classes, and compute losses and weights near them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dseg.labels import IGNORE

BORDER_WEIGHTS = ((16, 8.0), (64, 4.0), (128, 2.0))  # largest distance in pixels, weight
EDGE_REACH = 2  # distance in pixels up to which a border output is trained to mark pixels
EDGE_BALANCE, EDGE_FOCUS = 0.25, 2.0  # alpha and gamma of the focal loss


def mark_edges(ids: Tensor, reach: int = EDGE_REACH) -> Tensor:
    """Return a mask (N, H, W) bool of the pixels that a border output is trained to mark.

    These are the pixels on both sides of a border between classes, and those within ``reach``
    pixels of them: ``2 * reach + 2`` pixels across a straight border.

    PIDNet's release marks the borders that an edge detector (Canny, thresholds 0.1 and 0.2) finds
    in the train ids of the whole image, widened to 4 pixels, which a reach of 1 equals, and then
    scales them with the image. Here they are found in the crop, so that scaling does not change
    their width; the borders of ignored regions, which the detector finds too, are not among them;
    and its removal of all borders within 6 pixels of the image's sides has no counterpart, as it
    mainly concerns those of ignored frames.

    Args:
        ids: (N, H, W) int64, ``IGNORE`` for ignored.
        reach: distance in pixels, along rows, columns and diagonals.
    """
    return dilate(find_borders(ids), reach)


def edge_loss(logits: Tensor, ids: Tensor, reach: int = EDGE_REACH) -> Tensor:
    """Return the focal loss of an output that predicts the borders between classes.

    The loss is the mean of ``-alpha_t (1 - p_t)^gamma log p_t`` over all pixels that are not
    ignored, with alpha 0.25 for border pixels and 0.75 for others, and gamma 2 (Lin et al., ICCV
    2017, eq. 5), as in DFN's border network (Yu et al., CVPR 2018, section 3.3). The default
    border width is our choice.

    Args:
        logits: (N, 1, H, W) float32.
        ids: (N, H, W) int64, ``IGNORE`` for ignored.
        reach: see ``mark_edges``.
    """
    target = mark_edges(ids, reach)
    scored = ids != IGNORE
    logits = logits[:, 0]
    loss = F.binary_cross_entropy_with_logits(logits, target.float(), reduction="none")
    doubt = 1 - torch.exp(-loss)
    balance = torch.where(target, EDGE_BALANCE, 1 - EDGE_BALANCE)
    focused = balance * doubt**EDGE_FOCUS * loss
    return torch.where(scored, focused, 0).sum() / scored.sum().clamp(min=1)


def balanced_edge_loss(logits: Tensor, edges: Tensor) -> Tensor:
    """Return the cross-entropy of a border output, balanced between border pixels and others.

    Border pixels are weighted by the fraction of the other ones, and these by that of the border
    pixels; the mean is over all pixels of the micro-batch, ignored ones too (as in the
    release of PIDNet, Xu et al., CVPR 2023; the weights are those of Xie and Tu, ICCV 2015, eq. 2).

    Args:
        logits: (N, 1, H, W) float32.
        edges: (N, H, W) bool, True for border pixels, see ``mark_edges``.
    """
    target = edges.to(logits.dtype)
    fraction = target.mean()
    weights = torch.where(edges, 1 - fraction, fraction)
    loss = F.binary_cross_entropy_with_logits(logits[:, 0], target, reduction="none")
    return (weights * loss).mean()


def weigh_borders(ids: Tensor) -> Tensor:
    """Return weights (N, H, W) float32, larger for pixels near a border between classes.

    Args:
        ids: (N, H, W) int64, ``IGNORE`` for ignored.
    """
    borders = find_borders(ids)
    weights = torch.ones(ids.shape, device=ids.device)
    for radius, weight in reversed(BORDER_WEIGHTS):
        weights = torch.where(dilate(borders, radius), weight, weights)
    return weights


def find_borders(ids: Tensor) -> Tensor:
    """Return a mask (N, H, W) bool of the pixels next to another class in their row or column.

    Ignored pixels form no border.

    Args:
        ids: (N, H, W) int64, ``IGNORE`` for ignored.
    """
    borders = torch.zeros_like(ids, dtype=torch.bool)
    for axis in (1, 2):
        size = ids.shape[axis] - 1
        first, second = ids.narrow(axis, 0, size), ids.narrow(axis, 1, size)
        differ = (first != second) & (first != IGNORE) & (second != IGNORE)
        borders.narrow(axis, 0, size).logical_or_(differ)
        borders.narrow(axis, 1, size).logical_or_(differ)
    return borders


def dilate(mask: Tensor, radius: int) -> Tensor:
    """Return an (N, H, W) mask dilated by a square of 2 * radius + 1 pixels."""
    return _widen(_widen(mask, 1, radius), 2, radius)


def _widen(mask: Tensor, axis: int, radius: int) -> Tensor:
    """Return a mask dilated by 2 * radius + 1 pixels along an axis."""
    sums = mask.cumsum(axis)
    place = torch.arange(mask.shape[axis], device=mask.device)
    upper = sums.index_select(axis, (place + radius).clamp(max=len(place) - 1))
    lower = sums.index_select(axis, (place - radius - 1).clamp(min=0))
    shape = [-1 if dim == axis else 1 for dim in range(mask.ndim)]
    return upper > torch.where((place > radius).view(shape), lower, 0)
