"""Read images as RGB and masks as stored values, both upright."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dseg.errors import DsegError
from dseg.images.deep_png import read_deep_png
from dseg.images.metadata import (
    SIDEWAYS,
    count_pages,
    find_loss,
    find_orientation,
    has_16_bit_colors,
    has_late_text,
    make_upright,
)
from dseg.images.opening import (
    MAX_PIXELS,
    decoding_error,
    open_header,
    opened,
    refuse_large,
)
from dseg.images.plain_png import read_plain_png
from dseg.images.png import Pixels

Ids = NDArray[np.integer[Any]]

SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")
BITS = (8, 10, 12, 14, 16)  # of camera sensors, in 16-bit files
STRIP = 1 << 22  # pixels that are converted at once


class MaskFile(NamedTuple):
    """The content of a mask file, upright.

    Attributes:
        values: (H, W) uint8, uint16 or int32; or (H, W, 3) uint8 for a colour file.
        palette: (256, 3) uint8, the colour of each value of a palette file, else None.
        loss: name of a lossy compression that may have changed the values, else "".
    """

    values: Ids
    palette: Pixels | None
    loss: str = ""

    def colors(self) -> Ids:
        """Return colours (H, W, 3): stored ones, the palette's, or shades of grey."""
        if self.values.ndim == 3:
            return self.values
        if self.palette is None:
            return np.repeat(self.values[..., None], 3, axis=2)
        return self.palette[self.values]


def read_image(
    path: Path | str, max_pixels: int = MAX_PIXELS, on_note: Callable[[str], None] | None = None
) -> Pixels:
    """Read an image file as RGB, upright (EXIF).

    Grey, palette, CMYK and 16-bit files are converted, alpha is dropped. 16 bits are reduced to the
    upper 8 of those that the image uses (8, 10, 12, 14 or 16), so that a camera's 12 bits do not
    become black. The first of several pages is read.

    Example:
        >>> image = dseg.read_image("street.jpg")
        >>> image.shape, image.dtype
        ((1024, 2048, 3), dtype('uint8'))

    Args:
        path: the file.
        max_pixels: maximum number of pixels.
        on_note: called with a remark on the file for the user, such as that it has several pages.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        DsegError: the file is missing, unreadable, damaged, of an unknown format, larger than
            ``max_pixels``, or of 32-bit integers or floating point, whose range is unknown.
    """
    path = Path(path)
    if (plain := read_plain_png(path, max_pixels)) is not None:
        values, palette = plain
        if values.dtype == np.uint16:
            values = upper_bits(values, path, on_note)
        return MaskFile(values, palette).colors().astype(np.uint8, copy=False)
    with opened(path, max_pixels) as image:
        pages = count_pages(image)
        if pages > 1 and on_note is not None:
            on_note(f"{path} has several pages or frames; the first is read.")
        _refuse_unknown_range(path, image)
        deep = has_16_bit_colors(image)
        image.load()
        upright = make_upright(image, find_orientation(image))
        if upright.mode in SIXTEEN_BITS:
            grey = upper_bits(np.asarray(upright), path, on_note)
            return np.repeat(grey[..., None], 3, axis=2)
        if deep and (dark := _read_dark(path, image, on_note)) is not None:
            return np.asarray(make_upright(Image.fromarray(dark), find_orientation(image)))
        return _to_rgb(upright)


def read_size(path: Path, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return the (height, width) of an upright image without decoding its pixels.

    Raises:
        DsegError: the file is missing, not an image, or larger than ``max_pixels``.
    """
    try:
        with open_header(path) as image:
            refuse_large(path, image, max_pixels)
            width, height = image.size
            orientation = find_orientation(image)
            late = image.format == "PNG" and orientation == 1 and has_late_text(path)
    except DsegError:
        raise
    except Exception as fault:
        raise decoding_error(path, fault) from fault
    if late:  # rare: the orientation can be stored behind the pixels
        with opened(path, max_pixels) as image:
            image.load()
            orientation = find_orientation(image)
    return (width, height) if orientation in SIDEWAYS else (height, width)


def has_orientation(path: Path) -> bool:
    """Return True if a file's EXIF orientation rotates or flips it.

    Raises:
        DsegError: the file is missing or not an image.
    """
    with opened(path, MAX_PIXELS) as image:
        if image.format == "TIFF":
            return image.tag_v2.get(0x112, 1) in range(2, 9)  # type: ignore[attr-defined]
        if image.format == "PNG" and has_late_text(path):
            image.load()
        return find_orientation(image) != 1


def read_loss(path: Path) -> str:
    """Name the lossy compression of a file; "" if there is none.

    Raises:
        DsegError: the file is missing or not an image.
    """
    with opened(path, MAX_PIXELS) as image:
        return find_loss(image, path)


def has_8_bits(path: Path) -> bool:
    """Return True if a mask file's format cannot hold a value above 255.

    Raises:
        DsegError: the file is missing or not an image.
    """
    with opened(path, MAX_PIXELS) as image:
        return image.mode not in ("I", *SIXTEEN_BITS)


def read_mask_file(
    path: Path, max_pixels: int = MAX_PIXELS, *, accept_lossy: bool = False
) -> MaskFile:
    """Read a mask file: values of one channel, or colours, and its palette if it has one.

    Args:
        path: the file.
        max_pixels: maximum number of pixels.
        accept_lossy: also read a file whose compression may have changed its values.

    Raises:
        DsegError: as ``read_image``; the file has several pages; or its compression is lossy.
    """
    if (plain := read_plain_png(path, max_pixels)) is not None:
        return MaskFile(*plain)
    with opened(path, max_pixels) as image:
        loss = find_loss(image, path)
        if loss and not accept_lossy:
            raise lossy_error(path, loss)
        if count_pages(image) > 1:
            raise DsegError(
                f"{path} has several pages or frames; a mask has one.",
                hint="save the page with the mask as a separate file.",
            )
        if image.mode == "F":
            _refuse_unknown_range(path, image)
        image.load()
        upright = make_upright(image, find_orientation(image))
        if upright.mode == "P":
            flat = np.zeros(768, np.uint8)
            colors = np.asarray(upright.getpalette("RGB") or [], np.uint8)[:768]
            flat[: colors.size] = colors
            return MaskFile(np.asarray(upright), flat.reshape(256, 3), loss)
        if upright.mode in ("L", "I", *SIXTEEN_BITS):
            return MaskFile(np.asarray(upright), None, loss)
        if upright.mode == "1":
            return MaskFile(np.asarray(upright).astype(np.uint8), None, loss)
        return MaskFile(_to_rgb(upright), None, loss)


def lossy_error(path: Path, loss: str) -> DsegError:
    """Return the error for a mask whose compression may have changed its values."""
    return DsegError(
        f"{path} is {loss}, which changes values: it can hold classes that nobody annotated.",
        hint="save the mask as PNG again, or accept the file with --accept-lossy.",
    )


def read_mask(path: Path, max_pixels: int = MAX_PIXELS, *, accept_lossy: bool = False) -> Ids:
    """Read a mask of ids: (H, W) uint8, uint16 or int32; of a palette file, the indices.

    Three equal channels are read as one.

    Raises:
        DsegError: as ``read_mask_file``, or the file holds colours instead of ids.
    """
    values = read_mask_file(path, max_pixels, accept_lossy=accept_lossy).values
    if values.ndim == 2:
        return values
    if has_equal_channels(values):
        return values[..., 0]
    raise DsegError(
        f"{path} holds colours, not ids.",
        hint="convert colours to ids first: dseg transfer-labels --help",
    )


def has_equal_channels(values: Ids) -> bool:
    """Return True if all colours of (H, W, 3) are shades of grey."""
    return bool((values[..., :1] == values[..., 1:]).all())


def _refuse_unknown_range(path: Path, image: Image.Image) -> None:
    kinds = {"F": "floating-point pixels", "I": "integers of 32 bits, or of 16 with a sign"}
    if image.mode in kinds:
        raise DsegError(
            f"{path} holds {kinds[image.mode]}, whose range is unknown.",
            hint="save it with 8 or 16 bits per channel.",
        )


def _to_rgb(image: Image.Image) -> Pixels:
    """Return (H, W, 3) uint8; convert large images in strips, without a second copy of all."""
    width, height = image.size
    if width * height <= STRIP:
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    result = np.empty((height, width, 3), np.uint8)
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        result[top : top + rows] = np.asarray(strip.convert("RGB"))
    return result


def upper_bits(values: Ids, path: Path | None, on_note: Callable[[str], None] | None) -> Pixels:
    """Return the upper 8 of the bits that 16-bit values use, uint8.

    Args:
        values: uint16, of any shape.
        path, on_note: as of ``read_image``, for a note on bits that are not used.
    """
    most = int(values.max(initial=0))
    bits = next(bits for bits in BITS if most < 1 << bits)
    if most and bits < 16 and on_note is not None:
        on_note(f"{path} uses {bits} of its 16 bits, and is read as a {bits}-bit image.")
    return (values >> (bits - 8)).astype(np.uint8)


def _read_dark(
    path: Path, image: Image.Image, on_note: Callable[[str], None] | None
) -> Pixels | None:
    """Read 16-bit colours that leave the upper bits unused; None if all bits are used.

    Raises:
        DsegError: at most 12 bits are used in a file whose lower bits cannot be read here.
    """
    extrema: Any = image.getextrema()
    colors = extrema[:1] if image.mode == "LA" else extrema[: 4 if image.mode == "CMYK" else 3]
    most = max(high for _, high in colors)
    if most >= 1 << 6:  # 15 bits or 16
        return None
    if image.format == "PNG" and (deep := read_deep_png(path)) is not None:
        return upper_bits(deep, path, on_note)
    if most < 1 << 4:
        raise DsegError(
            f"{path} has 16 bits per channel, but uses at most 12: it would be read as black.",
            hint="save it with 8 bits, or with values up to 65535.",
        )
    return None
