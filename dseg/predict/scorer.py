"""Scorer: the scores of an image or a piece of it, over all views that the protocol names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from dseg.device import stack_to_device
from dseg.images import Pixels
from dseg.memory import is_out_of_memory
from dseg.models import Normaliser, SegModel
from dseg.predict.prediction import compile_error
from dseg.predict.resizing import ImageArray, pieces_of, resize_bands, resize_image
from dseg.predict.tiling import blend_rows, slide
from dseg.protocol import Protocol, Size, scaled

ViewsAt = Callable[
    [float], Sequence[ImageArray]
]  # N images of one size, or a piece of one, at a scale
WHOLE_PIXELS = 9_000_000  # of the largest view; more is predicted in tiles


class Scorer:
    """A network and its protocol, from pixels to scores.

    Args:
        model: in evaluation mode, on its device.
        protocol: the views, and how they are made and fused.
        amp: the precision within the network; None for float32.
        device: where the network is.
    """

    def __init__(
        self, model: SegModel, protocol: Protocol, amp: torch.dtype | None, device: torch.device
    ):
        self.model, self.protocol, self.amp, self.device = model, protocol, amp, device
        self._normalise = Normaliser(model.card, device)
        self._forward = model.logits
        self._compiled = False
        self._seen: set[torch.Size] = set()  # shapes that were compiled for

    def compile(self) -> None:
        """Compile the network, when it first computes; each size of a view for itself."""
        self._forward = torch.compile(self.model.logits, dynamic=False)
        self._compiled = True

    @property
    def align_corners(self) -> bool:
        """Whether corners are aligned where scores at the input's size return to the image's."""
        if self.protocol.restore == "direct":
            return self.model.align_corners
        return self.protocol.restore == "bilinear-corners"

    def fused(self, views_at: ViewsAt, out: Size) -> Tensor:
        """Return the scores (N, K, H, W) of images of one size or of a piece, fused over all views.

        Args:
            views_at: returns the N images at a scale, (h, w, 3) RGB in 0..255; of sliding tiles
                one.
            out: (H, W).
        """
        protocol = self.protocol
        per_tile = protocol.sliding and protocol.per_tile  # flipped and fused there
        flips = (False, True) if protocol.flip and not per_tile else (False,)
        total: Tensor | None = None
        for scale in protocol.scales:
            view = self._normalised(views_at(scale))
            seen = view.shape[-2], view.shape[-1]
            for flipped in flips:
                scores = self._view_scores(view.flip(-1) if flipped else view, scale)
                scores = scores.flip(-1) if flipped else scores
                scores = self._restored(scores, seen, out)
                if protocol.fusion == "prob" and not per_tile:
                    scores = scores.softmax(1)
                total = scores if total is None else total.add_(scores)
        assert total is not None
        views = len(protocol.scales) * len(flips)
        return total if views == 1 else total.div_(views)

    def _view_scores(self, view: Tensor, scale: float) -> Tensor:
        """Return the scores of a view: whole, as small as the network's logits, or of its tiles."""
        if not self.protocol.sliding:
            return self._logits(view)
        black = self._normalise(torch.zeros_like(view[..., :1, :1]))
        return slide(view, self.protocol, scale, self._tile_logits, black)

    def _tile_logits(self, tile: Tensor) -> Tensor:
        """Return the logits of a normalised tile at its own size."""
        height, width = tile.shape[-2:]
        return self._upsampled(self._logits(tile), (height, width))

    def _restored(self, scores: Tensor, seen: Size, out: Size) -> Tensor:
        """Resize scores of a view of that size to ``out``."""
        if self.protocol.restore in ("bilinear", "bilinear-corners") and seen != out:
            scores = self._upsampled(scores, seen)
            return F.interpolate(scores, out, mode="bilinear", align_corners=self.align_corners)
        return self._upsampled(scores, out)

    def _upsampled(self, scores: Tensor, size: Size) -> Tensor:
        """Resize the network's logits as its authors do."""
        if self.protocol.upsample == "bicubic" and scores.shape[-2:] != size:
            return F.interpolate(scores, size, mode="bicubic", align_corners=False)
        return self.model.resize(scores, *size)

    def _normalised(self, images: Sequence[ImageArray]) -> Tensor:
        """Return (N, 3, H, W) float32, channels last."""
        return self._normalise(stack_to_device(images, self.device).permute(0, 3, 1, 2))

    def _logits(self, view: Tensor) -> Tensor:
        """Return the logits of a view, as small as the network gives them."""
        height, width = view.shape[-2:]
        view = self.model.pad(self._pad(view))
        enabled = self.amp is not None
        with torch.autocast(self.device.type, dtype=self.amp, enabled=enabled):
            scores = self._main_logits(view)
        scores = scores.float()
        if view.shape[-2:] != (height, width):
            padded = view.shape[-2], view.shape[-1]
            scores = self._upsampled(scores, padded)[..., :height, :width]
        return scores

    def _main_logits(self, view: Tensor) -> Tensor:
        """Return what the network itself computes.

        Raises:
            CompileError: it is to be compiled, and cannot be.
        """
        if not self._compiled or view.shape in self._seen:
            return self._forward(view)[0]
        try:
            found = self._forward(view)[0]
            self._seen.add(view.shape)
            return found
        except Exception as fault:  # the compiler's are of many kinds, and those of what it calls
            if is_out_of_memory(fault):
                raise
            raise compile_error(self.model.card.network, fault) from fault

    def _pad(self, view: Tensor) -> Tensor:
        """Pad a normalised view with zeros, as the protocol says."""
        multiple, remainder = self.protocol.pad_multiple, self.protocol.pad_remainder
        down, right = ((remainder - side) % multiple for side in view.shape[-2:])
        return F.pad(view, (0, right, 0, down)) if down or right else view


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

    def _views_at(self, images: Sequence[Pixels], scale: float) -> list[ImageArray]:
        """Return images as they are read at a scale."""
        return [self._view_at(image, scale) for image in images]

    def _view_at(self, image: Pixels, scale: float) -> ImageArray:
        protocol, size = self.protocol, size_of(image)
        seen = protocol.input_of(size, scale)
        if protocol.rescale is None:
            return resize_image(image, seen, protocol.resample)
        first = resize_image(image, protocol.first_size(size), protocol.resample)
        return resize_image(first, seen, protocol.rescale)

    def _piece_at(self, piece: ImageArray, scale: float) -> list[ImageArray]:
        """Return a piece of a resized image as it is read at a scale."""
        seen = self.protocol.rounded(scaled(size_of(piece), scale))
        return [resize_image(piece, seen, self.protocol.rescale or self.protocol.resample)]


def size_of(image: ImageArray) -> Size:
    """Return the (height, width) of an (H, W, 3) image."""
    return image.shape[0], image.shape[1]


class Tuning:
    """Lets cuDNN search from the second batch in a row of the same shape on.

    A search takes as long as many images, and cuDNN remembers its results for each shape. So a
    shape that is seen for the first time is computed without; and never is searched where
    deterministic algorithms are asked for.

    Args:
        device: elsewhere than on CUDA nothing is done.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._last: object = None

    @contextmanager
    def of(self, shape: object) -> Iterator[None]:
        """Compute the body's batch of that shape; cuDNN's setting is as it was afterwards."""
        if self._device.type != "cuda":
            yield
            return
        before = torch.backends.cudnn.benchmark
        deterministic = torch.are_deterministic_algorithms_enabled()
        torch.backends.cudnn.benchmark = shape == self._last and not deterministic
        self._last = shape
        try:
            yield
        finally:
            torch.backends.cudnn.benchmark = before
