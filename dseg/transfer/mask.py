"""Convert a mask from one coding to another by one table look-up for each pixel."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dseg.errors import DsegError, counted
from dseg.images import MaskFile, Pixels, has_equal_channels
from dseg.labels import IGNORE, LabelSpace

MaskIds = NDArray[np.integer[Any]]
Coding = Literal["color", "train-ids", "label-ids"]

PIXELS_AT_ONCE = 1 << 15  # so that their 24-bit keys stay in the processor's cache


class Tables(NamedTuple):
    """Look-up tables from one coding to another, for one label space.

    Attributes:
        of_value: (256,) uint8, for ids; unused for colours.
        of_color: (2**24,) uint8, for ``red | green << 8 | blue << 16``; empty for ids.
        unknown: result for unknown ids and colours; no known one has it.
    """

    of_value: Pixels
    of_color: Pixels
    unknown: int


def transfer_mask(
    mask: MaskFile,
    space: LabelSpace,
    source: Coding,
    target: Coding,
    unknown: int | None = None,
) -> Pixels:
    """Convert one mask.

    Args:
        mask: content of the file. With source ``color``, the palette's colours are converted in a
            palette file, and one channel without a palette is shades of grey; otherwise the values
            are converted, of three equal channels the first.
        space: the label space.
        source: coding of the mask.
        target: coding of the result; ``color`` returns train ids, to be written with
            ``space.palette()``.
        unknown: label id for colours and ids that the label space does not have.

    Returns:
        (H, W) uint8: label ids, or train ids with 255 for ignored pixels.

    Raises:
        DsegError: the mask has colours or ids that the label space does not have and ``unknown``
            is None; ``unknown`` is not a label id; or a file of colours is read as ids.
    """
    check_unknown(space, unknown)
    tables = _tables(space, source, target)
    values = mask.values
    if source == "color":
        result = _from_colors(values, mask.palette, tables)
    elif values.ndim == 2:
        result = _from_ids(values, tables)
    elif has_equal_channels(values):
        result = _from_ids(values[..., 0], tables)
    else:
        raise DsegError(
            "The file holds colours, not ids.", hint="use --from color, or leave --from out."
        )
    missed = result == tables.unknown
    if missed.any():
        if unknown is None:
            raise _unknown_error(mask, missed, space, source)
        result[missed] = _result_of(space, target, unknown)
    return result


def check_unknown(space: LabelSpace, unknown: int | None) -> None:
    """Raise a DsegError unless ``unknown`` is None or one of the space's label ids."""
    valid = sorted({*space.label_ids, *space.ignored_ids})
    if unknown is not None and unknown not in valid:
        raise DsegError(
            f"{unknown} is not a label id of {space.name}.",
            hint=f"use one of: {', '.join(map(str, valid))}.",
        )


@cache
def _tables(space: LabelSpace, source: Coding, target: Coding) -> Tables:
    """Build the tables; that of colours takes 16 MiB, of which a mask uses a few cache lines."""
    results = {
        label_id: _result_of(space, target, label_id)
        for label_id in (*space.label_ids, *space.ignored_ids)
    }
    unknown = next(value for value in range(254, -1, -1) if value not in results.values())
    of_value = np.full(256, unknown, np.uint8)
    of_color = np.full(1 << 24 if source == "color" else 0, unknown, np.uint8)
    if source == "color":
        for (red, green, blue), label_id in space.label_id_of_color().items():
            of_color[red | green << 8 | blue << 16] = results[label_id]
    elif source == "train-ids":
        of_value[IGNORE] = _result_of(space, target, space.void_label_id)
        of_value[: space.num_classes] = [results[label_id] for label_id in space.label_ids]
    else:
        for label_id, result in results.items():
            of_value[label_id] = result
    return Tables(of_value, of_color, unknown)


def _result_of(space: LabelSpace, target: Coding, label_id: int) -> int:
    """Return the value of a label id in the target coding."""
    return label_id if target == "label-ids" else space.train_id_of(label_id)


def _from_ids(values: MaskIds, tables: Tables) -> Pixels:
    """Look up (H, W) ids of any integer type."""
    if values.dtype == np.uint8:
        return _mapped(values, tables.of_value)
    wide = values.astype(np.int64)
    result = tables.of_value.take(wide, mode="clip")
    result[(wide < 0) | (wide > 255)] = tables.unknown
    return result


def _from_colors(values: MaskIds, palette: Pixels | None, tables: Tables) -> Pixels:
    """Look up (H, W, 3) colours, or (H, W) values by the colour of each."""
    if values.ndim == 2:
        of_value = tables.of_color.take(_packed(_shades(palette)))
        if values.dtype == np.uint8:
            return _mapped(values, of_value)
        return of_value.take(values, mode="clip")
    height, width, _ = values.shape
    flat = np.ascontiguousarray(values).reshape(-1)
    result = np.empty(height * width, np.uint8)
    # Each pixel but the last is read as the lower three of four bytes: 3.5 times as fast as
    # packing channel by channel.
    words: MaskIds = np.ndarray((result.size - 1,), np.dtype("<u4"), buffer=flat.data, strides=(3,))
    for start in range(0, words.size, PIXELS_AT_ONCE):
        keys = words[start : start + PIXELS_AT_ONCE].astype(np.intp)
        keys &= 0xFFFFFF
        tables.of_color.take(keys, out=result[start : start + keys.size], mode="clip")
    result[-1:] = tables.of_color.take(_packed(flat[-3:].reshape(1, 3)))
    return result.reshape(height, width)


def _mapped(values: MaskIds, table: Pixels) -> Pixels:
    """Return the entry of a (256,) table for each of (H, W) uint8 values.

    Pillow does it 3 times as fast as numpy, which widens each value to an index of 64 bits.
    """
    return np.array(Image.fromarray(values).point(table.tolist()))


def _shades(palette: Pixels | None) -> Pixels:
    """Return (256, 3): the colour of each value of a file of one channel."""
    if palette is not None:
        return palette
    return np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)


def _packed(colors: MaskIds) -> MaskIds:
    """Return ``red | green << 8 | blue << 16`` for (N, 3) colours."""
    packed: MaskIds = colors.astype(np.int64) @ np.array([1, 1 << 8, 1 << 16])
    return packed


def _unknown_error(
    mask: MaskFile, missed: NDArray[np.bool_], space: LabelSpace, source: Coding
) -> DsegError:
    """Return an error with the most frequent unknown colour or id and its number of pixels."""
    found: MaskIds = mask.values[missed].astype(np.int64)
    if source == "color":
        shades = _shades(mask.palette)
        found = _packed(found if found.ndim == 2 else shades.take(found, axis=0, mode="clip"))
    kinds, counts = np.unique(found, return_counts=True)
    value, count = int(kinds[np.argmax(counts)]), int(np.max(counts))
    if source == "color":
        kind, shown = "colour", str((value & 255, value >> 8 & 255, value >> 16))
        hint = (
            "JPEG and smooth resizing blend colours at edges: use masks made without them; "
            "or map all unknown colours to one label id with --unknown ID."
        )
    else:
        kind, shown = "id", str(value)
        hint = (
            f"they were read as {source}: choose another --from or --label-space; "
            "or map all unknown ids to one label id with --unknown ID."
        )
    if source != "color" and value > IGNORE:
        hint = "such ids are of instances: choose the files by a pattern, '*_labelIds.png'."
    pixels = counted(count, "pixel")
    more = len(kinds) - 1
    others = f", and {counted(more, f'other unknown {kind}')}" if more else ""
    return DsegError(f"{pixels} of {kind} {shown}, unknown to {space.name}{others}.", hint=hint)
