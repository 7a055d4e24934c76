"""Safe decoding of image and mask files, atomic writing: the only file that opens pixels."""

from __future__ import annotations

import stat
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from dseg.errors import DsegError
from dseg.files import written_whole
from dseg.memory import is_out_of_memory, memory_error

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")  # no other decoder ever sees a user's file
MAX_PIXELS = 200_000_000
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height
JPEG_QUALITY = 90
JPEG_SIDE = 65_500  # the coder's own limit
PNG_LEVEL = 3  # a label map of 2048x1024: 12 ms and 27 kB; level 9 takes 93 ms for 16 kB

Pixels = NDArray[np.uint8]
Ids = NDArray[np.integer[Any]]

_OPENING = Lock()  # PIL's limit and the warning filters belong to all threads


class MaskFile(NamedTuple):
    """What a mask file holds.

    Attributes:
        values: (H, W) of uint8, uint16 or int32, or (H, W, 3) uint8 for a colour file.
        palette: (256, 3) uint8, the colour of each value of a palette file, else None.
    """

    values: Ids
    palette: Pixels | None


@contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    """Open and decode an image file; whatever a decoder may raise becomes a DsegError."""
    try:
        with _open_header(path) as image:
            width, height = image.size
            if width * height <= max_pixels:
                image.load()
                yield image
                return
    except DsegError:
        raise
    except Exception as fault:
        raise _decoding_error(path, fault) from fault
    raise DsegError(
        f"{path} has {width}x{height} pixels, more than {max_pixels:,}.",
        hint="if the file is to be trusted, raise --max-pixels.",
    )


def _open_header(path: Path) -> Image.Image:
    """Read what a file says of itself; PIL's own limit gives way to ``max_pixels``."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # opening a pipe would wait for ever
        raise OSError("it is a pipe or a device, not a file")
    with _OPENING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path, formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _decoding_error(path: Path, fault: Exception) -> DsegError:
    if is_out_of_memory(fault):
        return memory_error(
            f"while {path} was decoded", "close other programs, or make it smaller."
        )
    if isinstance(fault, FileNotFoundError):
        return DsegError(f"{path} does not exist.", hint="check the spelling of the path.")
    if isinstance(fault, PermissionError):
        return DsegError(f"{path} may not be read: permission denied.", hint="check who owns it.")
    if path.is_file() and path.stat().st_size == 0:
        reason = "the file is empty"
    elif isinstance(fault, UnidentifiedImageError):
        reason = f"it is none of {', '.join(FORMATS)}, whatever its name says"
    else:
        reason = getattr(fault, "strerror", None) or str(fault) or type(fault).__name__
    return DsegError(
        f"{path} cannot be decoded: {reason.rstrip('.')}.", hint="repair, replace or remove it."
    )


def read_image(path: Path, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Read any image upright (EXIF) and in colour.

    Grey, palette, alpha, CMYK and 16-bit files are converted; alpha is dropped, 16 bits are cut
    to the upper 8.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        DsegError: missing, unreadable, broken, no known format, or larger than ``max_pixels``.
    """
    with _opened(path, max_pixels) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):  # 16 bits a pixel; PIL's own conversion clips at 255
            grey = np.asarray(upright)
            return np.repeat((grey >> 8).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
        _refuse_float(path, upright)
        return np.asarray(upright.convert("RGB"))


def read_size(path: Path) -> tuple[int, int]:
    """Return the (height, width) of an upright image without decoding its pixels.

    Raises:
        DsegError: missing, or no image.
    """
    try:
        with _open_header(path) as image:
            width, height = image.size
            sideways = image.getexif().get(ExifTags.Base.Orientation) in SIDEWAYS
    except Exception as fault:
        raise _decoding_error(path, fault) from fault
    return (width, height) if sideways else (height, width)


def _refuse_float(path: Path, image: Image.Image) -> None:
    if image.mode == "F":
        raise DsegError(
            f"{path} holds floating-point pixels, whose range is unknown.",
            hint="save it with 8 or 16 bits a channel.",
        )


def read_mask_file(path: Path, max_pixels: int = MAX_PIXELS) -> MaskFile:
    """Read a mask file as it is: values of one channel, or colours, and its palette if it has one.

    Raises:
        DsegError: as ``read_image``.
    """
    with _opened(path, max_pixels) as image:
        if image.mode == "P":
            flat = np.zeros(768, np.uint8)
            colors = np.asarray(image.getpalette("RGB") or [], np.uint8)[:768]
            flat[: colors.size] = colors
            return MaskFile(np.asarray(image), flat.reshape(256, 3))
        if image.mode in ("L", "I", "I;16", "I;16B", "I;16L"):
            return MaskFile(np.asarray(image), None)
        if image.mode == "1":
            return MaskFile(np.asarray(image).astype(np.uint8), None)
        _refuse_float(path, image)
        return MaskFile(np.asarray(image.convert("RGB")), None)


def read_mask(path: Path, max_pixels: int = MAX_PIXELS) -> Ids:
    """Read a mask of ids: (H, W) uint8, uint16 or int32; a palette file gives its indices.

    Raises:
        DsegError: as ``read_image``, or the file holds colours instead of ids.
    """
    values = read_mask_file(path, max_pixels).values
    if values.ndim == 2:
        return values
    raise DsegError(
        f"{path} holds colours, not ids.",
        hint="turn colours into ids first: dseg transfer-labels --help",
    )


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
