"""Overlays: an image tinted with the colours of its classes, with a legend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dseg.errors import DsegError
from dseg.images import Pixels
from dseg.labels import LabelSpace
from dseg.render.legend import (
    MOST_FIXED,
    draw_inside,
    draw_strip,
    list_entries,
    list_fixed,
    measure_strip,
)
from dseg.render.tint import apply_tint, make_tint

LEGENDS = ("strip", "inside", "none")


@dataclass(frozen=True, kw_only=True)
class OverlayStyle:
    """How overlays look.

    Attributes:
        opacity: 0 for the image alone, 1 for the flat colours of the classes.
        legend: ``strip`` below the image, ``inside`` its top left corner, or ``none``.
        side_by_side: place the image to the left of its overlay.
        fixed: list each class at the same place in every frame of a video.

    Raises:
        DsegError: the opacity is outside 0 to 1, or the legend is unknown.
    """

    opacity: float = 0.5
    legend: str = "strip"
    side_by_side: bool = False
    fixed: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.opacity <= 1:
            raise DsegError(f"The opacity {self.opacity} is not a fraction.", hint="use 0 to 1.")
        if self.legend not in LEGENDS:
            raise DsegError(
                f"The legend {self.legend!r} is unknown.", hint=f"use {', '.join(LEGENDS)}."
            )


def render_overlay(
    image: Pixels,
    train_ids: Pixels,
    space: LabelSpace,
    *,
    opacity: float = 0.5,
    legend: str | bool = "strip",
    side_by_side: bool = False,
    fixed: bool = False,
) -> Pixels:
    """Tint an image with the colours of its classes, and draw their contours and a legend.

    The brightness of the image stays nearly as it is. Pixels of no class, of background and of
    void stay exactly as they are.

    Args:
        image: (H, W, 3) uint8, RGB.
        train_ids: (H, W) uint8; values >= ``space.num_classes`` are ignored.
        space: the classes, with their colours and names.
        opacity: 0 for the image alone, 1 for the flat colours of the classes.
        legend: ``strip`` adds rows below the image, unless it is narrower than 120 pixels;
            ``inside`` or True draws into its top left corner if there is room; ``none`` or False
            draws none. The classes with the most pixels come first.
        side_by_side: place the image to the left of its overlay.
        fixed: list each class at the same place, whatever the image shows, as for a video.

    Returns:
        (H + strip, W, 3) uint8, RGB, or twice as wide; a new array.

    Raises:
        DsegError: image and mask differ in size, or as ``OverlayStyle``.
    """
    if isinstance(legend, bool):
        legend = "inside" if legend else "none"
    style = OverlayStyle(opacity=opacity, legend=legend, side_by_side=side_by_side, fixed=fixed)
    return render(image, train_ids, space, style)


def render(image: Pixels, train_ids: Pixels, space: LabelSpace, style: OverlayStyle) -> Pixels:
    """Return the overlay of an image in a style; see ``render_overlay``."""
    if image.shape != (*train_ids.shape, 3):
        raise DsegError(
            f"An image of shape {image.shape} and a mask of shape {train_ids.shape} do not match.",
            hint="use the mask of this image.",
        )
    height, width = train_ids.shape
    total = 2 * width if style.side_by_side else width
    entries = []
    if style.legend != "none":
        entries = (list_fixed if style.fixed else list_entries)(train_ids, space, style.opacity)
    grid = None
    if style.legend == "strip":
        texts = [entry.text for entry in entries]
        if style.fixed:
            texts = [f"{name} 100 %" for name in space.names[:MOST_FIXED]]
        grid = measure_strip(texts, height, total)
    out = np.empty((height + (grid.height if grid else 0), total, 3), np.uint8)
    overlay = out[:height, total - width :]
    apply_tint(image, train_ids, make_tint(space, style.opacity), overlay)
    if style.side_by_side:
        out[:height, :width] = image
    if grid is not None:
        draw_strip(entries, grid, out[height:])
    elif style.legend == "inside":
        draw_inside(entries, overlay)
    return out
