"""Masks whose ids are one channel of a colour file."""

from __future__ import annotations

from pathlib import Path

from dseg.errors import DsegError
from dseg.images.deep_png import read_deep_png
from dseg.images.metadata import has_16_bit_colors
from dseg.images.opening import MAX_PIXELS, opened
from dseg.images.reading import Ids, read_mask_file


def read_channel(
    path: Path, channel: int, max_pixels: int = MAX_PIXELS, *, accept_lossy: bool = False
) -> Ids:
    """Read the ids in one channel of a colour file: (H, W) uint8 or uint16.

    Args:
        path: the file, of 8 bits per channel, or a PNG of 16.
        channel: 0 to 2, for red, green or blue.
        max_pixels: maximum number of pixels.
        accept_lossy: also read a file whose compression may have changed its values.

    Raises:
        DsegError: as ``read_mask_file``, or the file has one channel.
    """
    with opened(path, max_pixels) as image:
        deep = has_16_bit_colors(image)
    if not deep:
        values = read_mask_file(path, max_pixels, accept_lossy=accept_lossy).values
        if values.ndim == 2:
            hint = "remove mask_channel from the class file."
            raise DsegError(f"{path} has one channel.", hint=hint)
        return values[..., channel]
    if (pixels := read_deep_png(path)) is None:
        raise DsegError(
            f"{path} has 16 bits per channel and is interlaced or damaged.",
            hint="save it again as a plain PNG.",
        )
    return pixels[..., channel]
