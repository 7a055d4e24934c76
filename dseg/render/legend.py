"""Legends: coloured squares with the names of classes and their fraction of the image."""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dseg.images import Pixels
from dseg.labels import Color, LabelSpace
from dseg.render.tint import UNTOUCHED

MIN_FRACTION = 0.001  # of the image; a class that covers less is left out of the legend
MIN_SIDE = 120  # pixels; a smaller image has no legend, as text would not be readable
FONT_SIZES = (9, 72)  # pixels, smallest and largest
TEXT_COLOR = (255, 255, 255)
ABSENT_COLOR = (128, 128, 128)  # of the text of a class that a video frame does not show
STRIP_COLOR = (32, 32, 32)
DARK = 90  # luma below which a square gets an outline
BOX_OPACITY = 176  # of 256; of the black box behind white text
MOST_FIXED = 24  # classes that the legend of a video lists all the time
STRIP_HEIGHT = 0.6  # of the image, at most, for a strip


class Entry(NamedTuple):
    """One line of a legend; without a colour it is text only."""

    name: str
    color: Color | None
    percent: str = ""
    present: bool = True

    @property
    def text(self) -> str:
        """The name and percentage on one line; PIL refuses several."""
        name = "".join(c if c.isprintable() else "?" for c in self.name)
        return f"{name} {self.percent}".rstrip()


class Grid(NamedTuple):
    """The dimensions of a legend, in pixels, and its number of rows and columns."""

    font_size: int
    line: int  # distance between rows
    pad: int  # margin, and between the box and the edge of the image
    cell: int  # width of a column
    rows: int
    columns: int

    @property
    def height(self) -> int:
        return 2 * self.pad + self.rows * self.line


def find_present(train_ids: Pixels, space: LabelSpace) -> list[int]:
    """Return the train ids that cover at least 0.1 % of the mask, by decreasing area.

    Args:
        train_ids: (H, W) uint8.
    """
    return _sort_present(count_pixels(train_ids, space), train_ids.size)


def _sort_present(counts: list[int], size: int) -> list[int]:
    least = max(1.0, MIN_FRACTION * size)
    present = [index for index, count in enumerate(counts) if count >= least]
    return sorted(present, key=lambda index: -counts[index])


def count_pixels(train_ids: Pixels, space: LabelSpace) -> list[int]:
    """Return the number of pixels of each class of a mask, (H, W) uint8."""
    return Image.fromarray(train_ids).histogram()[: space.num_classes]


def list_entries(train_ids: Pixels, space: LabelSpace) -> list[Entry]:
    """Return the lines of the legend of an image, the classes with the most pixels first."""
    counts = count_pixels(train_ids, space)
    return [
        _entry(space, index, counts[index] / train_ids.size)
        for index in _sort_present(counts, train_ids.size)
        if space.names[index].lower() not in UNTOUCHED
    ]


def list_fixed(train_ids: Pixels, space: LabelSpace) -> list[Entry]:
    """Return the lines of the legend of a video frame: each class in its place, if they are few.

    Of more than 24 classes, those of the frame are listed as for an image.
    """
    if space.num_classes > MOST_FIXED:
        return list_entries(train_ids, space)
    counts = count_pixels(train_ids, space)
    return [
        _entry(space, index, counts[index] / train_ids.size)
        for index, name in enumerate(space.names)
        if name.lower() not in UNTOUCHED
    ]


@cache
def font_of(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Return the font of legends in a size, in pixels; decoding it takes 2 ms."""
    return ImageFont.load_default(size)


def _entry(space: LabelSpace, index: int, fraction: float) -> Entry:
    percent = f"{100 * fraction:.0f} %" if fraction >= 0.01 else "<1 %"
    shown = fraction >= MIN_FRACTION
    return Entry(space.names[index], space.colors[index], percent if shown else "", shown)


def measure_strip(
    names: list[str], height: int, width: int, font_size: int | None = None
) -> Grid | None:
    """Return the dimensions of a strip for all names, None if the image is too narrow for one.

    Args:
        names: the names or lines that the strip can have to show.
        height, width: of the image.
        font_size: in pixels, by default in proportion to the image.
    """
    if width < MIN_SIDE or not names:
        return None
    smallest, largest = FONT_SIZES
    font_size = font_size or min(max(min(height // 32, width // 52), smallest), largest)
    line, pad = round(font_size * 1.45), max(3, font_size // 2)
    font = font_of(font_size)
    text = max(font.getlength(name) for name in names)
    cell = math.ceil(text) + font_size * 5 // 2
    columns = min(max(1, (width - 2 * pad) // cell), len(names))
    rows = math.ceil(len(names) / columns)
    most = max(1, int((height * STRIP_HEIGHT - 2 * pad) // line))
    return Grid(font_size, line, pad, cell, min(rows, most), columns)


def draw_strip(entries: list[Entry], grid: Grid, out: Pixels) -> None:
    """Draw a legend over a strip of pixels, (grid.height, W, 3) uint8, row by row.

    If there are too many entries, the last place counts those that are left out.
    """
    strip = Image.new("RGB", (out.shape[1], out.shape[0]), STRIP_COLOR)
    draw = ImageDraw.Draw(strip)
    font = font_of(grid.font_size)
    places = grid.rows * grid.columns
    if len(entries) > places:
        more = len(entries) - places + 1
        entries = [*entries[: places - 1], Entry(f"and {more} more", None)]
    for place, entry in enumerate(entries):
        row, column = divmod(place, grid.columns)
        at = (grid.pad + column * grid.cell, grid.pad + row * grid.line + grid.line // 2)
        _draw_entry(draw, at, grid.font_size, entry, font)
    out[...] = np.asarray(strip)


def draw_inside(entries: list[Entry], pixels: Pixels) -> None:
    """Draw a legend into the top left corner of an image, (H, W, 3) uint8, in place.

    Fractions are left out if they do not fit. Without room for two lines, or for all of one,
    nothing is drawn.
    """
    height, width = pixels.shape[:2]
    if not entries or min(height, width) < MIN_SIDE:
        return
    smallest, largest = FONT_SIZES
    font_size = min(max(min(height // 40, width // 52), smallest), largest)
    line, pad = round(font_size * 1.45), max(3, font_size // 2)
    rows = min(len(entries), (height * 3 // 5 - 2 * pad) // line)
    font = font_of(font_size)
    entries = entries[:rows]
    room = width * 2 // 3 - 2 * pad - font_size * 3 // 2
    if max((font.getlength(entry.text) for entry in entries), default=0.0) > room:
        entries = [entry._replace(percent="") for entry in entries]
    text = max((font.getlength(entry.text) for entry in entries), default=0.0)
    if text > room or rows < min(2, len(entries)):
        return
    box = (2 * pad + rows * line, 2 * pad + font_size * 3 // 2 + math.ceil(text))
    corner = pixels[pad : pad + box[0], pad : pad + box[1]]
    dark = (corner.astype(np.uint16) * (256 - BOX_OPACITY) >> 8).astype(np.uint8)
    legend = Image.fromarray(dark)
    draw = ImageDraw.Draw(legend)
    for row, entry in enumerate(entries):
        _draw_entry(draw, (pad, pad + row * line + line // 2), font_size, entry, font)
    corner[...] = np.asarray(legend)


def _draw_entry(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    side: int,
    entry: Entry,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
) -> None:
    """Draw a square and its text from ``at`` on, the (x, y) of the middle of their left edge.

    Squares that are nearly black have a light outline.
    """
    left, middle = at
    text_at = left
    if entry.color is not None:
        text_at += side * 3 // 2
        top = middle - side // 2
        red, green, blue = entry.color
        is_dark = 5 * red + 9 * green + 2 * blue < 16 * DARK
        outline = TEXT_COLOR if is_dark else entry.color
        square = (left, top, left + side, top + side)
        draw.rectangle(square, fill=entry.color, outline=outline, width=max(1, side // 12))
    color = TEXT_COLOR if entry.present else ABSENT_COLOR
    draw.text((text_at, middle), entry.text, color, font, anchor="lm")
