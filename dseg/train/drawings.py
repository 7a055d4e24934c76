"""Predictions beside their ground truth, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dseg.images import Pixels, write_png
from dseg.labels import LabelSpace
from dseg.render import render_overlay

WIDTH = 1800  # of the widest sheet, in pixels
GAP = 4

Drawn = tuple[str, Pixels, Pixels, Pixels]


def write_predictions(samples: Sequence[Drawn], space: LabelSpace, folder: Path) -> None:
    """Draw one PNG a sample: the image, its ground truth, the prediction.

    Args:
        samples: ``(name, image (H, W, 3), truth (H, W), prediction (H, W))``, all uint8.
        space: the classes.
        folder: for the PNGs.
    """
    for name, image, truth, prediction in samples:
        parts = [
            image,
            render_overlay(image, truth, space, opacity=0.7, legend=False),
            render_overlay(image, prediction, space, opacity=0.7),
        ]
        gap = np.full((image.shape[0], GAP, 3), 255, np.uint8)
        sheet = np.concatenate([parts[0], gap, parts[1], gap, parts[2]], axis=1)
        if sheet.shape[1] > WIDTH:
            height = max(1, round(sheet.shape[0] * WIDTH / sheet.shape[1]))
            sheet = np.asarray(Image.fromarray(sheet).resize((WIDTH, height), Image.Resampling.BOX))
        write_png(folder / f"{_safe(name)}.png", sheet)


def _safe(name: str) -> str:
    """Return a file's name without anything that a file system might not take."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)[-120:]
