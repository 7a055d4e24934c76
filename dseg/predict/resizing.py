"""Another size for the network than the image's own: images resized in, scores resized out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from dseg.device import to_device
from dseg.protocol import Resample, Size

RowIndex = NDArray[np.int64]
ImageArray = NDArray[Any]  # (H, W, 3) RGB in 0..255: uint8, or float32 where it is interpolated so
CutPiece = Callable[[int, int, int, int], ImageArray]
STRIP_PIXELS = 1_000_000  # of scores that are resized out at once
PIL_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear-antialias": Image.Resampling.BILINEAR,
}


def resize_image(image: ImageArray, size: Size, resample: Resample = "bicubic") -> ImageArray:
    """Resize an (H, W, 3) image; one of that size is returned as it is."""
    return pieces_of(image, size, resample)(0, 0, *size)


def pieces_of(image: ImageArray, size: Size, resample: Resample = "bicubic") -> CutPiece:
    """Return what cuts the piece at (top, left, height, width) out of a resized image.

    The resized image is never made whole, so its size costs no memory.

    Args:
        image: (H, W, 3) uint8, or float32 where it is interpolated bilinearly.
        size: (height, width) to which it is resized.
        resample: as in ``Protocol``.
    """
    if size == image.shape[:2]:
        return lambda top, left, h, w: image[top : top + h, left : left + w]
    if resample in PIL_FILTERS:
        return _pieces_by_pil(image, size, PIL_FILTERS[resample])
    return _pieces_by_points(image, size, align_corners=resample == "bilinear-corners")


def _pieces_by_pil(image: ImageArray, size: Size, filter_: Image.Resampling) -> CutPiece:
    """Cut by PIL, which widens its filters where it makes images smaller."""
    height, width = image.shape[:2]
    whole = Image.fromarray(image)
    down, across = height / size[0], width / size[1]

    def cut(top: int, left: int, h: int, w: int) -> ImageArray:
        right, bottom = min((left + w) * across, width), min((top + h) * down, height)
        box = (left * across, top * down, right, bottom)
        return np.array(whole.resize((w, h), filter_, box))

    return cut


def _pieces_by_points(image: ImageArray, size: Size, *, align_corners: bool) -> CutPiece:
    """Cut by bilinear interpolation between the four pixels around each point, in float32."""
    upper, lower, down = _points_between(image.shape[0], size[0], align_corners)
    before, after, across = _points_between(image.shape[1], size[1], align_corners)

    def cut(top: int, left: int, h: int, w: int) -> ImageArray:
        rows, columns = slice(top, top + h), slice(left, left + w)
        lines = _blend(image[upper[rows]], image[lower[rows]], down[rows, None, None])
        return _blend(lines[:, before[columns]], lines[:, after[columns]], across[columns, None])

    return cut


def _blend(
    first: ImageArray, second: ImageArray, fraction: NDArray[np.float32]
) -> NDArray[np.float32]:
    start = first.astype(np.float32)
    return start + (second.astype(np.float32) - start) * fraction


def repeat_labels(labels: Tensor, size: Size) -> Tensor:
    """Resize (h, w) uint8 labels: each pixel gets the label of the one that its centre lies on."""
    if labels.device.type != "cpu":
        return pick_labels(labels, size)
    resized = Image.fromarray(labels.numpy()).resize(size[::-1], Image.Resampling.NEAREST)
    return torch.from_numpy(np.array(resized))


def pick_labels(labels: Tensor, size: Size) -> Tensor:
    """Resize labels as ``repeat_labels``, on their device."""
    rows, columns = (
        to_device(torch.from_numpy(_nearest(length, out)), labels.device)
        for length, out in zip(labels.shape, size, strict=True)
    )
    return labels.index_select(0, rows).index_select(1, columns)


def _nearest(length: int, out: int) -> RowIndex:
    """Return the pixel that the centre of each of ``out`` pixels lies on, by PIL's rounding."""
    line = Image.fromarray(np.arange(length, dtype=np.int32)[None])
    places: RowIndex = np.asarray(line.resize((out, 1), Image.Resampling.NEAREST))[0].astype(
        np.int64
    )
    return places


def resize_bands(
    bands: Iterator[tuple[int, Tensor]], size: Size, out: Size, *, align_corners: bool
) -> Iterator[tuple[int, Tensor]]:
    """Resize scores bilinearly that come in bands of rows, a few rows at a time.

    Together the results are ``F.interpolate`` of the whole, up to rounding.

    Args:
        bands: the first row of a band and its scores (K, rows, width), from top to bottom.
        size: (height, width) of all bands together.
        out: (height, width) of all results together.
        align_corners: as of ``F.interpolate``.

    Yields:
        The first row of a band of the result, and its scores (K, rows, out width).
    """
    upper, lower, share = _points_between(size[0], out[0], align_corners)
    most = max(1, STRIP_PIXELS // out[1])
    done = 0
    above: Tensor | None = None  # the last row that was read, as wide as the result
    for first, band in bands:
        for start in range(0, band.shape[1], most):
            part = band[:, start : start + most]
            wide = F.interpolate(
                part[None], (part.shape[1], out[1]), mode="bilinear", align_corners=align_corners
            )[0]
            begin, end = first + start, first + start + part.shape[1]
            if above is not None:
                wide, begin = torch.cat([above, wide], 1), begin - 1
            ready = int(np.searchsorted(lower, end))
            for top in range(done, ready, most):
                rows = slice(top, min(top + most, ready))
                pair = [_take(wide, places[rows] - begin) for places in (upper, lower)]
                weight = to_device(torch.from_numpy(share[rows]), band.device)
                yield top, pair[0].lerp_(pair[1], weight[:, None])
            done, above = ready, wide[:, -1:].clone()


def _take(scores: Tensor, rows: RowIndex) -> Tensor:
    return scores[:, to_device(torch.from_numpy(rows), scores.device)]


def _points_between(
    length: int, out: int, align_corners: bool
) -> tuple[RowIndex, RowIndex, NDArray[np.float32]]:
    """Return the pixels before and after each of ``out`` points, and the second one's weight."""
    points = np.arange(out)
    if align_corners:
        places = points * ((length - 1) / max(1, out - 1))
    else:
        places = np.maximum(0, (points + 0.5) * length / out - 0.5)
    before = np.minimum(places.astype(np.int64), length - 1)
    weight = (places - before).astype(np.float32)
    return before, np.minimum(before + 1, length - 1), weight
