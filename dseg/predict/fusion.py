"""Scorer: the scores of an image or a crop of it, fused over the views of the protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from dseg.device import stack_to_device
from dseg.images import Pixels
from dseg.models import Normaliser, SegModel
from dseg.nn.bicubic import resize_bicubic
from dseg.predict.bicubic import CubicRowResizer
from dseg.predict.resizing import (
    ImageArray,
    RowResizer,
    band_rows,
    crops_of,
    resize_bands,
    resize_image,
)
from dseg.predict.runtimes import Runtime
from dseg.predict.tiling import blend_rows, slide
from dseg.protocol import Protocol, Size, Upsample, scaled

# At a scale: N images of one size, or a crop of one
ViewsAt = Callable[[float], Sequence[ImageArray]]
WHOLE_PIXELS = 9_000_000  # of the largest view; a larger one is predicted in tiles


class Scorer:
    """Computes the scores of images, or crops of one, by a network and its protocol.

    Args:
        model: network that pads, resizes and normalises, with or without weights.
        protocol: the views, and how they are made and fused.
        runtime: computes the logits.
        device: device of the logits.
    """

    def __init__(self, model: SegModel, protocol: Protocol, runtime: Runtime, device: torch.device):
        self.model, self.protocol, self.runtime, self.device = model, protocol, runtime, device
        self._normalise = Normaliser(model.card, device)

    @property
    def upsample(self) -> Upsample:
        """Interpolation of the network's logits."""
        return self.model.upsampling_by(self.protocol)

    @property
    def restoring(self) -> Upsample:
        """Interpolation of scores from input size to image size."""
        return self.upsample if self.protocol.restore == "direct" else "bilinear"

    @property
    def align_corners(self) -> bool:
        """True if scores are resized from input size to image size with aligned corners."""
        if self.protocol.restore == "direct":
            return self.model.align_corners
        return self.protocol.restore == "bilinear-corners"

    def fused(self, views_at: ViewsAt, out: Size) -> Tensor:
        """Return the scores (N, K, H, W) of images of one size or of a crop, fused over all views.

        Args:
            views_at: returns the N images at a scale, (h, w, 3) RGB in 0..255; with sliding tiles,
                one image.
            out: (height, width) of the scores.
        """
        total: Tensor | None = None
        for scores, view_size in self._views(views_at):
            scores = self._as_fused(self._restored(scores, view_size, out))
            total = scores if total is None else total.add_(scores)
        assert total is not None
        return self._mean(total)

    def fused_bands(self, views_at: ViewsAt, out: Size) -> Iterator[tuple[int, Tensor]]:
        """Yield the first row and the scores (N, K, rows, W) of each band of rows of ``fused``.

        On the CPU the logits at the network's stride are resized and fused band by band, so that
        scores at the image's size do not exist as a whole unless the logits are larger.

        Args:
            views_at, out: as of ``fused``.
        """
        direct = self.protocol.restore in ("direct", "nearest")
        if self.device.type != "cpu" or self.protocol.sliding or not direct:
            yield 0, self.fused(views_at, out)
            return
        total: Tensor | None = None  # of the views whose logits are not held
        held: list[Tensor] = []
        for scores, _ in self._views(views_at):
            held.append(scores)
            if sum(map(_pixels_of, held)) > out[0] * out[1]:
                for view in held:
                    fused = self._as_fused(self._upsampled(view, out))
                    total = fused if total is None else total.add_(fused)
                held.clear()
        rows_of = [self._row_resizer(view, out) for view in held]
        some = total if total is not None else held[0]
        step = band_rows(some.shape[0] * some.shape[1] * out[1])
        for top in range(0, out[0], step):
            bottom = min(top + step, out[0])
            band = None if total is None else total[:, :, top:bottom]
            for resizer in rows_of:
                scores = self._as_fused(resizer.rows(top, bottom))
                band = scores if band is None else band.add_(scores)
            assert band is not None
            yield top, self._mean(band)

    def _views(self, views_at: ViewsAt) -> Iterator[tuple[Tensor, Size]]:
        """Yield the scores of each view, those of flipped images flipped back, and its size.

        Logits that are added are added before they are resized, an image's and its flip's: the
        result is the same up to rounding, in half the time.
        """
        for scale in self.protocol.scales:
            view = self._normalised(views_at(scale))
            view_size = view.shape[-2], view.shape[-1]
            scores = self._view_scores(view, scale)
            if not self._flips:
                yield scores, view_size
                continue
            flipped = self._view_scores(view.flip(-1), scale).flip(-1)
            if self.protocol.fusion == "prob":
                yield scores, view_size
                yield flipped, view_size
            else:
                yield scores + flipped, view_size

    @property
    def _flips(self) -> bool:
        return self.protocol.flip and not self._per_tile

    @property
    def _per_tile(self) -> bool:
        """True if ``slide`` flips and fuses."""
        return self.protocol.sliding and self.protocol.per_tile

    def _as_fused(self, scores: Tensor) -> Tensor:
        """Return the scores of a view as they are added: logits or probabilities."""
        return (
            scores.softmax(1) if self.protocol.fusion == "prob" and not self._per_tile else scores
        )

    def _mean(self, total: Tensor) -> Tensor:
        """Divide the sum of all views' scores by their number, in place."""
        views = len(self.protocol.scales) * (2 if self._flips else 1)
        return total if views == 1 else total.div_(views)

    def _view_scores(self, view: Tensor, scale: float) -> Tensor:
        """Return a view's logits at the network's stride, or the scores of its sliding tiles."""
        if not self.protocol.sliding:
            return self._logits(view)
        black = self._normalise(torch.zeros_like(view[..., :1, :1]))
        return slide(view, self.protocol, scale, self._tile_logits, black)

    def _tile_logits(self, tile: Tensor) -> Tensor:
        """Return the logits of a normalised tile, resized to the tile."""
        height, width = tile.shape[-2:]
        return self._upsampled(self._logits(tile), (height, width))

    def _restored(self, scores: Tensor, view_size: Size, out: Size) -> Tensor:
        """Resize the scores of a view to ``out``."""
        if self.protocol.restore in ("bilinear", "bilinear-corners") and view_size != out:
            scores = self._upsampled(scores, view_size)
            return F.interpolate(scores, out, mode="bilinear", align_corners=self.align_corners)
        return self._upsampled(scores, out)

    def _upsampled(self, scores: Tensor, size: Size) -> Tensor:
        """Resize the network's logits by the protocol's or the network's interpolation."""
        if self.upsample == "bilinear" or scores.shape[-2:] == size:
            return self.model.resize(scores, *size)
        return resize_bicubic(scores, size)

    def _row_resizer(self, scores: Tensor, out: Size) -> RowResizer | CubicRowResizer:
        """Return what resizes the network's logits, any band of rows at a time; for the CPU."""
        if self.upsample == "bicubic" and scores.shape[-2:] != out:
            return CubicRowResizer(scores, out)
        return RowResizer(scores, out, align_corners=self.model.align_corners)

    def _normalised(self, images: Sequence[ImageArray]) -> Tensor:
        """Return (N, 3, H, W) float32, channels last."""
        return self._normalise(stack_to_device(images, self.device).permute(0, 3, 1, 2))

    def _logits(self, view: Tensor) -> Tensor:
        """Return a view's logits at the network's stride; at the view's size if it was padded."""
        height, width = view.shape[-2:]
        view = self.model.pad(self._pad(view))
        scores = self.runtime(view)
        if view.shape[-2:] != (height, width):
            padded = view.shape[-2], view.shape[-1]
            scores = self._upsampled(scores, padded)[..., :height, :width]
        return scores

    def _pad(self, view: Tensor) -> Tensor:
        """Pad a normalised view with zeros to the protocol's multiple and remainder."""
        multiple, remainder = self.protocol.pad_multiple, self.protocol.pad_remainder
        down, right = ((remainder - side) % multiple for side in view.shape[-2:])
        return F.pad(view, (0, right, 0, down)) if down or right else view


class Bands:
    """Computes the scores of whole images in bands of rows.

    Args:
        scorer: computes the scores of an image or a crop of it.
    """

    def __init__(self, scorer: Scorer):
        self._scorer, self.protocol = scorer, scorer.protocol

    def scored_size(self, size: Size) -> Size:
        """Return the (height, width) of the labels of an image: its own, or its input size."""
        return self.protocol.input_of(size) if self.protocol.restore == "nearest" else size

    def whole(self, images: Sequence[Pixels]) -> Tensor:
        """Return the scores of images of one size, (N, K, rows, W), without tiles."""
        out = self.scored_size(size_of(images[0]))
        return self._scorer.fused(partial(self._views_at, images), out)

    def of(self, images: Sequence[Pixels], tile: Size | None) -> Iterator[tuple[int, Tensor]]:
        """Return bands of scores: their first row, and (N, K, rows, W).

        Args:
            images: images of one size, (H, W, 3) uint8, RGB; a single one with tiles or more than
                ``WHOLE_PIXELS`` pixels.
            tile: (height, width) of the tiles, None for the whole image.
        """
        size = size_of(images[0])
        whole = tile is None and (
            self.protocol.input_of(size) == self.scored_size(size)
            or size[0] * size[1] <= WHOLE_PIXELS
        )
        if self.protocol.sliding or whole:
            views_at = partial(self._views_at, images)
            return self._scorer.fused_bands(views_at, self.scored_size(size))
        [image] = images
        return ((top, scores[None]) for top, scores in self._bands_of(image, tile))

    def _bands_of(self, image: Pixels, tile: Size | None) -> Iterator[tuple[int, Tensor]]:
        """Return bands of scores (K, rows, W) without building the whole resized image."""
        size = size_of(image)
        out = self.scored_size(size)
        input_size = self.protocol.input_of(size)
        crop_at = crops_of(image, input_size, self.protocol.resample)

        def scores_of(*box: int) -> Tensor:
            crop = crop_at(*box)
            return self._scorer.fused(partial(self._crop_view_at, crop), size_of(crop))[0]

        if tile is None:
            bands = iter([(0, scores_of(0, 0, *input_size))])
        else:
            bands = blend_rows(input_size, tile, self.protocol.overlap, scores_of)
        if input_size == out:
            return bands
        return resize_bands(
            bands,
            input_size,
            out,
            align_corners=self._scorer.align_corners,
            upsample=self._scorer.restoring,
        )

    def _views_at(self, images: Sequence[Pixels], scale: float) -> list[ImageArray]:
        """Return the views of images at a scale."""
        return [self._view_at(image, scale) for image in images]

    def _view_at(self, image: Pixels, scale: float) -> ImageArray:
        protocol, size = self.protocol, size_of(image)
        view_size = protocol.input_of(size, scale)
        if protocol.rescale is None:
            return resize_image(image, view_size, protocol.resample)
        first = resize_image(image, protocol.first_size(size), protocol.resample)
        return resize_image(first, view_size, protocol.rescale)

    def _crop_view_at(self, crop: ImageArray, scale: float) -> list[ImageArray]:
        """Return the view of a crop of a resized image at a scale."""
        view_size = self.protocol.rounded(scaled(size_of(crop), scale))
        return [resize_image(crop, view_size, self.protocol.rescale or self.protocol.resample)]


def _pixels_of(scores: Tensor) -> int:
    return scores.shape[-2] * scores.shape[-1]


def size_of(image: ImageArray) -> Size:
    """Return the (height, width) of an (H, W, 3) image."""
    return image.shape[0], image.shape[1]
