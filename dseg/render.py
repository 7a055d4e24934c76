"""Overlays: an image tinted with the colours of its classes, with a legend; id look-up tables."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dseg.errors import DsegError
from dseg.images import Pixels
from dseg.labels import Color, LabelSpace

ROWS_AT_ONCE = 32  # so that a band stays in the processor's cache: 10 ms, not 26, at 2048x1024
LOOKUP_PIXELS = 1 << 16  # pixels looked up at once, so that they stay in the processor's cache
MIN_FRACTION = 0.001  # of the image; a class that covers less is left out of the legend
MIN_SIDE = 120  # pixels; a smaller image has no legend, as text would not be readable
FONT_SIZES = (9, 72)  # pixels, smallest and largest
TEXT_COLOR = (255, 255, 255)
BOX_OPACITY = 176  # of 256; of the black box behind white text


class LegendBox(NamedTuple):
    """The dimensions of a legend, in pixels."""

    font_size: int
    line: int  # distance between rows
    pad: int  # margin inside the box, and between the box and the edge of the image
    width: int
    height: int


def render_overlay(
    image: Pixels,
    train_ids: Pixels,
    space: LabelSpace,
    *,
    opacity: float = 0.5,
    legend: bool = True,
) -> Pixels:
    """Blend an image with the colours of its classes; pixels of no class stay as they are.

    Args:
        image: (H, W, 3) uint8, RGB.
        train_ids: (H, W) uint8; values >= ``space.num_classes`` are ignored.
        space: the classes, with their colours and names.
        opacity: opacity of the colours, 0 to 1.
        legend: draw a legend into the top left corner, the classes with the most pixels first;
            omitted if the image is too small for it.

    Returns:
        (H, W, 3) uint8, RGB; a new array.

    Raises:
        DsegError: image and mask differ in size, or ``opacity`` is outside 0 to 1.
    """
    if image.shape != (*train_ids.shape, 3):
        raise DsegError(
            f"An image of shape {image.shape} and a mask of shape {train_ids.shape} do not match.",
            hint="use the mask of this image.",
        )
    if not 0 <= opacity <= 1:
        raise DsegError(f"The opacity {opacity} is not a fraction.", hint="use 0 to 1.")
    blended = _blend(image, train_ids, space, round(opacity * 256))
    if legend:
        _draw_legend(blended, find_present(train_ids, space), space)
    return blended


def find_present(train_ids: Pixels, space: LabelSpace) -> list[int]:
    """Return the train ids that cover at least 0.1 % of the mask, by decreasing area.

    Args:
        train_ids: (H, W) uint8.
    """
    counts = Image.fromarray(train_ids).histogram()[: space.num_classes]
    least = max(1.0, MIN_FRACTION * train_ids.size)
    present = [index for index, count in enumerate(counts) if count >= least]
    return sorted(present, key=lambda index: -counts[index])


def _blend(image: Pixels, train_ids: Pixels, space: LabelSpace, opacity: int) -> Pixels:
    """Blend with ``opacity`` of 256, in integers, by two look-ups for each pixel."""
    tint = np.zeros(256, np.uint16)
    tint[: space.num_classes] = opacity
    colors = np.array(space.palette(), np.uint16).reshape(256, 3)
    weighted_color = colors * tint[:, None] + 128  # + 128 to round to nearest
    image_weight = np.repeat(256 - tint[:, None], 3, axis=1)
    blended = np.empty_like(image, order="C")
    for top in range(0, image.shape[0], ROWS_AT_ONCE):
        rows = slice(top, top + ROWS_AT_ONCE)
        band = image_weight.take(train_ids[rows], axis=0)
        band *= image[rows]
        band += weighted_color.take(train_ids[rows], axis=0)
        band >>= 8
        blended[rows] = band
    return blended


def _draw_legend(pixels: Pixels, present: list[int], space: LabelSpace) -> None:
    """Draw coloured squares and class names into the top left corner, in place."""
    height, width = pixels.shape[:2]
    if not present or min(height, width) < MIN_SIDE:
        return
    names = [space.names[index] for index in present]
    box, rows = _measure(names, height, width)
    if rows < min(2, len(present)):
        return
    corner = pixels[box.pad : box.pad + box.height, box.pad : box.pad + box.width]
    dark = (corner.astype(np.uint16) * (256 - BOX_OPACITY) >> 8).astype(np.uint8)
    legend = Image.fromarray(dark)
    draw = ImageDraw.Draw(legend)
    font = ImageFont.load_default(box.font_size)
    for row, index in enumerate(present[:rows]):
        middle = box.pad + row * box.line + box.line // 2
        _draw_row(draw, middle, box, space.colors[index], names[row], font)
    corner[...] = np.asarray(legend)


def _draw_row(
    draw: ImageDraw.ImageDraw,
    middle: int,
    box: LegendBox,
    color: Color,
    name: str,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
) -> None:
    """Draw one square and its name, vertically centred on row ``middle``."""
    side = box.font_size
    top = middle - side // 2
    edge = max(1, side // 12)
    square = (box.pad, top, box.pad + side, top + side)
    draw.rectangle(square, fill=color, outline=TEXT_COLOR, width=edge)
    draw.text((box.pad + side * 3 // 2, middle), name, TEXT_COLOR, font, anchor="lm")


def _measure(names: list[str], height: int, width: int) -> tuple[LegendBox, int]:
    """Return the dimensions of the legend and how many names fit, 0 if it is too wide."""
    smallest, largest = FONT_SIZES
    font_size = min(max(min(height // 40, width // 52), smallest), largest)
    line = round(font_size * 1.45)
    pad = max(3, font_size // 2)
    rows = min(len(names), (height * 3 // 5 - 2 * pad) // line)
    font = ImageFont.load_default(font_size)
    text = max((font.getlength(name) for name in names[:rows]), default=0.0)
    box_width = 2 * pad + font_size * 3 // 2 + int(np.ceil(text))
    if box_width > width * 2 // 3:
        rows = 0
    return LegendBox(font_size, line, pad, box_width, 2 * pad + rows * line), rows


def look_up(table: Pixels, ids: Pixels) -> Pixels:
    """Map ids of any shape through a table of 256 entries; both uint8."""
    flat = ids.reshape(-1)
    found = np.empty_like(flat)
    for start in range(0, flat.size, LOOKUP_PIXELS):
        block = slice(start, start + LOOKUP_PIXELS)
        table.take(flat[block], out=found[block], mode="clip")  # no temporary buffer in this mode
    return found.reshape(ids.shape)
