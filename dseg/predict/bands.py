"""Bands: from images to the scores that decide, whole or a band of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from torch import Tensor

from dseg.images import Pixels
from dseg.predict.resizing import View, pieces_of, resize_bands, resize_image
from dseg.predict.scorer import Scorer
from dseg.predict.tiles import blend_rows
from dseg.protocol import Size, scaled

WHOLE_PIXELS = 9_000_000  # of the largest view; more is predicted in tiles


class Bands:
    """A network and its protocol, from whole images to scores.

    Args:
        scorer: of the network, for an image or a piece of it.
    """

    def __init__(self, scorer: Scorer):
        self._scorer, self.protocol = scorer, scorer.protocol

    def scored_size(self, size: Size) -> Size:
        """Return the (height, width) at which the pixels of an image of that size get labels."""
        return self.protocol.input_of(size) if self.protocol.restore == "nearest" else size

    def whole(self, images: Sequence[Pixels]) -> Tensor:
        """Return the scores of images of one size, (N, K, rows, W), each resized as a whole."""
        out = self.scored_size(size_of(images[0]))
        return self._scorer.fused(partial(self._views_at, images), out)

    def of(self, images: Sequence[Pixels], tile: Size | None) -> Iterator[tuple[int, Tensor]]:
        """Return the scores that decide in bands, (N, K, rows, W), with their first rows.

        Args:
            images: of one size; (H, W, 3) uint8, RGB. In tiles, and of more than ``WHOLE_PIXELS``,
                one only.
            tile: (height, width) of the tiles, None for the whole image.
        """
        size = size_of(images[0])
        whole = tile is None and (
            self.protocol.input_of(size) == self.scored_size(size)
            or size[0] * size[1] <= WHOLE_PIXELS
        )
        if self.protocol.sliding or whole:
            return iter([(0, self.whole(images))])
        [image] = images
        return ((top, scores[None]) for top, scores in self._piecewise(image, tile))

    def _piecewise(self, image: Pixels, tile: Size | None) -> Iterator[tuple[int, Tensor]]:
        """Return the scores of a resized image that is never made whole: (K, rows, W) each."""
        size = size_of(image)
        out = self.scored_size(size)
        seen = self.protocol.input_of(size)
        cut = pieces_of(image, seen, self.protocol.resample)

        def scores_of(*place: int) -> Tensor:
            piece = cut(*place)
            return self._scorer.fused(partial(self._piece_at, piece), size_of(piece))[0]

        if tile is None:
            bands = iter([(0, scores_of(0, 0, *seen))])
        else:
            bands = blend_rows(seen, tile, self.protocol.overlap, scores_of)
        if seen == out:
            return bands
        return resize_bands(bands, seen, out, align_corners=self._scorer.align_corners)

    def _views_at(self, images: Sequence[Pixels], scale: float) -> list[View]:
        """Return images as they are read at a scale."""
        return [self._view_at(image, scale) for image in images]

    def _view_at(self, image: Pixels, scale: float) -> View:
        protocol, size = self.protocol, size_of(image)
        seen = protocol.input_of(size, scale)
        if protocol.rescale is None:
            return resize_image(image, seen, protocol.resample)
        first = resize_image(image, protocol.first_size(size), protocol.resample)
        return resize_image(first, seen, protocol.rescale)

    def _piece_at(self, piece: View, scale: float) -> list[View]:
        """Return a piece of a resized image as it is read at a scale."""
        seen = self.protocol.rounded(scaled(size_of(piece), scale))
        return [resize_image(piece, seen, self.protocol.rescale or self.protocol.resample)]


def size_of(image: View) -> Size:
    """Return the (height, width) of an (H, W, 3) image."""
    return image.shape[0], image.shape[1]
