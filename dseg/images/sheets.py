"""Contact sheets as files, marked so that no picture of a user is replaced by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dseg.files import free_path, written_whole
from dseg.images.opening import open_header
from dseg.images.png import Pixels

MARK = "contact sheet of dseg"  # comment of a JPEG, and text "Software" of a PNG
QUALITY = 85  # of a JPEG


def is_own_sheet(path: Path) -> bool:
    """Return True if a file is a contact sheet that dseg wrote, and not a picture of a user."""
    try:
        with open_header(path) as image:
            marks = (image.info.get("comment"), image.info.get("Software"))
    except Exception:  # damaged files raise errors of many kinds
        return False
    return MARK in marks or MARK.encode() in marks


def sheet_path(path: Path) -> Path:
    """Return where a contact sheet is written: another name if the user has such a file."""
    return free_path(path, is_own_sheet)


def write_sheet(path: Path, pixels: Pixels) -> Path:
    """Write a contact sheet, (H, W, 3) uint8, as JPEG or PNG by its suffix.

    Returns:
        Where it was written, as by ``sheet_path``.

    Raises:
        DsegError: the folder cannot be written or the disk is full.
    """
    path = sheet_path(path)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    with written_whole(path) as part:
        if path.suffix.lower() == ".png":
            text = PngInfo()
            text.add_text("Software", MARK)
            image.save(part, "PNG", pnginfo=text)
        else:
            image.save(part, "JPEG", quality=QUALITY, comment=MARK)
    return path
