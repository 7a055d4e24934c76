"""Predictions beside their ground truth, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dseg.images import Pixels, write_png
from dseg.labels import LabelSpace
from dseg.render import render_overlay

WIDTH = 1800  # of the widest sheet, in pixels
GAP = 4  # pixels between the three parts
CAPTION = 22  # pixels above them
NAME_LENGTH = 50  # characters; each takes up to 4 of the 255 bytes that a file's name may have

Drawn = tuple[str, Pixels, Pixels, Pixels]


def write_predictions(samples: Sequence[Drawn], space: LabelSpace, folder: Path) -> None:
    """Draw one PNG a sample: the image, its ground truth, the prediction.

    Args:
        samples: ``(name, image (H, W, 3), truth (H, W), prediction (H, W))``, all uint8, ids are
            train ids.
        space: the classes.
        folder: for the PNGs.

    Raises:
        DsegError: a file cannot be written.
    """
    taken: set[str] = set()
    for name, image, truth, prediction in samples:
        sheet = _make_sheet(image, truth, prediction, space)
        write_png(folder / f"{_name_file(name, taken)}.png", sheet)


def _make_sheet(image: Pixels, truth: Pixels, prediction: Pixels, space: LabelSpace) -> Pixels:
    """Put image, ground truth and prediction side by side, each below its caption."""
    most = (WIDTH - 2 * GAP) // 3
    photo = _shrink(image, most, Image.Resampling.BOX)
    # ids are shrunk before they are drawn, so that the legend stays legible
    ids = [_shrink(mask, most, Image.Resampling.NEAREST) for mask in (truth, prediction)]
    parts = {
        "image": photo,
        "ground truth": render_overlay(photo, ids[0], space, opacity=0.7, legend=False),
        "prediction": render_overlay(photo, ids[1], space, opacity=0.7),
    }
    height, width = photo.shape[:2]
    sheet = Image.new("RGB", (3 * width + 2 * GAP, CAPTION + height), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    for place, (caption, pixels) in enumerate(parts.items()):
        left = place * (width + GAP)
        if font.getlength(caption) < width:
            draw.text((left + width // 2, CAPTION // 2), caption, "black", font, anchor="mm")
        sheet.paste(Image.fromarray(pixels), (left, CAPTION))
    return np.asarray(sheet)


def _shrink(pixels: Pixels, most: int, how: Image.Resampling) -> Pixels:
    """Return pixels at most so wide."""
    height, width = pixels.shape[:2]
    if width <= most:
        return pixels
    size = (most, max(1, round(height * most / width)))
    return np.asarray(Image.fromarray(pixels).resize(size, how))


def _name_file(name: str, taken: set[str]) -> str:
    """Return a name that any file system takes and no other sample has; add it to ``taken``."""
    plain = "".join(c if c.isalnum() or c in "-_." else "-" for c in name)[-NAME_LENGTH:]
    plain = plain.lstrip(".-") or "image"
    unique, count = plain, 1
    while unique.casefold() in taken:
        count += 1
        unique = f"{plain}-{count}"
    taken.add(unique.casefold())
    return unique
