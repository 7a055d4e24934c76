"""Protocol: all steps of inference around a network, from a decoded image to its labels."""

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

MULTI_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.8)  # as DenseASPP's authors
MAX_SIDE = 1 << 16
MIN_SCALE, MAX_SCALE, MAX_SCALES = 1e-3, 8, 100
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
    """The steps of inference, from an image to its labels, besides normalisation and the network.

    Each network of the registry has two protocols: the plain one, the default, with only the steps
    that the network requires; and the authors', which adds the tiles, flips and scales with which
    their score was published.

    Example:
        >>> protocol = dseg.Protocol(scales=(0.75, 1.0, 1.25), flip=True)
        >>> predictor = dseg.Predictor(dseg.load_model("dabnet"), protocol=protocol)

    Attributes:
        input_size: (height, width) to which every image is resized first; None for the image size.
        input_scale: factor by which images are resized instead, with sides truncated.
        short_side, long_side: length to which that side is resized instead; the other side keeps
            the aspect ratio and is truncated, or rounded for ``long_side``, as in the releases.
        multiple: number of which the sides of the input are multiples; it is resized, rounding up.
        rescale: interpolation, as in ``resample``, from the input size to multiples and ``scales``;
            None to resize the image itself to each of these sizes in one step.
        resample: interpolation of images: ``bicubic`` and ``bilinear-antialias`` are PIL's, in
            8 bits; ``bilinear`` is without antialiasing in float32, as OpenCV resizes floats;
            ``bilinear-corners`` is ``bilinear`` with aligned corners.
        pad_multiple, pad_remainder: divisor and remainder of the sides to which the normalised
            input is padded at the bottom and right with zeros; scores of the padding are cut off.
        upsample: interpolation of the network's logits; those of a network that is bicubic itself
            are always resized so.
        restore: how scores are resized from input size to image size: ``direct`` from the network's
            logits in one step; ``bilinear`` or ``bilinear-corners`` from logits at the input size,
            as in ``resample``; ``nearest`` resizes the labels.
        scales: input scales, relative to the input size.
        flip: whether to average with the horizontally flipped image.
        fusion: how views are fused: ``logprob`` is the mean of logits, equivalent to that of
            log-probabilities; ``prob`` the mean of probabilities; with ``per_tile`` also ``exp``,
            the exponential of a flipped pair's summed logits, or ``product`` of probabilities.
        tile: (height, width) of tiles of the resized image; None for the whole image, with tiles
            only if it is too large.
        overlap: fraction of a tile that its neighbour covers too.
        sliding: whether the tile slides over the image at each of ``scales``, see ``slide``; if
            not, each tile is predicted at all scales and blended with its neighbours.
        tile_grows: whether a sliding tile grows with scales above 1.
        per_tile: whether to flip and fuse each sliding tile instead of each view.
        small: what to do with an image smaller than the sliding tile: ``shrink`` the tile, or pad
            the image at the bottom and right (``corner``) or on all sides (``center``).
        fill: colour of padding: ``mean``, which is zero once normalised, or ``black``;
            ``mean-if-whole`` is mean if the whole image fits into a tile, else black.
        last: whether the last sliding tile is shifted to end with the image (``shift``), or
            padded (``pad``).
        overlaps: whether the scores of overlapping sliding tiles are averaged or summed.
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
        valid = all(MIN_SCALE <= scale <= MAX_SCALE for scale in self.scales)
        if not valid or not 1 <= len(self.scales) <= MAX_SCALES:
            raise DsegError(
                f"Scales {list(self.scales[:9])} cannot be used.",
                hint=f"name 1 to {MAX_SCALES} scales from {MIN_SCALE:g} to {MAX_SCALE}.",
            )
        if self.fusion in ("exp", "product") and not (self.sliding and self.per_tile):
            raise DsegError(
                f"The fusion {self.fusion} is for flipped sliding tiles only.",
                hint="use logprob or prob.",
            )

    def _check_tiles(self) -> None:
        if self.tile is not None and min(self.tile) < 32:
            raise DsegError(
                f"A tile of {self.tile[0]}x{self.tile[1]} is too small.",
                hint="use sides of at least 32, better the crop size of the training.",
            )
        if not 0 <= self.overlap < 1:
            raise DsegError(
                f"An overlap of {self.overlap} is not a fraction of a tile.",
                hint="use 0 to below 1.",
            )
        if self.sliding and self.tile is None:
            raise DsegError(
                "The protocol has sliding tiles, but no tile size.",
                hint="name one, such as --tile 832x832.",
            )

    def _check_input(self) -> None:
        if not MIN_SCALE <= self.input_scale <= MAX_SCALE:
            raise DsegError(
                f"An input scale of {self.input_scale} cannot be used.",
                hint=f"name a factor from {MIN_SCALE:g} to {MAX_SCALE}.",
            )
        if self.input_size is not None and max(self.input_size) > MAX_SIDE:
            raise DsegError(
                f"An input size of {self.input_size[0]}x{self.input_size[1]} is too large.",
                hint=f"use at most {MAX_SIDE} pixels a side.",
            )
        if self.input_size is not None and min(self.input_size) < 1:
            height, width = self.input_size
            raise DsegError(
                f"An input size of {height}x{width} has no pixels.", hint="use sides above 0."
            )
        sides = (self.short_side, self.long_side, self.multiple, self.pad_multiple)
        if not all(1 <= side <= MAX_SIDE for side in sides if side is not None):
            raise DsegError(
                f"An input of side {self.short_side or self.long_side}, multiple {self.multiple} "
                f"and padding to {self.pad_multiple} is not possible.",
                hint=f"use 1 to {MAX_SIDE}.",
            )
        if not 0 <= self.pad_remainder < self.pad_multiple:
            raise DsegError(
                f"A remainder of {self.pad_remainder} is impossible modulo {self.pad_multiple}.",
                hint="use a remainder below the divisor.",
            )
        if self.input_size is not None and self.input_scale != 1:
            height, width = self.input_size
            raise DsegError(
                f"Both an input size ({height}x{width}) and an input scale ({self.input_scale:g}) "
                "are named.",
                hint="name one of them: one size for all images, or a factor of each image's size.",
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
        """Return the (height, width) of the network's input for an image of that size.

        Args:
            size: (height, width) of the image.
            scale: one of ``scales``.
        """
        if self.long_side is not None:
            return self.rounded(_by_side(size, round(self.long_side * scale), max(size), round))
        return self.rounded(scaled(self.first_size(size), scale))

    def first_size(self, size: Size) -> Size:
        """Return the (height, width) of an image's input before ``multiple`` and ``scales``."""
        if self.long_side is not None:
            return _by_side(size, self.long_side, max(size), round)
        if self.short_side is not None:
            return _by_side(size, self.short_side, min(size), math.floor)
        return self.input_size or scaled(size, self.input_scale)

    def rounded(self, size: Size) -> Size:
        """Round sides up to multiples of ``multiple``."""
        height, width = (math.ceil(side / self.multiple) * self.multiple for side in size)
        return height, width

    def tile_at(self, scale: float) -> Size:
        """Return the (height, width) of the sliding tile at one of ``scales``."""
        assert self.tile is not None
        return scaled(self.tile, max(1.0, scale)) if self.tile_grows else self.tile

    def at_own_size(self) -> Protocol:
        """Return the protocol without an input size: dseg trains networks at the image size."""
        return replace(self, input_size=None, input_scale=1.0, short_side=None, long_side=None)

    def changes(self) -> dict[str, Any]:
        """Return the attributes that differ from the default, by name."""
        plain = asdict(PLAIN)
        return {name: value for name, value in asdict(self).items() if value != plain[name]}

    def describe(self) -> str:
        """Describe the protocol in a few words, such as ``input 512x1024, flip``."""
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
    """Scale a size; sides are truncated to integers, at least 1."""
    height, width = (max(1, math.trunc(side * scale)) for side in size)
    return height, width


def _by_side(size: Size, wanted: int, side: int, rounding: Callable[[float], int]) -> Size:
    """Resize a size in its aspect ratio so that the given side has the wanted length."""
    height, width = (max(1, rounding(wanted * length / side)) for length in size)
    return height, width
