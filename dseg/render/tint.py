"""The tint of an overlay: the colours of classes with the brightness of the image."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dseg.images import Pixels
from dseg.labels import LabelSpace

ROWS_AT_ONCE = 32  # so that a band stays in the processor's cache: 13 ms at 2048x1024
LUMA = (5, 9, 2)  # weights of red, green and blue, of 16
ONE = 64  # a weight of 1 in integers
MIN_BRIGHT = 110  # a colour whose brightest channel is darker is strengthened up to this
MAX_STRENGTH = 1.6
LIGHT = 220  # luma that low opacities move the image's towards, so that shadows show their class
CONTOUR_AT = 480  # rows of an image with a contour of one pixel; twice as many have two
CONTOUR_WHITE = 0.35  # of white in a contour, so that dark classes have a visible one too
SHADES = (30, 190)  # luma of the surfaces that a square of the legend shows the tint of
UNTOUCHED = ("background", "void", "unlabeled", "unlabelled")  # classes that are not drawn


class Tint(NamedTuple):
    """How pixels are tinted: ``(image * own + luma * grey) / 64 + offset of the class``.

    Attributes:
        own, grey: weights of the pixel's channel and of its luma, of 64.
        offset: (3, 256) int16, added to each channel of a class; 0 for values that are no class.
        contour: (256, 3) uint8, colour of the contour of a class.
        drawn: (256,) bool, False for values whose pixels stay as they are.
        last: the last train id that is a class.
    """

    own: int
    grey: int
    offset: NDArray[np.int16]
    contour: Pixels
    drawn: NDArray[np.bool_]
    last: int


@lru_cache(8)
def make_tint(space: LabelSpace, opacity: float) -> Tint:
    """Return the tint of a label space.

    Up to half opacity, the hue of the image gives way to that of the class much faster than its
    brightness does; at 1 the flat colours of the classes remain.

    Args:
        space: the classes, with their colours and names.
        opacity: 0 for the image alone, 1 for the colours alone.
    """
    hue, bright = 1 - (1 - opacity) ** 1.6, opacity**2.5
    colors = np.array(space.palette(), np.float64).reshape(256, 3)
    luma = colors @ np.array(LUMA) / 16
    chroma = colors - luma[:, None]
    strength = np.clip(MIN_BRIGHT / np.maximum(colors.max(axis=1), 1), 1.0, MAX_STRENGTH)
    strength += (1 - strength) * bright
    luma += (LIGHT - luma) * (1 - bright)
    offset = hue * strength[:, None] * chroma + bright * luma[:, None]
    drawn = np.zeros(256, np.bool_)
    drawn[: space.num_classes] = [name.lower() not in UNTOUCHED for name in space.names]
    offset[~drawn] = 0
    line = colors + (255 - colors) * CONTOUR_WHITE * (1 - bright)
    own, kept = round(ONE * (1 - hue)), round(ONE * (1 - bright))
    return Tint(
        own=own,
        grey=kept - own,
        offset=offset.T.round().astype(np.int16, order="C"),
        contour=line.round().astype(np.uint8),
        drawn=drawn,
        last=space.num_classes - 1,
    )


def shades_of(tint: Tint, index: int, count: int) -> Pixels:
    """Return how a class looks on grey surfaces from dark to bright, (count, 3) uint8."""
    greys = np.linspace(*SHADES, count).round()[:, None]
    shades = (greys * (tint.own + tint.grey) + ONE // 2) // ONE + tint.offset[:, index]
    return np.asarray(np.clip(shades, 0, 255), np.uint8)


def apply_tint(image: Pixels, train_ids: Pixels, tint: Tint, out: Pixels) -> None:
    """Tint an image and draw the contours of its classes, in bands of rows.

    Args:
        image: (H, W, 3) uint8, RGB.
        train_ids: (H, W) uint8.
        tint: from ``make_tint``.
        out: (H, W, 3) uint8, filled with the result.
    """
    height, width = train_ids.shape
    thick = max(1, round(min(height, width) / CONTOUR_AT))
    direct = out.flags.c_contiguous
    for top in range(0, height, ROWS_AT_ONCE):
        rows = slice(top, min(top + ROWS_AT_ONCE, height))
        ids = train_ids[rows]
        band = out[rows] if direct else np.empty((len(ids), width, 3), np.uint8)
        _tint_band(image[rows], ids, tint, band)
        complete = bool(ids.max() <= tint.last and tint.drawn[: tint.last + 1].all())
        if tint.own < ONE:
            edge = _find_edges(train_ids, rows, thick)
            if not complete:
                edge |= _find_edges_of_drawn(train_ids, rows, thick, tint)
            at = np.flatnonzero(edge)
            colors = tint.contour.take(ids.reshape(-1).take(at), axis=0)
            band.reshape(-1, 3)[at] = colors
        if not complete:
            np.copyto(band, image[rows], where=~tint.drawn.take(ids)[..., None])
        if not direct:
            out[rows] = band


def _tint_band(image: Pixels, ids: Pixels, tint: Tint, out: Pixels) -> None:
    channels = [image[..., index].astype(np.int16) for index in range(3)]
    luma = channels[0] * LUMA[0]
    luma += channels[1] * LUMA[1]
    luma += channels[2] * LUMA[2]
    luma >>= 4
    luma *= tint.grey
    luma += ONE // 2  # to round to nearest
    at = ids.astype(np.intp)
    offset = np.empty(ids.shape, np.int16)
    for index, values in enumerate(channels):
        values *= tint.own
        values += luma
        values >>= 6
        tint.offset[index].take(at, out=offset, mode="clip")  # no temporary buffer in this mode
        values += offset
        np.clip(values, 0, 255, out=values)
        out[..., index] = values


def _find_edges(train_ids: Pixels, rows: slice, thick: int) -> NDArray[np.bool_]:
    """Return the pixels of a band whose class differs from that of one to the right or below.

    Args:
        thick: distance of the compared pixels, which is the thickness of the contour.
    """
    ids = train_ids[rows]
    edge = np.zeros(ids.shape, np.bool_)
    if ids.shape[1] > thick:
        edge[:, :-thick] = ids[:, thick:] != ids[:, :-thick]
    below = train_ids[rows.start + thick : rows.stop + thick]
    edge[: len(below)] |= below != ids[: len(below)]
    return edge


def _find_edges_of_drawn(
    train_ids: Pixels, rows: slice, thick: int, tint: Tint
) -> NDArray[np.bool_]:
    """Return the drawn pixels of a band to the right of or below pixels that are not drawn."""
    start = max(rows.start - thick, 0)
    drawn = tint.drawn.take(train_ids[start : rows.stop])
    edge = np.zeros(drawn.shape, np.bool_)
    edge[:, thick:] = ~drawn[:, : drawn.shape[1] - thick]
    edge[thick:] |= ~drawn[: max(len(drawn) - thick, 0)]
    edge &= drawn
    return edge[rows.start - start :]
