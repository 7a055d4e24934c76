"""Another size for the network than the image's own: images resized in, scores resized out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from dseg.images import Pixels
from dseg.predict.tiles import Size

Rows = NDArray[np.int64]

STRIP_PIXELS = 1_000_000  # of scores that are resized out at once


def resize_image(image: Pixels, size: Size) -> Pixels:
    """Resize an (H, W, 3) image by PIL's bicubic; one of that size is returned as it is."""
    return pieces_of(image, size)(0, 0, *size)


def pieces_of(image: Pixels, size: Size) -> Callable[[int, int, int, int], Pixels]:
    """Return what cuts the piece at (top, left, height, width) out of a resized image.

    The resized image is never made whole, so its size costs no memory.

    Args:
        image: (H, W, 3) uint8.
        size: (height, width) to which it is resized by PIL's bicubic.
    """
    height, width = image.shape[:2]
    if size == (height, width):
        return lambda top, left, h, w: image[top : top + h, left : left + w]
    whole = Image.fromarray(image)
    down, across = height / size[0], width / size[1]

    def cut(top: int, left: int, h: int, w: int) -> Pixels:
        right, bottom = min((left + w) * across, width), min((top + h) * down, height)
        box = (left * across, top * down, right, bottom)
        return np.array(whole.resize((w, h), Image.Resampling.BICUBIC, box))

    return cut


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
    upper, lower, share = _rows_between(size[0], out[0], align_corners)
    most = max(1, STRIP_PIXELS // out[1])
    done = 0
    above: Tensor | None = None  # the last row that was seen, as wide as the result
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
                weight = torch.from_numpy(share[rows]).to(band.device)
                yield top, pair[0].lerp_(pair[1], weight[:, None])
            done, above = ready, wide[:, -1:].clone()


def _take(scores: Tensor, rows: Rows) -> Tensor:
    return scores[:, torch.from_numpy(rows).to(scores.device)]


def _rows_between(
    height: int, out: int, align_corners: bool
) -> tuple[Rows, Rows, NDArray[np.float32]]:
    """Return the rows above and below each of ``out`` rows, and the share of the lower one."""
    rows = np.arange(out)
    if align_corners:
        places = rows * ((height - 1) / max(1, out - 1))
    else:
        places = np.maximum(0, (rows + 0.5) * height / out - 0.5)
    upper = np.minimum(places.astype(np.int64), height - 1)
    share = (places - upper).astype(np.float32)
    return upper, np.minimum(upper + 1, height - 1), share
