"""Contact sheets: small overlays of a run with their names, and a legend."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from dseg.images import Pixels
from dseg.labels import LabelSpace
from dseg.render.font import font_of
from dseg.render.legend import (
    MOST_FIXED,
    STRIP_COLOR,
    TEXT_COLOR,
    Entry,
    Swatch,
    draw_strip,
    measure_strip,
)
from dseg.render.tint import UNTOUCHED

MOST = 24  # images on a sheet
THUMB = (320, 240)  # width and height of the box of an image, in pixels
GAP, CAPTION, FONT_SIZE = 8, 20, 13


def choose_evenly(count: int, most: int = MOST) -> list[int]:
    """Return at most ``most`` of the indices 0 to count - 1, evenly spaced, with both ends."""
    if count <= most:
        return list(range(count))
    return [round(index * (count - 1) / (most - 1)) for index in range(most)]


def make_thumb(overlay: Pixels) -> Pixels:
    """Return an overlay, (H, W, 3) uint8, reduced to fit the box of a sheet."""
    height, width = overlay.shape[:2]
    scale = min(1.0, THUMB[0] / width, THUMB[1] / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = Image.fromarray(overlay)
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0))


def draw_sheet(
    thumbs: Sequence[tuple[str, Pixels]], space: LabelSpace, opacity: float = 0.5
) -> Pixels:
    """Return a contact sheet, (H, W, 3) uint8.

    Args:
        thumbs: name and reduced overlay of each image, in order.
        space: the classes of the legend, which is left out if they are more than 24.
        opacity: of the overlays.
    """
    columns = min(len(thumbs), max(2, math.ceil(math.sqrt(len(thumbs)))))
    rows = math.ceil(len(thumbs) / columns)
    cell = (THUMB[0] + GAP, THUMB[1] + CAPTION + GAP)
    width = columns * cell[0] + GAP
    height = rows * cell[1] + GAP
    sheet = Image.new("RGB", (width, height), STRIP_COLOR)
    draw = ImageDraw.Draw(sheet)
    for place, (name, thumb) in enumerate(thumbs):
        row, column = divmod(place, columns)
        left, top = GAP + column * cell[0], GAP + row * cell[1]
        across = (THUMB[0] - thumb.shape[1]) // 2
        down = (THUMB[1] - thumb.shape[0]) // 2
        sheet.paste(Image.fromarray(thumb), (left + across, top + down))
        at = (left + THUMB[0] // 2, top + THUMB[1] + CAPTION // 2 + 1)
        draw.text(at, _shorten(name), TEXT_COLOR, font_of(FONT_SIZE), anchor="mm")
    return _with_legend(np.asarray(sheet), space, opacity)


def _with_legend(sheet: Pixels, space: LabelSpace, opacity: float) -> Pixels:
    entries = [
        Entry(name, Swatch(space, opacity, train_id))
        for train_id, name in enumerate(space.names)
        if name.lower() not in UNTOUCHED
    ]
    height, width = sheet.shape[:2]
    grid = measure_strip([entry.text for entry in entries], height, width, FONT_SIZE)
    if grid is None or len(entries) > MOST_FIXED:
        return sheet
    strip = np.empty((grid.height, width, 3), np.uint8)
    draw_strip(entries, grid, strip)
    return np.concatenate([sheet, strip])


def _shorten(name: str) -> str:
    """Return a name that fits below an image: its end, which differs most."""
    font = font_of(FONT_SIZE)
    name = "".join(c if c.isprintable() else "?" for c in name)
    if font.getlength(name) <= THUMB[0]:
        return name
    while name and font.getlength(f"…{name}") > THUMB[0]:
        name = name[1:]
    return f"…{name}"
