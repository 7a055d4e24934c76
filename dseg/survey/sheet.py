"""A contact sheet: some images beside their masks, drawn in the colours of the classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from dseg.datasets.base import Dataset
from dseg.errors import DsegError
from dseg.images import Pixels, write_sheet
from dseg.labels import IGNORE
from dseg.render import font_of

CELL = 320  # pixels, width of an image
COLUMNS = 2  # pairs in a row
AT_MOST = 6  # pairs
BACKGROUND = (255, 255, 255)
IGNORED = (255, 255, 255)
FONT_SIZE = 15


def make_sheet(datasets: Sequence[Dataset], path: Path) -> tuple[int, Path]:
    """Write a PNG with up to six evenly chosen images beside their masks, and a legend.

    Ignored pixels are white with a grey hatch. A pair that cannot be read is left out.

    Returns:
        The number of pairs that were drawn, and the file: another one if the user has a file of
        that name, which is kept.
    """
    pairs = [(dataset, at) for dataset in datasets for at in range(len(dataset))]
    step = max(1, len(pairs) // AT_MOST)
    cells = [
        cell
        for dataset, at in pairs[step // 2 :: step][:AT_MOST]
        if (cell := _draw_pair(dataset, at))
    ]
    if not cells:
        return 0, path
    space = datasets[0].space
    legend = _draw_legend(list(space.names), list(space.colors), 2 * COLUMNS * CELL)
    rows = [cells[at : at + COLUMNS] for at in range(0, len(cells), COLUMNS)]
    heights = [max(cell.height for cell in row) for row in rows]
    sheet = Image.new("RGB", (2 * COLUMNS * CELL, sum(heights) + legend.height), BACKGROUND)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for place, cell in enumerate(row):
            sheet.paste(cell, (place * 2 * CELL, top))
        top += height
    sheet.paste(legend, (0, top))
    return len(cells), write_sheet(path, np.asarray(sheet))


def _draw_pair(dataset: Dataset, index: int) -> Image.Image | None:
    """Return an image beside its mask with its name below, or None."""
    try:
        pair = dataset.read(index)
    except DsegError:
        return None
    height, width = pair.train_ids.shape
    size = CELL - 6, max(1, round((CELL - 6) * height / width))
    photo = Image.fromarray(pair.image).resize(size, Image.Resampling.BILINEAR)
    mask = Image.fromarray(_color(pair.train_ids, dataset)).resize(size, Image.Resampling.NEAREST)
    cell = Image.new("RGB", (2 * CELL, size[1] + FONT_SIZE + 12), BACKGROUND)
    cell.paste(photo, (3, 3))
    cell.paste(mask, (CELL, 3))
    font = font_of(FONT_SIZE)
    text, room = f"{dataset.split}: {dataset.samples[index].name}", 2 * CELL - 10
    while font.getlength(text) > room and len(text) > 2:
        text = f"…{text[2:]}"
    ImageDraw.Draw(cell).text((5, size[1] + 5), text, (60, 60, 60), font)
    return cell


def _color(train_ids: Pixels, dataset: Dataset) -> Pixels:
    palette = np.full((256, 3), IGNORED, np.uint8)
    palette[: dataset.space.num_classes] = dataset.space.colors
    colors = palette[train_ids]
    height, width = train_ids.shape
    rows, columns = np.arange(height)[:, None], np.arange(width)
    step = max(4, min(train_ids.shape) // 24)
    hatch = (train_ids == IGNORE) & ((rows + columns) % step < max(1, step // 6))
    colors[hatch] = (170, 170, 170)
    return colors


def _draw_legend(names: list[str], colors: list[tuple[int, int, int]], width: int) -> Image.Image:
    font = font_of(FONT_SIZE)
    places, left, row = [], 8, 0
    for name in names:
        wide = FONT_SIZE + 8 + int(font.getlength(name)) + 18
        if left + wide > width and left > 8:
            left, row = 8, row + 1
        places.append((left, row))
        left += wide
    legend = Image.new("RGB", (width, (row + 1) * (FONT_SIZE + 12) + 6), BACKGROUND)
    draw = ImageDraw.Draw(legend)
    for name, color, (x, line) in zip(names, colors, places, strict=True):
        top = 4 + line * (FONT_SIZE + 12)
        draw.rectangle((x, top, x + FONT_SIZE, top + FONT_SIZE), fill=color, outline=(90, 90, 90))
        draw.text((x + FONT_SIZE + 8, top + FONT_SIZE // 2), name, (30, 30, 30), font, anchor="lm")
    return legend
