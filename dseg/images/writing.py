"""Write images and label maps atomically."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from dseg.errors import DsegError
from dseg.files import written_whole
from dseg.images.png import Pixels, encode_png

# folders of results; mask/ has one for each mask that was asked for
RESULT_KINDS = (
    *("label_ids", "train_ids", "color", "overlay", "confidence", "entropy"),
    *("mask", "coco", "areas", "video"),
)
MANIFEST = "dseg-run.json"  # in the folder of results: how they were made
JPEG_QUALITY = 90
JPEG_SIDE = 65_500  # limit of the encoder


def write_png(path: Path, pixels: Pixels, palette: list[int] | None = None) -> None:
    """Write a PNG atomically, creating its folder.

    Args:
        pixels: (H, W) ids or (H, W, 3) RGB, uint8.
        palette: 768 values, the RGB colours of the ids.

    Raises:
        DsegError: the folder cannot be written or the disk is full; no partial file is left.
    """
    with written_whole(path) as part, part.open("wb") as file:
        file.writelines(encode_png(pixels, palette))


def write_jpeg(path: Path, pixels: Pixels, quality: int = JPEG_QUALITY) -> None:
    """Write a JPEG atomically, creating its folder; not for ids, which it would change.

    Args:
        pixels: (H, W, 3) RGB, uint8.
        quality: 1 to 95.

    Raises:
        DsegError: as ``write_png``, or a side has more than 65,500 pixels.
    """
    if max(pixels.shape) > JPEG_SIDE:
        raise DsegError(
            f"{path} would have {pixels.shape[1]}x{pixels.shape[0]} pixels, too many for a JPEG.",
            hint="write PNG files instead.",
        )
    with written_whole(path) as part:
        Image.fromarray(pixels).save(part, "JPEG", quality=quality)
