"""Resize images to the input size, and scores back to the image size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from dseg.device import to_device
from dseg.nn.bicubic import cubic_points
from dseg.protocol import Resample, Size, Upsample

RowIndex = NDArray[np.int64]
ImageArray = NDArray[
    Any
]  # (H, W, 3) RGB in 0..255: uint8, or float32 where interpolated in float32
CropResized = Callable[[int, int, int, int], ImageArray]
STRIP_PIXELS = 1_000_000  # of scores that are resized at once
BAND_VALUES = 4_000_000  # of a band of scores: 16 MB
PIL_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear-antialias": Image.Resampling.BILINEAR,
}


def resize_image(image: ImageArray, size: Size, resample: Resample = "bicubic") -> ImageArray:
    """Resize an (H, W, 3) image; an image of that size is returned unchanged."""
    return crops_of(image, size, resample)(0, 0, *size)


def crops_of(image: ImageArray, size: Size, resample: Resample = "bicubic") -> CropResized:
    """Return a function that crops (top, left, height, width) from a resized image.

    The resized image is never built as a whole, so its size needs no memory.

    Args:
        image: (H, W, 3) uint8, or float32 with ``bilinear`` and ``bilinear-corners``.
        size: (height, width) to which it is resized.
        resample: as in ``Protocol``.
    """
    if size == image.shape[:2]:
        return lambda top, left, h, w: image[top : top + h, left : left + w]
    if resample in PIL_FILTERS:
        return _crops_by_pil(image, size, PIL_FILTERS[resample])
    return _crops_by_interpolation(image, size, align_corners=resample == "bilinear-corners")


def _crops_by_pil(image: ImageArray, size: Size, filter_: Image.Resampling) -> CropResized:
    """Crop by PIL, whose filters are antialiased."""
    height, width = image.shape[:2]
    whole = Image.fromarray(image)
    down, across = height / size[0], width / size[1]

    def crop(top: int, left: int, h: int, w: int) -> ImageArray:
        right, bottom = min((left + w) * across, width), min((top + h) * down, height)
        box = (left * across, top * down, right, bottom)
        return np.array(whole.resize((w, h), filter_, box))

    return crop


def _crops_by_interpolation(image: ImageArray, size: Size, *, align_corners: bool) -> CropResized:
    """Crop by bilinear interpolation without antialiasing, in float32."""
    upper, lower, down = _interpolation_points(image.shape[0], size[0], align_corners)
    before, after, across = _interpolation_points(image.shape[1], size[1], align_corners)

    def crop(top: int, left: int, h: int, w: int) -> ImageArray:
        rows, columns = slice(top, top + h), slice(left, left + w)
        lines = _blend(image[upper[rows]], image[lower[rows]], down[rows, None, None])
        return _blend(lines[:, before[columns]], lines[:, after[columns]], across[columns, None])

    return crop


def _blend(
    first: ImageArray, second: ImageArray, fraction: NDArray[np.float32]
) -> NDArray[np.float32]:
    start = first.astype(np.float32)
    return start + (second.astype(np.float32) - start) * fraction


def repeat_labels(labels: Tensor, size: Size) -> Tensor:
    """Resize (h, w) uint8 labels by nearest neighbour, with PIL's rounding."""
    if labels.device.type != "cpu":
        return pick_labels(labels, size)
    resized = Image.fromarray(labels.numpy()).resize(size[::-1], Image.Resampling.NEAREST)
    return torch.from_numpy(np.array(resized))


def pick_labels(labels: Tensor, size: Size) -> Tensor:
    """Resize labels as ``repeat_labels`` does, on their device."""
    rows, columns = (
        to_device(torch.from_numpy(_nearest(length, out)), labels.device)
        for length, out in zip(labels.shape, size, strict=True)
    )
    return labels.index_select(0, rows).index_select(1, columns)


def _nearest(length: int, out: int) -> RowIndex:
    """Return the source index of each of ``out`` pixels, by PIL's rounding."""
    line = Image.fromarray(np.arange(length, dtype=np.int32)[None])
    indices: RowIndex = np.asarray(line.resize((out, 1), Image.Resampling.NEAREST))[0].astype(
        np.int64
    )
    return indices


def resize_bands(
    bands: Iterator[tuple[int, Tensor]],
    size: Size,
    out: Size,
    *,
    align_corners: bool,
    upsample: Upsample = "bilinear",
) -> Iterator[tuple[int, Tensor]]:
    """Resize bands of scores, a few rows at a time.

    Together the results equal ``F.interpolate`` of the whole, up to rounding.

    Args:
        bands: first row of a band and its scores (K, rows, width), from top to bottom.
        size: (height, width) of all bands together.
        out: (height, width) of all results together.
        align_corners: as in bilinear ``F.interpolate``.
        upsample: ``bilinear`` or ``bicubic``.

    Yields:
        The first row of a band of the result, and its scores (K, rows, out width).
    """
    rows_of, weights = _row_points(size[0], out[0], align_corners, upsample)
    corners = align_corners if upsample == "bilinear" else False
    most = max(1, STRIP_PIXELS // out[1])
    done, kept = 0, len(rows_of) - 1
    above: Tensor | None = None  # the last rows read so far, at the output width
    for first, band in bands:
        for start in range(0, band.shape[1], most):
            strip = band[:, start : start + most]
            wide = F.interpolate(
                strip[None], (strip.shape[1], out[1]), mode=upsample, align_corners=corners
            )[0]
            begin, end = first + start, first + start + strip.shape[1]
            if above is not None:
                wide, begin = torch.cat([above, wide], 1), begin - above.shape[1]
            ready = int(np.searchsorted(rows_of[-1], end))
            for top in range(done, ready, most):
                rows = slice(top, min(top + most, ready))
                sources = [_select_rows(wide, index[rows] - begin) for index in rows_of]
                weight = to_device(torch.from_numpy(weights[:, rows]), band.device)
                yield top, _blend_rows(sources, weight[..., None])
            done, above = ready, wide[:, -kept:].clone()


def _blend_rows(sources: list[Tensor], weights: Tensor) -> Tensor:
    """Return the weighted sum of two or four sources (K, rows, width), in place.

    Args:
        weights: (1, rows, 1), of the second of two, or (4, rows, 1).
    """
    first, *others = sources
    if len(others) == 1:
        return first.lerp_(others[0], weights[0])
    first.mul_(weights[0])
    for source, weight in zip(others, weights[1:], strict=True):
        first.addcmul_(source, weight)
    return first


def _row_points(
    length: int, out: int, align_corners: bool, upsample: Upsample
) -> tuple[list[RowIndex], NDArray[np.float32]]:
    """Return the source rows of each of ``out`` rows, and their weights as in ``_blend_rows``."""
    if upsample == "bicubic":
        indices, weights = cubic_points(length, out)
        return list(indices.numpy()), weights.numpy()
    upper, lower, weight = _interpolation_points(length, out, align_corners)
    return [upper, lower], weight[None]


class RowResizer:
    """Resizes scores bilinearly, any band of rows at a time; for the CPU.

    The rows equal those of ``F.interpolate`` up to rounding: their source rows and weights are the
    same. First the columns of the source rows are resized, then the rows.

    Args:
        scores: (N, K, h, w).
        out: (height, width) of all rows together.
        align_corners: as in ``F.interpolate``.
    """

    def __init__(self, scores: Tensor, out: Size, *, align_corners: bool):
        self._out, self._align_corners = out, align_corners
        self._same = scores.shape[2:] == out
        self._scores = (
            scores if self._same else scores.contiguous(memory_format=torch.channels_last)
        )
        self._upper, weights = _float_points(scores.shape[2], out[0], align_corners)
        self._weights = torch.from_numpy(weights)

    def rows(self, top: int, bottom: int) -> Tensor:
        """Return the rows from ``top`` to before ``bottom``, (N, K, rows, out width)."""
        if self._same:
            return self._scores[:, :, top:bottom]
        first, last = int(self._upper[top]), int(self._upper[bottom - 1])
        wide = F.interpolate(
            source := self._scores[:, :, first : last + 2],
            (source.shape[2], self._out[1]),
            mode="bilinear",
            align_corners=self._align_corners,
        ).permute(2, 0, 3, 1)  # rows, N, width, K
        band = wide.new_empty((bottom - top, *wide.shape[1:]))
        bounds = np.searchsorted(self._upper[top:bottom], np.arange(first, last + 2))
        for row, (start, end) in enumerate(pairwise(bounds)):
            if end > start:
                after = wide[min(row + 1, len(wide) - 1)]
                weight = self._weights[top + start : top + end, None, None, None]
                torch.lerp(wide[row], after, weight, out=band[start:end])
        return band.permute(1, 3, 0, 2)


def band_rows(values: int) -> int:
    """Return how many rows of that many values are a band of ``BAND_VALUES``, at least 1."""
    return max(1, BAND_VALUES // max(1, values))


def _float_points(
    length: int, out: int, align_corners: bool
) -> tuple[RowIndex, NDArray[np.float32]]:
    """Return the pixel before each of ``out`` points and the weight of the next, as torch does.

    Torch computes them in float32.
    """
    points, half = np.arange(out, dtype=np.float32), np.float32(0.5)
    if align_corners:
        positions = points * (np.float32(length - 1) / np.float32(max(1, out - 1)))
    else:
        scale = np.float32(length) / np.float32(out)
        positions = np.maximum(scale * (points + half) - half, np.float32(0))
    before = np.minimum(positions.astype(np.int64), length - 1)
    return before, np.clip(positions - before, 0, 1).astype(np.float32)


def _select_rows(scores: Tensor, rows: RowIndex) -> Tensor:
    return scores[:, to_device(torch.from_numpy(rows), scores.device)]


def _interpolation_points(
    length: int, out: int, align_corners: bool
) -> tuple[RowIndex, RowIndex, NDArray[np.float32]]:
    """Return the pixels before and after each of ``out`` points, and the weight of the second."""
    points = np.arange(out)
    if align_corners:
        positions = points * ((length - 1) / max(1, out - 1))
    else:
        positions = np.maximum(0, (points + 0.5) * length / out - 0.5)
    before = np.minimum(positions.astype(np.int64), length - 1)
    weight = (positions - before).astype(np.float32)
    return before, np.minimum(before + 1, length - 1), weight
