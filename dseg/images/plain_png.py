"""A fast decoder of plain PNG files; Pillow reads all others.

Plain are files of 8 bits in grey, palette or RGB, or of 16 bits in grey, not interlaced, without
metadata that changes pixels, and without damage. If their rows are stored as they are or as the
difference from the row above (filters "None" and "Up"), as dseg writes label maps, numpy restores
them behind ISA-L in a third of Pillow's time. Rows with other filters are read by libpng, through
imagecodecs where that is installed (``pip install dseg[fast]``), in half of Pillow's time. All of
it releases the GIL.
"""

from __future__ import annotations

import logging
import stat
import struct
import zlib
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dseg.images.png import GREY, PALETTE, RGB, SIGNATURE, UP, isal

Bytes = NDArray[np.uint8]

NONE = 0  # filter type
KINDS = {(8, GREY): 1, (8, PALETTE): 1, (8, RGB): 3, (16, GREY): 2}  # bytes of a pixel
HEADER = 33  # bytes of the signature and of the chunk IHDR
# chunks without effect on pixels or orientation; a file with others is left to Pillow
HARMLESS = (b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"bKGD", b"hIST", b"pHYs", b"tIME")
MAX_CHUNKS = 100_000
PEEK = 16  # rows that are decompressed to find out which filters are used
BLOCK = 32  # rows whose differences are summed before blocks are joined
# damaged files that imagecodecs gets: its version 2026.3.6 loses a reference to None with each, and
# Python 3.11 ends when all are lost, after some ten thousand
MAX_FAULTS = 100
END = b"\0\0\0\0IEND\xaeB`\x82"

_faults: list[str] = []


class PlainPng(NamedTuple):
    """A plain PNG file, not yet decoded.

    Attributes:
        height, width: pixels.
        depth: bits of a channel, 8 or 16.
        color: colour type, one of GREY, RGB and PALETTE.
        row: bytes of a row, without its filter type.
        palette: (256, 3) uint8 of a palette file, else None.
        data: the whole file.
        chunks: start and end of the content of each chunk IDAT.
    """

    height: int
    width: int
    depth: int
    color: int
    row: int
    palette: Bytes | None
    data: bytes
    chunks: list[tuple[int, int]]


def read_plain_png(
    path: Path, max_pixels: int
) -> tuple[NDArray[np.integer[Any]], Bytes | None] | None:
    """Read a plain PNG file; None if Pillow has to read it, or to report what is wrong with it.

    Args:
        path: the file.
        max_pixels: maximum number of pixels.

    Returns:
        The stored values, (H, W) uint8 or uint16 or (H, W, 3) uint8, and the palette, (256, 3)
        uint8, of a palette file, else None.
    """
    try:
        if (data := _read_file(path, max_pixels)) is None or (png := parse_png(data)) is None:
            return None
        values = _decode(png)
    except Exception:  # of any decoder; Pillow decodes the file again, and describes the fault
        return None
    return None if values is None else (values, png.palette)


def parse_png(data: bytes) -> PlainPng | None:
    """Find the chunks of a plain PNG; None for every other file, and for damaged chunks.

    The checksum of pixels is left to the decoders.
    """
    if data[:16] != SIGNATURE + b"\0\0\0\rIHDR":
        return None
    width, height, depth, color, *methods = struct.unpack(">IIBBBBB", data[16:29])
    size = KINDS.get((depth, color))
    if size is None or any(methods) or not width or not height:
        return None
    palette, chunks, at = None, list[tuple[int, int]](), 8
    for _ in range(MAX_CHUNKS):
        length, name = struct.unpack(">I4s", data[at : at + 8])
        end = at + 8 + length
        if name == b"IDAT":
            if chunks and chunks[-1][1] + 12 != at + 8:  # other chunks between
                return None
            chunks.append((at + 8, end))
        else:
            (checksum,) = struct.unpack(">I", data[end : end + 4])
            if zlib.crc32(data[at + 4 : end]) != checksum:
                return None
            if name == b"PLTE" and palette is None and not chunks:
                palette = data[at + 8 : end]
            elif name == b"IEND":
                break
            elif name not in HARMLESS and at != 8:
                return None
        at = end + 4
    else:
        return None
    colors = None
    if color == PALETTE:
        if not palette or len(palette) % 3 or len(palette) > 768:
            return None
        colors = np.zeros((256, 3), np.uint8)
        colors.reshape(-1)[: len(palette)] = np.frombuffer(palette, np.uint8)
    return PlainPng(height, width, depth, color, width * size, colors, data, chunks)


def _read_file(path: Path, max_pixels: int) -> bytes | None:
    """Return the content of a regular file with the header of a PNG that is not too large."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        return None
    with path.open("rb") as file:
        head = file.read(HEADER)
        if len(head) < HEADER or not head.startswith(SIGNATURE):
            return None
        width, height = struct.unpack(">II", head[16:24])
        # incompressible pixels take somewhat more than their own size
        if width * height > max_pixels or status.st_size > 8 * width * height + (1 << 20):
            return None
        return head + file.read()


def _decode(png: PlainPng) -> NDArray[np.integer[Any]] | None:
    """Return the stored values; None if no decoder here reads them.

    Raises:
        Exception: damaged pixels.
    """
    shape = (png.height, png.width, 3)[: 3 if png.color == RGB else 2]
    if (rows := _restored(png)) is not None:
        if png.depth == 16:
            return rows.view(">u2").astype(np.uint16)
        return rows.reshape(shape)
    if (decode := _libpng()) is None or len(_faults) >= MAX_FAULTS:
        return None
    try:
        values = decode(_stripped(png))
    except Exception as fault:
        _faults.append(str(fault))
        raise
    wanted = np.uint16 if png.depth == 16 else np.uint8
    return values if values.shape == shape and values.dtype == wanted else None


def _restored(png: PlainPng) -> Bytes | None:
    """Return the bytes of all rows, (H, N), or None if they have filters other than one of the two.

    Raises:
        Exception: damaged pixels.
    """
    packed = b"".join([png.data[start:end] for start, end in png.chunks])
    line = png.row + 1
    size = line * png.height
    library = zlib if isal is None else isal
    first = library.decompressobj().decompress(packed, line * min(PEEK, png.height))
    if set(first[::line]) - {NONE, UP}:
        return None
    unpacker = library.decompressobj()
    rows = np.frombuffer(unpacker.decompress(packed, size + 1), np.uint8)
    if rows.size != size or not unpacker.eof:
        raise ValueError("too few or too many pixels")
    rows = rows.reshape(png.height, line)
    filters = set(rows[1:, 0].tolist())  # in the first row, both are the same
    if filters <= {UP}:
        return sum_rows(rows[:, 1:])
    return np.ascontiguousarray(rows[:, 1:]) if filters == {NONE} else None


def sum_rows(rows: Bytes) -> Bytes:
    """Return the cumulative sum of (H, N) uint8 over the rows, modulo 256.

    Blocks of rows are summed side by side, then joined: 4 times as fast as row by row, with few
    calls, which each release the GIL.
    """
    height, length = rows.shape
    result = np.empty((height, length), np.uint8)
    full = height // BLOCK * BLOCK
    steps = rows[:full].reshape(-1, BLOCK, length)
    blocks = result[:full].reshape(-1, BLOCK, length)
    blocks[:, :1] = steps[:, :1]
    for row in range(1, BLOCK):
        np.add(blocks[:, row - 1], steps[:, row], out=blocks[:, row])
    for before, block in pairwise(blocks):
        block += before[-1]
    if not full:
        result[0] = rows[0]
    for row in range(max(full, 1), height):
        np.add(result[row - 1], rows[row], out=result[row])
    return result


@cache
def _libpng() -> Callable[[bytes], NDArray[Any]] | None:
    """Return the decoder of imagecodecs, None if it is not installed."""
    try:
        from imagecodecs import png_decode
    except ImportError:
        return None
    # else remarks on unusual files, which are read nevertheless, go to stderr
    logging.getLogger("imagecodecs").addHandler(logging.NullHandler())
    decode: Callable[[bytes], NDArray[Any]] = png_decode
    return decode


def _stripped(png: PlainPng) -> bytes:
    """Return the file without metadata, and without its palette, which libpng would apply."""
    head = png.data[12:25] + bytes([GREY if png.color == PALETTE else png.color]) + bytes(3)
    checksum = struct.pack(">I", zlib.crc32(head))
    pixels = png.data[png.chunks[0][0] - 8 : png.chunks[-1][1] + 4]
    return b"".join([png.data[:12], head, checksum, pixels, END])
