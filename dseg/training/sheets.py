"""Drawn predictions of a run: a PNG per image with truth, prediction and errors side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from dseg.images import Pixels, write_png
from dseg.labels import IGNORE, LabelSpace
from dseg.render import font_of, render_overlay

WIDTH = 2400  # maximum width of a sheet in pixels
PANELS = 4
GAP = 4  # pixels between the panels
CAPTION = 22  # pixels above the panels
FADE = 0.35  # contrast of the grey pixels that are predicted right
ERROR_OPACITY = 0.85
FILE_NAME_LENGTH = 50  # characters, of up to 4 bytes each; a file's name can have 255 bytes
Drawn = tuple[str, Pixels, Pixels, Pixels]


def write_predictions(samples: Sequence[Drawn], space: LabelSpace, folder: Path) -> None:
    """Draw one PNG per sample: the image, its ground truth, the prediction and the errors.

    In the last panel, wrong pixels have the colour of the predicted class; pixels that are right
    are grey and faded, and those without a true class are as in the image.

    Args:
        samples: ``(name, image (H, W, 3), truth (H, W), prediction (H, W))``, all uint8; masks
            hold train ids.
        space: the classes.
        folder: folder of the PNGs.

    Raises:
        DsegError: a file cannot be written.
    """
    taken: set[str] = set()
    for name, image, truth, prediction in samples:
        sheet = _make_sheet(image, truth, prediction, space)
        write_png(folder / f"{_name_file(name, taken)}.png", sheet)


def _make_sheet(image: Pixels, truth: Pixels, prediction: Pixels, space: LabelSpace) -> Pixels:
    """Return the four panels side by side, each below its caption."""
    max_width = (WIDTH - (PANELS - 1) * GAP) // PANELS
    photo = _shrink(image, max_width, Image.Resampling.BOX)
    # ids are resized before they are drawn, so that the legend stays legible
    ids = [_shrink(mask, max_width, Image.Resampling.NEAREST) for mask in (truth, prediction)]
    panels = {
        "image": photo,
        "ground truth": render_overlay(photo, ids[0], space, opacity=0.7, legend=False),
        "prediction": render_overlay(photo, ids[1], space, opacity=0.7, legend="inside"),
        f"errors{_percent_wrong(truth, prediction)}": _draw_errors(photo, ids[0], ids[1], space),
    }
    height, width = photo.shape[:2]
    sheet = Image.new("RGB", (PANELS * (width + GAP) - GAP, CAPTION + height), "white")
    draw = ImageDraw.Draw(sheet)
    font = font_of(14)
    for index, (caption, pixels) in enumerate(panels.items()):
        left = index * (width + GAP)
        if font.getlength(caption) < width:
            draw.text((left + width // 2, CAPTION // 2), caption, "black", font, anchor="mm")
        sheet.paste(Image.fromarray(pixels), (left, CAPTION))
    return np.asarray(sheet)


def _percent_wrong(truth: Pixels, prediction: Pixels) -> str:
    """Return the fraction of the pixels with a true class that are predicted wrong, in words."""
    scored = int((truth != IGNORE).sum())
    wrong = int(((truth != IGNORE) & (truth != prediction)).sum())
    return f": {100 * wrong / scored:.1f} % of the labelled pixels" if scored else ""


def _draw_errors(photo: Pixels, truth: Pixels, prediction: Pixels, space: LabelSpace) -> Pixels:
    """Return the photo with wrong pixels in the colour of their prediction, right ones faded."""
    wrong = (truth != IGNORE) & (truth != prediction)
    drawn = render_overlay(
        photo,
        np.where(wrong, prediction, np.uint8(IGNORE)),
        space,
        opacity=ERROR_OPACITY,
        legend=False,
    )
    right = truth == prediction
    grey = np.asarray(Image.fromarray(photo).convert("L"))[right]
    drawn[right] = np.rint(255 + FADE * (grey.astype(np.float32) - 255)).astype(np.uint8)[:, None]
    return drawn


def _shrink(pixels: Pixels, max_width: int, resampling: Image.Resampling) -> Pixels:
    """Return pixels at most ``max_width`` wide."""
    height, width = pixels.shape[:2]
    if width <= max_width:
        return pixels
    size = (max_width, max(1, round(height * max_width / width)))
    return np.asarray(Image.fromarray(pixels).resize(size, resampling))


def _name_file(name: str, taken: set[str]) -> str:
    """Return a unique name that any file system accepts; add it to ``taken``."""
    plain = "".join(c if c.isalnum() or c in "-_." else "-" for c in name)[-FILE_NAME_LENGTH:]
    plain = plain.lstrip(".-") or "image"
    unique, count = plain, 1
    while unique.casefold() in taken:
        count += 1
        unique = f"{plain}-{count}"
    taken.add(unique.casefold())
    return unique
