"""Protocol: what is done around a network, from a decoded image to its labels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from dseg.errors import DsegError

Size = tuple[int, int]  # height, width
ScoreFusion = Literal["logprob", "prob", "exp", "product"]
Resample = Literal["bicubic", "bilinear-antialias", "bilinear", "bilinear-corners"]
Upsample = Literal["bilinear", "bicubic"]
Restore = Literal["direct", "bilinear", "bilinear-corners", "nearest"]
SmallImage = Literal["shrink", "corner", "center"]
Fill = Literal["mean", "black", "mean-if-whole"]
LastTile = Literal["shift", "pad"]
Overlaps = Literal["mean", "sum"]

MULTI_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.8)  # of DenseASPP's authors
LARGEST_SIDE = 1 << 16
LEAST_SCALE, MOST_SCALES = 1e-3, 100
PROTOCOL_CHOICES: dict[str, tuple[str, ...]] = {
    "resample": get_args(Resample),
    "rescale": get_args(Resample),
    "upsample": get_args(Upsample),
    "restore": get_args(Restore),
    "fusion": get_args(ScoreFusion),
    "small": get_args(SmallImage),
    "fill": get_args(Fill),
    "last": get_args(LastTile),
    "overlaps": get_args(Overlaps),
}


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How the labels of an image come about, besides normalisation and the network.

    A network of the table has two: the plain one, which is always applied and holds what the
    network cannot do without, and its authors', which adds the crops, flips and scales by which
    they published their score.

    Attributes:
        input_size: (height, width) to which every image is resized first; None for its own.
        input_scale: resize images by this factor instead, to truncated sides.
        short_side, long_side: resize images so that this side has so many pixels instead; the other
            one is truncated, or with the long side rounded, as the releases do.
        multiple: resize the input so that its sides are multiples of this, rounded up.
        rescale: how the image at its input size is resized to multiples and ``scales``, as of
            ``resample``; None where the image itself is resized to each of these sizes at once.
        resample: how the image is resized: ``bicubic`` and ``bilinear-antialias`` are PIL's, in
            8 bits; ``bilinear`` is without antialiasing in float32, as OpenCV resizes floats;
            ``bilinear-corners`` the same with the corner pixels aligned.
        pad_multiple, pad_remainder: pad the normalised input at the bottom and on the right with
            zeros until its sides leave this remainder; the scores of the padding are cut off.
        upsample: interpolation of the network's logits.
        restore: how scores return to the image's size where the input has another: ``direct`` from
            the network's logits in one step; ``bilinear`` (``bilinear-corners``) from logits at the
            input's size, as of ``resample``; ``nearest`` repeats the labels of the input's pixels.
        scales: sizes at which the image is read; 1.0 is the input's own.
        flip: average with the horizontally flipped image.
        fusion: the mean of the views' logits, which is that of their log-probabilities; the mean of
            their probabilities; of sliding tiles also the exponential of a flipped pair's summed
            logits, or the product of its probabilities.
        tile: (height, width) of tiles of the resized image; None for the whole image, in tiles
            only if it is too large.
        overlap: fraction of a tile that its neighbour covers again.
        sliding: the tile slides over each of ``scales``, see ``slide``; else each tile is read at
            all of them, and its neighbours blend into it.
        tile_grows: at scales above 1 a sliding tile grows by the scale.
        per_tile: flip and fuse each sliding tile, not each view.
        small: an image that is smaller than the sliding tile: the tile shrinks, or the image is
            padded at the bottom and on the right, or on all sides.
        fill: of padding: the mean colour, which is zero once normalised, or black; or the mean
            where the whole image fits into a tile, else black.
        last: the last sliding tile is shifted so that it ends with the image, or padded.
        overlaps: of sliding tiles, averaged or summed.
    """

    input_size: Size | None = None
    input_scale: float = 1.0
    short_side: int | None = None
    long_side: int | None = None
    multiple: int = 1
    rescale: Resample | None = None
    resample: Resample = "bicubic"
    pad_multiple: int = 1
    pad_remainder: int = 0
    upsample: Upsample = "bilinear"
    restore: Restore = "direct"
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    fusion: ScoreFusion = "logprob"
    tile: Size | None = None
    overlap: float = 1 / 3
    sliding: bool = False
    tile_grows: bool = False
    per_tile: bool = False
    small: SmallImage = "shrink"
    fill: Fill = "mean"
    last: LastTile = "shift"
    overlaps: Overlaps = "mean"

    def __post_init__(self) -> None:
        self._check_choices()
        self._check_views()
        self._check_tiles()
        self._check_input()

    def _check_choices(self) -> None:
        for name, choices in PROTOCOL_CHOICES.items():
            if name == "rescale" and self.rescale is None:
                continue
            if getattr(self, name) not in choices:
                raise DsegError(
                    f"{name} of a protocol cannot be {getattr(self, name)!r}.",
                    hint=f"choose one of: {', '.join(choices)}.",
                )

    def _check_views(self) -> None:
        known = all(LEAST_SCALE <= scale <= 8 for scale in self.scales)
        if not known or not 1 <= len(self.scales) <= MOST_SCALES:
            raise DsegError(
                f"Scales {list(self.scales[:9])} cannot be used.",
                hint=f"name 1 to {MOST_SCALES} scales above {LEAST_SCALE:g}, to 8.",
            )
        if self.fusion in ("exp", "product") and not (self.sliding and self.per_tile):
            raise DsegError(
                f"The fusion {self.fusion} is of each sliding tile only.",
                hint="choose the fusion logprob or prob.",
            )

    def _check_tiles(self) -> None:
        if self.tile is not None and min(self.tile) < 32:
            raise DsegError(
                f"A tile of {self.tile[0]}x{self.tile[1]} is too small.",
                hint="use sides of 32 at least, better the crop that the network was trained on.",
            )
        if not 0 <= self.overlap < 1:
            raise DsegError(
                f"An overlap of {self.overlap} is not a fraction of a tile.",
                hint="use 0 to below 1.",
            )
        if self.sliding and self.tile is None:
            raise DsegError(
                "A tile is to slide over the image, but there is none.",
                hint="name one, such as --tile 832x832.",
            )

    def _check_input(self) -> None:
        if not LEAST_SCALE <= self.input_scale <= 8:
            raise DsegError(
                f"An input scale of {self.input_scale} cannot be used.",
                hint="name a factor above 0, to 8.",
            )
        if self.input_size is not None and max(self.input_size) > LARGEST_SIDE:
            raise DsegError(
                f"An input size of {self.input_size[0]}x{self.input_size[1]} is too large.",
                hint=f"use sides of {LARGEST_SIDE} at most.",
            )
        if self.input_size is not None and min(self.input_size) < 1:
            height, width = self.input_size
            raise DsegError(
                f"An input size of {height}x{width} has no pixels.", hint="use sides of 1 at least."
            )
        sides = (self.short_side, self.long_side, self.multiple, self.pad_multiple)
        if not all(1 <= side <= LARGEST_SIDE for side in sides if side is not None):
            raise DsegError(
                f"An input of side {self.short_side or self.long_side}, multiple {self.multiple} "
                f"and padding to {self.pad_multiple} cannot be made.",
                hint=f"use 1 to {LARGEST_SIDE}.",
            )
        if not 0 <= self.pad_remainder < self.pad_multiple:
            raise DsegError(
                f"No side leaves {self.pad_remainder} when divided by {self.pad_multiple}.",
                hint="name a remainder below the divisor.",
            )
        if self.input_size is not None and self.input_scale != 1:
            height, width = self.input_size
            raise DsegError(
                f"Both an input size ({height}x{width}) and an input scale ({self.input_scale:g}) "
                "are named.",
                hint="name one of them: one size for all images, or a factor of each one's own.",
            )
        named = (self.input_size, self.short_side, self.long_side)
        if sum(value is not None for value in named) + (self.input_scale != 1) > 1:
            raise DsegError(
                f"More than one input size is named ({self._describe_input()}).",
                hint="name one of them.",
            )

    def _describe_input(self) -> str:
        parts = []
        if self.input_size is not None:
            parts.append(f"input {self.input_size[0]}x{self.input_size[1]}")
        if self.input_scale != 1:
            parts.append(f"input scale {self.input_scale:g}")
        if self.short_side is not None:
            parts.append(f"short side {self.short_side}")
        if self.long_side is not None:
            parts.append(f"long side {self.long_side}")
        if parts and self.resample != PLAIN.resample:
            parts.append(self.resample)
        return ", ".join(parts)

    def input_of(self, size: Size, scale: float = 1.0) -> Size:
        """Return the (height, width) at which an image of that size is read.

        Args:
            size: (height, width) of the image.
            scale: one of ``scales``.
        """
        if self.long_side is not None:
            return self.rounded(_by_side(size, round(self.long_side * scale), max(size), round))
        return self.rounded(scaled(self.first_size(size), scale))

    def first_size(self, size: Size) -> Size:
        """Return the (height, width) of an image's input before multiples and ``scales``."""
        if self.long_side is not None:
            return _by_side(size, self.long_side, max(size), round)
        if self.short_side is not None:
            return _by_side(size, self.short_side, min(size), math.floor)
        return self.input_size or scaled(size, self.input_scale)

    def rounded(self, size: Size) -> Size:
        """Return sides rounded up to multiples of ``multiple``."""
        height, width = (math.ceil(side / self.multiple) * self.multiple for side in size)
        return height, width

    def tile_at(self, scale: float) -> Size:
        """Return the sides of the sliding tile at one of ``scales``."""
        assert self.tile is not None
        return scaled(self.tile, max(1.0, scale)) if self.tile_grows else self.tile

    def at_own_size(self) -> Protocol:
        """Return the protocol for images at their own size, at which networks are trained here."""
        return replace(self, input_size=None, input_scale=1.0, short_side=None, long_side=None)

    def changes(self) -> dict[str, Any]:
        """Return the attributes that differ from the default, as JSON has them."""
        plain = asdict(PLAIN)
        return {name: value for name, value in asdict(self).items() if value != plain[name]}

    def describe(self) -> str:
        """Return the protocol in a few words, such as ``input 512x1024, flip``."""
        words = [self._describe_input()]
        if self.multiple > 1:
            words.append(f"sides to multiples of {self.multiple}")
        if self.pad_multiple > 1:
            words.append(f"padded to {self.pad_multiple}k+{self.pad_remainder}")
        if self.scales != (1.0,):
            words.append(f"scales {','.join(f'{scale:g}' for scale in self.scales)}")
        words.append("flip" if self.flip else "")
        if self.tile is not None:
            how = "sliding tiles" if self.sliding else "tiles"
            words.append(f"{how} {self.tile[0]}x{self.tile[1]}")
        if self.fusion != "logprob":
            words.append(f"{self.fusion} fusion")
        return ", ".join(filter(None, words)) or "whole image once"


PLAIN = Protocol()  # the whole image once


def scaled(size: Size, scale: float) -> Size:
    """Return a size times a factor: sides truncated to integers, 1 at least."""
    height, width = (max(1, math.trunc(side * scale)) for side in size)
    return height, width


def _by_side(size: Size, wanted: int, side: int, rounding: Callable[[float], int]) -> Size:
    """Return a size of the same shape at which the given side has the wanted pixels."""
    height, width = (max(1, rounding(wanted * length / side)) for length in size)
    return height, width
