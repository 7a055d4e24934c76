"""What a file says of its picture: orientation, pages, bits, and whether its values are exact."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from PIL import ExifTags, Image

ORIENTATION = ExifTags.Base.Orientation
TURNS = {
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
NO_PICTURE = 0b101  # its bits for a smaller copy of another page and for a transparency mask
PAGES_AT_MOST = 100  # that are looked at
LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp", "tiff_sgilog", "tiff_sgilog24")
PNG_TEXT = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")  # chunks that may hold an orientation
PNG_CHUNKS_AT_MOST = 100_000


def find_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8, that is still to be applied; 1 where it is damaged.

    PIL turns TIFF images itself.
    """
    if image.format == "TIFF":
        return 1
    try:  # PIL's PNG reader would decode the pixels first, to look behind them
        value = Image.Image.getexif(image).get(ORIENTATION, 1)
    except Exception:  # junk raises errors of many kinds
        return 1
    return value if isinstance(value, int) and value in TURNS else 1


def turn(image: Image.Image, orientation: int) -> Image.Image:
    """Return an image upright: the image itself if it is that already."""
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def has_late_text(path: Path) -> bool:
    """Return True if a PNG has chunks behind its pixels that may hold an orientation."""
    try:
        with path.open("rb") as file:
            file.seek(8)
            return _find_late_text(file)
    except OSError:
        return False


def _find_late_text(file: BinaryIO) -> bool:
    pixels_seen = False
    for _ in range(PNG_CHUNKS_AT_MOST):
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            return False
        pixels_seen |= head[4:] == b"IDAT"
        if pixels_seen and head[4:] in PNG_TEXT:
            return True
        file.seek(struct.unpack(">I", head[:4])[0] + 4, 1)
    return False


def count_pages(image: Image.Image) -> int:
    """Return the pages (TIFF) or frames of a file that hold pictures of their own.

    Smaller copies of a page, as geographic tools add them, do not count; nor do the further
    pictures of a camera's JPEG. To be called before the pixels are decoded.
    """
    if not getattr(image, "is_animated", False) or image.format in ("JPEG", "MPO"):
        return 1
    if image.format != "TIFF":
        return int(getattr(image, "n_frames", 1))
    pages = 0
    try:
        for page in range(PAGES_AT_MOST):
            image.seek(page)
            kind = image.tag_v2.get(NEW_SUBFILE_TYPE, 0)  # type: ignore[attr-defined]
            pages += not (isinstance(kind, int) and kind & NO_PICTURE)
    except EOFError:
        pass
    finally:
        image.seek(0)
    return max(pages, 1)


def has_16_bit_colors(image: Image.Image) -> bool:
    """Return True if each channel of a colour file has 16 bits, of which PIL keeps the upper 8."""
    return image.mode in ("RGB", "RGBA", "RGBX", "LA", "CMYK") and ";16" in str(
        getattr(image, "tile", "")
    )


def find_loss(image: Image.Image, path: Path) -> str:
    """Return the compression that may have changed a file's values, in words; "" if there is none.

    It is found in the data, not in the name. WebP has two kinds, of which one is exact; AVIF and
    HEIC are taken to be lossy.
    """
    if image.format in ("JPEG", "MPO"):
        return "JPEG"
    if image.format in ("AVIF", "HEIF"):
        return str(image.format)
    compression = str(image.info.get("compression", ""))
    if image.format == "TIFF" and compression in LOSSY_TIFF:
        return f"TIFF with {compression.removeprefix('tiff_').upper()} compression"
    if image.format == "WEBP" and not _is_exact_webp(path):
        return "lossy WebP"
    return ""


def _is_exact_webp(path: Path) -> bool:
    """Return True if the first picture of a WebP file is stored without loss (chunk VP8L)."""
    with path.open("rb") as file:
        data = file.read(1 << 16)
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], struct.unpack("<I", data[at + 4 : at + 8])[0]
        if name in (b"VP8 ", b"VP8L"):
            return name == b"VP8L"
        at += 24 if name == b"ANMF" else 8 + size + size % 2  # a frame's chunks lie inside it
    return False
