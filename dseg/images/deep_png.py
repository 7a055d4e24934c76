"""PNG files of 16 bits in each of several channels, of which Pillow keeps the upper 8 only."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dseg.images.png import GREY, SIGNATURE, chunk

CHANNELS = {2: 3, 4: 2, 6: 4}  # of the colour types RGB, grey with alpha, RGB with alpha
Bytes = NDArray[np.uint8]


def read_deep_png(path: Path) -> NDArray[np.uint16] | None:
    """Read a PNG of 16 bits per channel that Pillow has decoded, without its alpha.

    Filters of PNG work on each byte of a pixel by itself. So each byte is a grey image of 8 bits
    with the filters of the file, and Pillow restores one after the other.

    Returns:
        (H, W, 3) uint16; None for an interlaced or damaged file.
    """
    data = path.read_bytes()
    width, height, depth, color, *methods = struct.unpack(">IIBBBBB", data[16:29])
    if not data.startswith(SIGNATURE) or depth != 16 or color not in CHANNELS or any(methods):
        return None
    channels = CHANNELS[color]
    line = 1 + 2 * channels * width
    try:
        packed = b"".join(_pixel_chunks(data))
        unpacked = zlib.decompressobj().decompress(packed, line * height)
        rows = np.frombuffer(unpacked, np.uint8).reshape(height, line)
        pixels = rows[:, 1:].reshape(height, width, channels, 2)
        deep = np.empty((height, width, channels), np.uint16)
        for channel in range(channels):
            high, low = (_restored(rows[:, :1], pixels[..., channel, byte]) for byte in (0, 1))
            deep[..., channel] = high.astype(np.uint16) << 8 | low
    except (OSError, SyntaxError, ValueError, struct.error, zlib.error):
        return None
    return np.repeat(deep[..., :1], 3, axis=2) if channels == 2 else deep[..., :3]


def _pixel_chunks(data: bytes) -> Iterator[bytes]:
    """Yield the content of the chunks IDAT."""
    at, name = len(SIGNATURE), b""
    while name != b"IEND" and at + 8 <= len(data):
        length, name = struct.unpack(">I4s", data[at : at + 8])
        if name == b"IDAT":
            yield data[at + 8 : at + 8 + length]
        at += length + 12


def _restored(filters: Bytes, stored: Bytes) -> Bytes:
    """Return (H, W) uint8, given the filter types (H, 1) and the filtered bytes (H, W)."""
    height, width = stored.shape
    lines = np.concatenate([filters, stored], axis=1).tobytes()
    head = struct.pack(">IIBBBBB", width, height, 8, GREY, 0, 0, 0)
    chunks = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(lines, 0)), chunk(b"IEND", b"")
    with Image.open(io.BytesIO(b"".join([SIGNATURE, *chunks])), formats=["PNG"]) as image:
        return np.asarray(image)
