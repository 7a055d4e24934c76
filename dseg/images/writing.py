"""Writing images and label maps, each whole or not at all."""

from __future__ import annotations

import zlib
from pathlib import Path

from PIL import Image

from dseg.errors import DsegError
from dseg.files import written_whole
from dseg.images.reading import Pixels

JPEG_QUALITY = 90
JPEG_SIDE = 65_500  # the coder's own limit
PNG_LEVEL = 3  # a label map of 2048x1024: 12 ms and 27 kB; level 9 takes 93 ms for 16 kB


def write_png(path: Path, pixels: Pixels, palette: list[int] | None = None) -> None:
    """Write a PNG whole or not at all, making its folder.

    Args:
        pixels: (H, W) ids or (H, W, 3) RGB, uint8.
        palette: 768 numbers, the colours of the ids.

    Raises:
        DsegError: the folder cannot be written or the disk is full; no part of the file is left.
    """
    image = Image.fromarray(pixels)
    if palette is not None:
        image.putpalette(palette)
    # A photograph has few repeats to look for: run lengths take two thirds of the time, and
    # no more room.
    strategy = zlib.Z_RLE if pixels.ndim == 3 else zlib.Z_DEFAULT_STRATEGY
    with written_whole(path) as part:
        image.save(part, "PNG", compress_level=PNG_LEVEL, compress_type=strategy)


def write_jpeg(path: Path, pixels: Pixels) -> None:
    """Write a JPEG whole or not at all, making its folder: for people, not for ids.

    Args:
        pixels: (H, W, 3) RGB, uint8.

    Raises:
        DsegError: as ``write_png``, or a side has more than 65,500 pixels.
    """
    if max(pixels.shape) > JPEG_SIDE:
        raise DsegError(
            f"{path} would have {pixels.shape[1]}x{pixels.shape[0]} pixels, too many for a JPEG.",
            hint="write PNG files instead.",
        )
    with written_whole(path) as part:
        Image.fromarray(pixels).save(part, "JPEG", quality=JPEG_QUALITY)
