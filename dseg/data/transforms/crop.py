"""Crop images and masks: one sample on the CPU, or a batch on any device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dseg.data.transforms.colors import finish
from dseg.data.transforms.coordinates import (
    clip_span,
    find_nearest,
    find_sources,
    make_theta,
    normalise,
)
from dseg.data.transforms.views import View
from dseg.device import to_device
from dseg.images import Pixels
from dseg.labels import IGNORE


def crop_view(
    image: Pixels, train_ids: Pixels, view: View, crop: tuple[int, int], fill: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Return one crop of an image and its mask, sampled bilinearly and by nearest neighbour.

    Only the pixels that the crop reads are copied and converted to float.

    Args:
        image: (H, W, 3) uint8, not changed.
        train_ids: (H, W) uint8, not changed.
        view: the augmentation.
        crop: (height, width).
        fill: RGB, 0 to 255, outside of the image; there, the mask is ``IGNORE``.

    Returns:
        (3, h, w) uint8 and (h, w) uint8.
    """
    if view.angle:
        part, marks, grid, inside = _slice_rotated(image, train_ids, view, crop)
        ids = _to_ids(F.grid_sample(marks, grid, mode="nearest", align_corners=False))[0]
    else:
        part, grid, inside = _slice_box(image, view, crop)
        ids = torch.from_numpy(_gather_ids(train_ids, view, crop))
    padding = torch.tensor(fill, dtype=torch.float32).view(3, 1, 1)
    if not inside:  # outside of the image, grid_sample returns 0
        part = part.sub_(padding)
    sampled = F.grid_sample(part, grid, mode="bilinear", align_corners=False)
    if not inside:
        sampled = sampled.add_(padding)
    return finish(sampled, [view])[0], ids


def _slice_box(image: Pixels, view: View, crop: tuple[int, int]) -> tuple[Tensor, Tensor, bool]:
    """Slice the source pixels of an upright crop.

    Returns:
        The pixels, (1, 3, h, w) float32; the grid for ``grid_sample``; and True if the crop is
        inside the image.
    """
    spans, lines, inside = [], [], True
    for side, coordinates in enumerate(find_sources(view, crop)):
        low, high = float(coordinates.min()), float(coordinates.max())
        span = clip_span(low, high, image.shape[side])
        spans.append(span)
        lines.append(torch.from_numpy(normalise(coordinates, span).astype(np.float32)))
        inside &= low >= 0 and high <= image.shape[side] - 1
    grid = torch.empty(1, *crop, 2)
    grid[..., 0] = lines[1]
    grid[..., 1] = lines[0][:, None]
    return _to_planes(image[spans[0], spans[1]]), grid, inside


def _slice_rotated(
    image: Pixels, train_ids: Pixels, view: View, crop: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor, bool]:
    """Slice the bounding box of a rotated crop; return as ``_slice_box``, with mask + 1 second."""
    height, width = image.shape[:2]
    theta = make_theta([view], (height, width), crop)[0].double()
    corners = torch.tensor([[x, y, 1.0] for x in (-1, 1) for y in (-1, 1)], dtype=torch.float64)
    ends = (corners @ theta.T + 1) / 2 * torch.tensor([width, height]) - 0.5
    (left, top), (right, bottom) = ends.amin(0).tolist(), ends.amax(0).tolist()
    rows, columns = clip_span(top, bottom, height), clip_span(left, right, width)
    for axis, span, side in ((0, columns, width), (1, rows, height)):
        size = span.stop - span.start  # -1 to 1 over the box instead of over the image
        theta[axis] *= side / size
        theta[axis, 2] += (side - 2 * span.start) / size - 1
    grid = F.affine_grid(theta.float()[None], [1, 1, *crop], align_corners=False)
    inside = top >= 0 and left >= 0 and bottom <= height - 1 and right <= width - 1
    marks = torch.from_numpy(train_ids[rows, columns].astype(np.float32))[None, None] + 1
    return _to_planes(image[rows, columns]), marks, grid, inside


def _to_planes(pixels: Pixels) -> Tensor:
    """Convert an image (h, w, 3) to (1, 3, h, w) float32."""
    planes = np.empty((3, *pixels.shape[:2]), np.float32)
    planes[...] = pixels.transpose(2, 0, 1)
    return torch.from_numpy(planes)[None]


def _gather_ids(train_ids: Pixels, view: View, crop: tuple[int, int]) -> Pixels:
    """Return an upright crop of a mask, by integer indices."""
    rows, columns = find_nearest(view, train_ids.shape, crop)
    within = columns[columns >= 0]
    first, last = (int(within.min()), int(within.max())) if within.size else (0, 0)
    part = train_ids[:, first : last + 1]  # fewer columns to copy
    picked = part.take(np.maximum(rows, 0), 0).take(np.maximum(columns - first, 0), 1)
    picked[rows < 0] = IGNORE
    picked[:, columns < 0] = IGNORE
    return picked


def apply_views(
    images: Tensor,
    train_ids: Tensor,
    views: Sequence[View],
    crop: tuple[int, int],
    fill: Sequence[float],
) -> tuple[Tensor, Tensor]:
    """Return one crop of each image and its mask, on any device, without synchronising it.

    The crops are those of ``crop_view``, up to rounding.

    Args:
        images: (N, 3, H, W) uint8.
        train_ids: (N, H, W) uint8.
        views: the augmentation of each sample.
        crop: (height, width).
        fill: RGB, 0 to 255, outside of the image; there, masks are ``IGNORE``.

    Returns:
        (N, 3, h, w) uint8 and (N, h, w) uint8, on the same device.
    """
    device, size = images.device, (images.shape[-2], images.shape[-1])
    theta = to_device(make_theta(views, size, crop), device)
    grid = F.affine_grid(theta, [len(views), 1, *crop], align_corners=False)
    padding = to_device(torch.tensor(fill, dtype=torch.float32), device).view(3, 1, 1)
    sampled = F.grid_sample(
        images.float().sub_(padding), grid, mode="bilinear", align_corners=False
    ).add_(padding)
    if any(view.angle for view in views):
        marks = train_ids[:, None].float() + 1
        ids = _to_ids(F.grid_sample(marks, grid, mode="nearest", align_corners=False))
    else:
        ids = _gather_all_ids(train_ids, views, crop)
    return finish(sampled, views), ids


def _to_ids(marks: Tensor) -> Tensor:
    """Convert train ids + 1, (N, 1, h, w) with 0 outside of the image, to (N, h, w) uint8 ids."""
    ids = marks[:, 0] - 1
    return ids.masked_fill_(ids < 0, IGNORE).byte()


def _gather_all_ids(train_ids: Tensor, views: Sequence[View], crop: tuple[int, int]) -> Tensor:
    """Return upright crops of masks (N, H, W); see ``_gather_ids``."""
    lines = [find_nearest(view, train_ids.shape[1:], crop) for view in views]
    rows, columns = (
        to_device(torch.from_numpy(np.stack(side)), train_ids.device)
        for side in zip(*lines, strict=True)
    )
    rows, columns = rows[:, :, None], columns[:, None]
    samples = torch.arange(len(views), device=train_ids.device)[:, None, None]
    picked = train_ids[samples, rows.clamp(min=0), columns.clamp(min=0)]
    return picked.masked_fill_((rows < 0) | (columns < 0), IGNORE)
