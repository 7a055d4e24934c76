"""Compute the position in the image of each pixel of a crop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dseg.data.transforms.views import View

Coordinates = NDArray[np.floating[Any]]


def find_sources(view: View, crop: tuple[int, int]) -> tuple[Coordinates, Coordinates]:
    """Return the image coordinates in pixels of the rows and columns of an upright crop."""
    rows = (np.arange(crop[0]) + (view.top + 0.5)) / view.scale - 0.5
    columns = (np.arange(crop[1]) + (view.left + 0.5)) / view.scale - 0.5
    return rows, columns[::-1] if view.flipped else columns


def find_nearest(
    view: View, size: Sequence[int], crop: tuple[int, int]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the nearest rows and columns of the image, -1 outside of it, for an upright crop."""
    found = []
    for coordinates, side in zip(find_sources(view, crop), size, strict=True):
        nearest = np.rint(coordinates).astype(np.intp)
        found.append(np.where((nearest < 0) | (nearest >= side), -1, nearest))
    return found[0], found[1]


def make_theta(views: Sequence[View], size: tuple[int, int], crop: tuple[int, int]) -> Tensor:
    """Return the affine maps (N, 2, 3) from crops to images, coordinates from -1 to 1 in both."""
    rows = []
    for view in views:
        height, width = view.scale * size[0], view.scale * size[1]
        y0 = (2 * view.top + crop[0]) / height - 1
        x0 = (2 * view.left + crop[1]) / width - 1
        cos, sin = math.cos(math.radians(view.angle)), math.sin(math.radians(view.angle))
        side = -crop[1] if view.flipped else crop[1]
        rows.append(
            [
                [cos * side / width, sin * crop[0] / width, x0],
                [-sin * side / height, cos * crop[0] / height, y0],
            ]
        )
    return torch.tensor(rows, dtype=torch.float32)


def clip_span(low: float, high: float, size: int) -> slice:
    """Return the span of pixels around coordinates from ``low`` to ``high``, at least one pixel."""
    start = min(max(math.floor(low) - 1, 0), size - 1)
    return slice(start, max(min(math.floor(high) + 3, size), start + 1))


def normalise(coordinates: Coordinates, span: slice) -> Coordinates:
    """Map pixel coordinates to the range -1 to 1 over a span of pixels."""
    size = span.stop - span.start
    return np.asarray((2 * (coordinates - span.start) + 1) / size - 1)
