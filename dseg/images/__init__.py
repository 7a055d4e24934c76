"""Images and masks: safe decoding, metadata, writing. No other folder opens image files."""

from __future__ import annotations

from dseg.images.channels import read_channel
from dseg.images.convert import to_pixels
from dseg.images.opening import FORMATS, IMAGE_SUFFIXES, MAX_PIXELS, UNREAD
from dseg.images.png import Pixels
from dseg.images.reading import (
    Ids,
    MaskFile,
    has_8_bits,
    has_equal_channels,
    has_orientation,
    lossy_error,
    read_image,
    read_loss,
    read_mask,
    read_mask_file,
    read_size,
)
from dseg.images.sheets import is_own_sheet, sheet_path, write_sheet
from dseg.images.writing import JPEG_SIDE, MANIFEST, RESULT_KINDS, write_jpeg, write_png

__all__ = [
    "FORMATS",
    "IMAGE_SUFFIXES",
    "JPEG_SIDE",
    "MANIFEST",
    "MAX_PIXELS",
    "RESULT_KINDS",
    "UNREAD",
    "Ids",
    "MaskFile",
    "Pixels",
    "has_8_bits",
    "has_equal_channels",
    "has_orientation",
    "is_own_sheet",
    "lossy_error",
    "read_channel",
    "read_image",
    "read_loss",
    "read_mask",
    "read_mask_file",
    "read_size",
    "sheet_path",
    "to_pixels",
    "write_jpeg",
    "write_png",
    "write_sheet",
]
