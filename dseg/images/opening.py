"""Open image files: the formats that are read, limits, and errors."""

from __future__ import annotations

import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

from PIL import Image, UnidentifiedImageError, features

from dseg.errors import DsegError
from dseg.memory import is_out_of_memory, memory_error

HAS_AVIF = bool(features.check("avif"))
HAS_HEIF = find_spec("pi_heif") is not None
HEIF_SUFFIXES = (".heic", ".heif", ".hif")
# no other decoder reads a user's file
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", *(["AVIF"] if HAS_AVIF else []))
IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"),
    *([".avif"] if HAS_AVIF else []),
    *(HEIF_SUFFIXES if HAS_HEIF else []),
)
# other image and video formats: counted and reported where they occur among images
UNREAD = frozenset(
    {
        *(".avif", *HEIF_SUFFIXES, ".gif", ".jp2", ".j2k", ".jpx", ".jpf", ".jxl", ".jfif", ".jpe"),
        *(".mpo", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".dds", ".exr", ".hdr", ".psd", ".svg"),
        *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".raw", ".ico", ".pdf"),
        *(".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".npy", ".npz"),
    }
) - frozenset(IMAGE_SUFFIXES)
MAX_PIXELS = 200_000_000
MAX_RUN_LENGTH_PIXELS = 20_000_000  # of a run-length encoded BMP, which PIL decodes slowly
MAX_RUN_LENGTH_BYTES = 6_000_000

_OPENING = Lock()  # warning filters are process-wide


class _PillowLimit:
    """Lifts PIL's own limit of pixels while any thread decodes; dseg applies its own."""

    def __init__(self) -> None:
        self._lock, self._users, self._limit = Lock(), 0, Image.MAX_IMAGE_PIXELS

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """Lift PIL's limit during the body."""
        with self._lock:
            if not self._users:
                self._limit = Image.MAX_IMAGE_PIXELS
            self._users += 1
            Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    Image.MAX_IMAGE_PIXELS = self._limit


_PILLOW_LIMIT = _PillowLimit()


@contextmanager
def opened(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    """Open an image file of at most ``max_pixels`` pixels, to decode it in the body.

    Raises:
        DsegError: too many pixels, or any error of a decoder, also within the body.
    """
    try:
        with _PILLOW_LIMIT.lifted(), open_header(path) as image:
            refuse_large(path, image, max_pixels)
            yield image
    except DsegError:
        raise
    except Exception as fault:
        raise decoding_error(path, fault) from fault


def open_header(path: Path) -> Image.Image:
    """Open an image file and read its header, without decoding pixels."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # opening a pipe would block indefinitely
        raise OSError("it is a pipe or a device, not a file")
    formats = list(FORMATS)
    if HAS_HEIF and path.suffix.lower() in HEIF_SUFFIXES:
        import pi_heif

        pi_heif.register_heif_opener()
        formats.append("HEIF")
    with _OPENING, _PILLOW_LIMIT.lifted(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = Image.open(path, formats=formats)
    # Without a name PIL does not map the file into memory, which mixes up the pixels of a rotated
    # TIFF.
    image.filename = ""
    return image


def refuse_large(path: Path, image: Image.Image, max_pixels: int) -> None:
    """Raise a DsegError for an image with too many pixels, before it is decoded."""
    width, height = image.size
    pixels = width * height
    if pixels > max_pixels:
        raise DsegError(
            f"{path} has {width}x{height} pixels, more than {max_pixels:,}.",
            hint="if you trust the file, raise --max-pixels.",
        )
    if "bmp_rle" in str(getattr(image, "tile", "")) and (
        pixels > MAX_RUN_LENGTH_PIXELS or path.stat().st_size > MAX_RUN_LENGTH_BYTES
    ):
        raise DsegError(
            f"{path} is a run-length encoded BMP of {width}x{height} pixels and "
            f"{path.stat().st_size:,} bytes: more than {MAX_RUN_LENGTH_PIXELS:,} pixels or "
            f"{MAX_RUN_LENGTH_BYTES:,} bytes take too long to decode.",
            hint="save it as PNG.",
        )


def decoding_error(path: Path, fault: Exception) -> DsegError:
    """Return the error for a file that could not be decoded."""
    if isinstance(fault, FileNotFoundError):
        return DsegError(f"{path} does not exist.", hint="check the spelling of the path.")
    if isinstance(fault, PermissionError):
        return DsegError(
            f"{path} cannot be read: permission denied.", hint="check its permissions."
        )
    if is_out_of_memory(fault):
        return memory_error(
            f"while {path} was decoded", "close other programs, or make it smaller."
        )
    hint = "repair, replace or remove it."
    if path.is_file() and path.stat().st_size == 0:
        reason = "the file is empty"
    elif isinstance(fault, UnidentifiedImageError):
        reason = f"it is not one of {', '.join(FORMATS)}, whatever its name"
        if path.suffix.lower() in UNREAD:
            hint = "save it as PNG or JPEG."
    else:
        reason = getattr(fault, "strerror", None) or str(fault) or type(fault).__name__
    return DsegError(f"{path} cannot be decoded: {reason.rstrip('.')}.", hint=hint)
