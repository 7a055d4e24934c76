"""Sort the objects of a street so that each is drawn after those that it hides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class GroundBox(NamedTuple):
    """Ground that an object covers, in metres from the camera to the right and ahead."""

    left: float
    right: float
    near: float
    far: float


def order_far_first(boxes: Sequence[GroundBox]) -> list[int]:
    """Return the indices of the boxes, each after the boxes that it hides.

    Boxes that overlap, or that hide each other in a cycle, are sorted by their near ends.
    """
    if not boxes:
        return []
    left, right, near, far = np.array(boxes, np.float64).T
    behind = near[:, None] > far[None, :]  # [i, j]: box i is behind box j
    beside = ~behind & ~behind.T
    farther_right = (left[:, None] >= right[None, :]) & (left[:, None] > 0)
    farther_left = (right[:, None] <= left[None, :]) & (right[:, None] < 0)
    lateral = farther_right | farther_left
    apart = lateral | lateral.T
    behind |= beside & lateral & ~lateral.T
    behind |= beside & ~apart & (near[:, None] > near[None, :])
    return _sorted_by(behind, near)


def _sorted_by(
    behind: NDArray[np.bool_],
    near: NDArray[np.float64],
) -> list[int]:
    """Return indices in topological order: each box after all boxes behind it."""
    waiting_for = behind.sum(axis=0)
    open_ = np.ones(len(near), bool)
    order = []
    for _ in range(len(near)):
        free = open_ & (waiting_for == 0)
        chosen = int(np.argmax(np.where(free if free.any() else open_, near, -np.inf)))
        order.append(chosen)
        open_[chosen] = False
        waiting_for -= behind[chosen]
    return order
