"""Metadata of an image file: orientation, pages, bit depth, and lossy compression."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from PIL import ExifTags, Image

ORIENTATION = ExifTags.Base.Orientation
TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)  # orientations that swap width and height
NEW_SUBFILE_TYPE = 254  # TIFF's tag of a page
NOT_A_PAGE = 0b101  # bits of that tag: a reduced copy of another page, a transparency mask
MAX_PAGES = 100  # largest number of pages counted
LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp", "tiff_sgilog", "tiff_sgilog24")
PNG_TEXT = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")  # chunks that can hold an orientation
MAX_PNG_CHUNKS = 100_000


def find_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8, that PIL has not applied; 1 if it is damaged.

    PIL applies the orientation of TIFF images itself.
    """
    if image.format == "TIFF":
        return 1
    try:  # not PIL's PNG method, which decodes the pixels first to read the chunks behind them
        value = Image.Image.getexif(image).get(ORIENTATION, 1)
    except Exception:  # damaged data raises errors of many kinds
        return 1
    return value if isinstance(value, int) and value in TRANSPOSES else 1


def make_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Apply an EXIF orientation; an upright image is returned itself."""
    return image.transpose(TRANSPOSES[orientation]) if orientation in TRANSPOSES else image


def has_late_text(path: Path) -> bool:
    """Return True if a PNG has chunks behind its pixels that can hold an orientation."""
    try:
        with path.open("rb") as file:
            file.seek(8)
            return _find_late_text(file)
    except OSError:
        return False


def _find_late_text(file: BinaryIO) -> bool:
    after_pixels = False
    for _ in range(MAX_PNG_CHUNKS):
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            return False
        after_pixels |= head[4:] == b"IDAT"
        if after_pixels and head[4:] in PNG_TEXT:
            return True
        file.seek(struct.unpack(">I", head[:4])[0] + 4, 1)
    return False


def count_pages(image: Image.Image) -> int:
    """Count the pages (TIFF) or frames of a file. Call it before the pixels are decoded.

    Reduced copies of a page, which geographic tools add, do not count; nor do the additional
    images in a camera's JPEG.
    """
    if not getattr(image, "is_animated", False) or image.format in ("JPEG", "MPO"):
        return 1
    if image.format != "TIFF":
        return int(getattr(image, "n_frames", 1))
    pages = 0
    try:
        for page in range(MAX_PAGES):
            image.seek(page)
            kind = image.tag_v2.get(NEW_SUBFILE_TYPE, 0)  # type: ignore[attr-defined]
            pages += not (isinstance(kind, int) and kind & NOT_A_PAGE)
    except EOFError:
        pass
    finally:
        image.seek(0)
    return max(pages, 1)


def has_16_bit_colors(image: Image.Image) -> bool:
    """Return True if a colour file has 16 bits per channel, of which PIL keeps the upper 8."""
    return image.mode in ("RGB", "RGBA", "RGBX", "LA", "CMYK") and ";16" in str(
        getattr(image, "tile", "")
    )


def find_loss(image: Image.Image, path: Path) -> str:
    """Name the compression that may have changed a file's values; "" if there is none.

    It is found in the data, not in the file name. WebP is lossy or lossless; AVIF and HEIC are
    assumed to be lossy.
    """
    if image.format in ("JPEG", "MPO"):
        return "JPEG"
    if image.format in ("AVIF", "HEIF"):
        return str(image.format)
    compression = str(image.info.get("compression", ""))
    if image.format == "TIFF" and compression in LOSSY_TIFF:
        return f"TIFF with {compression.removeprefix('tiff_').upper()} compression"
    if image.format == "WEBP" and not _is_lossless_webp(path):
        return "lossy WebP"
    return ""


def _is_lossless_webp(path: Path) -> bool:
    """Return True if the first image of a WebP file is lossless (chunk VP8L)."""
    with path.open("rb") as file:
        data = file.read(1 << 16)
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], struct.unpack("<I", data[at + 4 : at + 8])[0]
        if name in (b"VP8 ", b"VP8L"):
            return name == b"VP8L"
        at += 24 if name == b"ANMF" else 8 + size + size % 2  # a frame contains its chunks
    return False
