"""Protocol: at which sizes an image is seen, mirrored or not, whole or in tiles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from dseg.errors import DsegError
from dseg.predict.tiles import Size

Fusion = Literal["logprob", "prob"]
MULTI_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.8)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How the scores of an image come about.

    Attributes:
        scales: sizes at which the image is seen, 1.0 is its own, or ``input_size``.
        flip: see each size mirrored too.
        fusion: mean of the views' log-probabilities, or of their probabilities.
        tile: (height, width) of tiles of the resized image; None for the whole image, in tiles
            only if it is too large.
        overlap: share of a tile that its neighbour covers again.
        sliding: the tile slides over each of ``scales``, see ``slide``; else each tile is seen at
            all of them, and its neighbours blend into it.
        input_size: (height, width) to which every image is resized first; None for its own.
        input_scale: resize images by this factor instead, to truncated sides.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    fusion: Fusion = "logprob"
    tile: Size | None = None
    overlap: float = 1 / 3
    sliding: bool = False
    input_size: Size | None = None
    input_scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.scales or not all(0 < scale <= 8 for scale in self.scales):
            raise DsegError(
                f"Scales {list(self.scales)} cannot be used.", hint="name scales above 0, to 8."
            )
        if self.tile is not None and min(self.tile) < 32:
            raise DsegError(
                f"A tile of {self.tile[0]}x{self.tile[1]} is too small.",
                hint="use sides of 32 at least, better the crop that the network was trained on.",
            )
        if not 0 <= self.overlap < 1:
            raise DsegError(
                f"An overlap of {self.overlap} is not a share of a tile.", hint="use 0 to below 1."
            )
        if self.sliding and self.tile is None:
            raise DsegError(
                "A tile is to slide over the image, but there is none.",
                hint="name one, such as --tile 832x832.",
            )
        self._check_input()

    def _check_input(self) -> None:
        if not 0 < self.input_scale <= 8:
            raise DsegError(
                f"An input scale of {self.input_scale} cannot be used.",
                hint="name a factor above 0, to 8.",
            )
        if self.input_size is None:
            return
        height, width = self.input_size
        if min(height, width) < 1:
            raise DsegError(
                f"An input size of {height}x{width} has no pixels.", hint="use sides of 1 at least."
            )
        if self.input_scale != 1:
            raise DsegError(
                f"Both an input size ({height}x{width}) and an input scale ({self.input_scale:g}) "
                "are named.",
                hint="name one of them: one size for all images, or a factor of each one's own.",
            )

    def input_of(self, size: Size) -> Size:
        """Return the (height, width) to which an image of that size is resized first."""
        return self.input_size or scaled(size, self.input_scale)


def scaled(size: Size, scale: float) -> Size:
    """Return a size times a factor: sides truncated to integers, 1 at least."""
    height, width = (max(1, math.trunc(side * scale)) for side in size)
    return height, width
