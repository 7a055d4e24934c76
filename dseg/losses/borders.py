"""Find the borders between classes, and compute losses and weights near them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dseg.labels import IGNORE

BORDER_WEIGHTS = ((16, 8.0), (64, 4.0), (128, 2.0))  # largest distance in pixels, weight
EDGE_REACH = 2  # distance in pixels up to which a border output is trained to mark pixels
EDGE_BALANCE, EDGE_FOCUS = 0.25, 2.0  # alpha and gamma of the focal loss


def edge_loss(logits: Tensor, ids: Tensor) -> Tensor:
    """Return the focal loss of an output that predicts the borders between classes.

    The loss is the mean of ``-alpha_t (1 - p_t)^gamma log p_t`` over all pixels that are not
    ignored, with alpha 0.25 for border pixels and 0.75 for others, and gamma 2 (Lin et al., ICCV
    2017, eq. 5), as in DFN's border network (Yu et al., CVPR 2018, section 3.3). The border width
    of 5 pixels is our choice.

    Args:
        logits: (N, 1, H, W) float32.
        ids: (N, H, W) int64, ``IGNORE`` for ignored.
    """
    target = dilate(find_borders(ids), EDGE_REACH)
    scored = ids != IGNORE
    logits = logits[:, 0]
    loss = F.binary_cross_entropy_with_logits(logits, target.float(), reduction="none")
    doubt = 1 - torch.exp(-loss)
    balance = torch.where(target, EDGE_BALANCE, 1 - EDGE_BALANCE)
    focused = balance * doubt**EDGE_FOCUS * loss
    return torch.where(scored, focused, 0).sum() / scored.sum().clamp(min=1)


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
