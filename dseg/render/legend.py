"""Legends: swatches with the names of classes and their fraction of the image.

A swatch shows the tint of a class as it is on the image, from dark to bright surfaces, within its
contour: the flat colour of a dark class hardly resembles the tint of a light surface.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from dseg.images import Pixels
from dseg.labels import LabelSpace
from dseg.render.font import Font, font_of
from dseg.render.tint import UNTOUCHED, make_tint, shades_of

MIN_FRACTION = 0.001  # of the image; a class that covers less is left out of the legend
MIN_SIDE = 120  # pixels; a smaller image has no legend, as text would not be readable
FONT_SIZES = (9, 72)  # pixels, smallest and largest
TEXT_COLOR = (255, 255, 255)
ABSENT_COLOR = (128, 128, 128)  # of the text of a class that a video frame does not show
STRIP_COLOR = (32, 32, 32)
DARK = 60  # luma below which an outline is light instead of the colour of the contour
WIDE = 1.6  # width of a swatch, of its height
BOX_OPACITY = 176  # of 256; of the black box behind white text
MOST_FIXED = 24  # classes that the legend of a video lists all the time
STRIP_HEIGHT = 0.6  # of the image, at most, for a strip


class Swatch(NamedTuple):
    """What the look of a class depends on."""

    space: LabelSpace
    opacity: float
    train_id: int


class Entry(NamedTuple):
    """One line of a legend; without a swatch it is text only."""

    name: str
    swatch: Swatch | None
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


def list_entries(train_ids: Pixels, space: LabelSpace, opacity: float) -> list[Entry]:
    """Return the lines of the legend of an image, the classes with the most pixels first."""
    counts = count_pixels(train_ids, space)
    return [
        _entry(space, opacity, index, counts[index] / train_ids.size)
        for index in _sort_present(counts, train_ids.size)
        if space.names[index].lower() not in UNTOUCHED
    ]


def list_fixed(train_ids: Pixels, space: LabelSpace, opacity: float) -> list[Entry]:
    """Return the lines of the legend of a video frame: each class in its place, if they are few.

    Of more than 24 classes, those of the frame are listed as for an image.
    """
    if space.num_classes > MOST_FIXED:
        return list_entries(train_ids, space, opacity)
    counts = count_pixels(train_ids, space)
    return [
        _entry(space, opacity, index, counts[index] / train_ids.size)
        for index, name in enumerate(space.names)
        if name.lower() not in UNTOUCHED
    ]


def _entry(space: LabelSpace, opacity: float, index: int, fraction: float) -> Entry:
    percent = f"{100 * fraction:.0f} %" if fraction >= 0.01 else "<1 %"
    shown = fraction >= MIN_FRACTION
    return Entry(space.names[index], Swatch(space, opacity, index), percent if shown else "", shown)


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
    cell = math.ceil(text) + text_indent(font_size) + font_size
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
        _draw_entry(strip, draw, at, grid.font_size, entry, font)
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
    room = width * 2 // 3 - 2 * pad - text_indent(font_size)
    if max((font.getlength(entry.text) for entry in entries), default=0.0) > room:
        entries = [entry._replace(percent="") for entry in entries]
    text = max((font.getlength(entry.text) for entry in entries), default=0.0)
    if text > room or rows < min(2, len(entries)):
        return
    box = (2 * pad + rows * line, 2 * pad + text_indent(font_size) + math.ceil(text))
    corner = pixels[pad : pad + box[0], pad : pad + box[1]]
    dark = (corner.astype(np.uint16) * (256 - BOX_OPACITY) >> 8).astype(np.uint8)
    legend = Image.fromarray(dark)
    draw = ImageDraw.Draw(legend)
    for row, entry in enumerate(entries):
        _draw_entry(legend, draw, (pad, pad + row * line + line // 2), font_size, entry, font)
    corner[...] = np.asarray(legend)


def text_indent(side: int) -> int:
    """Return how far to the right of a swatch's left edge its text begins."""
    return round(WIDE * side) + max(3, side // 2)


@lru_cache(512)
def draw_swatch(swatch: Swatch, side: int) -> Image.Image:
    """Draw the swatch of a class; an outline that would be nearly black is light."""
    tint = make_tint(swatch.space, swatch.opacity)
    wide, line = round(WIDE * side), max(1, side // 12)
    red, green, blue = contour = tuple(tint.contour[swatch.train_id].tolist())
    is_dark = 5 * red + 9 * green + 2 * blue < 16 * DARK
    image = Image.new("RGB", (wide, side + 1), TEXT_COLOR if is_dark else contour)
    shades = shades_of(tint, swatch.train_id, wide - 2 * line)[None]
    inside = Image.fromarray(shades).resize((wide - 2 * line, side + 1 - 2 * line))
    image.paste(inside, (line, line))
    return image


def _draw_entry(
    image: Image.Image,
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    side: int,
    entry: Entry,
    font: Font,
) -> None:
    """Draw a swatch and its text from ``at`` on, the (x, y) of the middle of their left edge."""
    left, middle = at
    text_at = left
    if entry.swatch is not None:
        text_at += text_indent(side)
        image.paste(draw_swatch(entry.swatch, side), (left, middle - side // 2))
    color = TEXT_COLOR if entry.present else ABSENT_COLOR
    draw.text((text_at, middle), entry.text, color, font, anchor="lm")
