"""The image that networks are measured on: a drawn street as a PNG."""

from __future__ import annotations

from pathlib import Path

from dseg.images import write_png
from dseg.predict.resizing import resize_image
from dseg.synth import draw_scene

SIDES = 64, 2048  # pixels of a drawing; other sizes are resized


def write_street(path: Path, size: tuple[int, int]) -> None:
    """Write a drawn street of (height, width) pixels, the same one for each size.

    Raises:
        DsegError: the file cannot be written.
    """
    least, most = SIDES
    height, width = (min(max(side, least), most) for side in size)
    pixels, _, _ = draw_scene(0, 0, (height, width))
    write_png(path, resize_image(pixels, size))
