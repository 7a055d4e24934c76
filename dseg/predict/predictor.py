"""Predictor: one image to train ids, whole or in tiles, at one scale or many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dseg.checkpoints import LoadReport, load_model
from dseg.deploy import prepare
from dseg.errors import DsegError
from dseg.images import Pixels
from dseg.models import Normaliser, SegModel
from dseg.predict.devices import find_amp, find_device, is_out_of_memory
from dseg.predict.protocol import Protocol, scaled
from dseg.predict.resizing import pieces_of, resize_bands, resize_image
from dseg.predict.sliding import slide
from dseg.predict.tiles import Size, blend_rows

WHOLE_PIXELS = 9_000_000  # of the largest view; more is predicted in tiles
AUTO_TILES: tuple[Size, ...] = ((1024, 2048), (512, 1024), (256, 512))


class Prediction(NamedTuple):
    """What a network says of an image.

    Attributes:
        train_ids: (H, W) uint8.
        confidence: (H, W) uint8, 255 for certain; None unless asked for.
        tile: (height, width) of the tiles that were used, None for the whole image.
    """

    train_ids: Pixels
    confidence: Pixels | None = None
    tile: Size | None = None


class Predictor:
    """A network ready to label images of any size.

    The authors' single-scale protocol by default: normalise, logits resized bilinearly to the
    image's size, argmax. With several scales or ``flip``: the image resized by PIL's bicubic to
    truncated sides, the logits of all views resized to the image's size and fused.

    With an input size or an input scale, the scales multiply that: an input scale of 0.5 and the
    one scale 0.5 are the same protocol. Tiles are tiles of the resized image, which is never made
    whole: their scores are blended at the input size, then resized to the image's size a few rows
    at a time. So are the scores of an image of more than ``WHOLE_PIXELS`` pixels that is small when
    resized. What is held of scores therefore depends on the input size, not on the image's.

    Args:
        model: made by ``load_model`` or ``build_model``; put into evaluation mode and copied.
        protocol: scales, mirror, fusion, tiles and the input size.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        amp: ``off``, ``auto``, ``bf16`` or ``fp16``: the precision within the network.

    Raises:
        DsegError: no such device, or not that precision there.
    """

    def __init__(
        self,
        model: SegModel,
        *,
        protocol: Protocol | None = None,
        device: str = "auto",
        amp: str = "off",
    ):
        self.protocol = protocol or Protocol()
        self.device = find_device(device)
        self.amp = find_amp(amp, self.device)
        # An image comes channels last, and resizing logits is twice as fast so on the CPU.
        self.model = prepare(model.eval(), device=self.device)
        self.label_space = model.card.label_space
        self._normalise = Normaliser(model.card, self.device)
        self._tiles: tuple[Size, ...] = AUTO_TILES

    @classmethod
    def load(
        cls,
        name: str | None = None,
        weights: Path | str | None = None,
        *,
        protocol: Protocol | None = None,
        device: str = "auto",
        amp: str = "off",
        partial: bool = False,
        inplace_norms: bool = False,
        on_report: Callable[[LoadReport], None] = lambda report: None,
    ) -> Predictor:
        """Load a network by name and checkpoint; see ``load_model`` and ``Predictor``.

        Raises:
            CheckpointError: no file, no checkpoint, or not this network's.
            DsegError: no such network or device.
        """
        find_device(device)  # told before a large file is read
        model = load_model(
            name, weights, partial=partial, inplace_norms=inplace_norms, on_report=on_report
        )
        return cls(model, protocol=protocol, device=device, amp=amp)

    def __call__(self, image: Pixels) -> Pixels:
        """Return the train ids, (H, W) uint8, of an (H, W, 3) uint8 RGB image."""
        return self.predict(image).train_ids

    def predict(self, image: Pixels, *, confidence: bool = False) -> Prediction:
        """Label an image, in tiles if the protocol says so or the image does not fit.

        Args:
            image: (H, W, 3) uint8, RGB.
            confidence: also return the probability of each pixel's class.

        Raises:
            DsegError: not even the smallest tile fits into memory, or it is no such image.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise DsegError(
                f"An array of {image.dtype}, {list(image.shape)}, is no image.",
                hint="give (H, W, 3) of uint8, RGB, as read_image does.",
            )
        for tile in self._attempts(image):
            try:
                return self._labels(image, tile, confidence)
            except (RuntimeError, MemoryError) as fault:
                if not is_out_of_memory(fault):
                    raise
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        raise DsegError(
            f"Not even a tile of this {image.shape[0]}x{image.shape[1]} image fits into memory.",
            hint="name a smaller --tile, fewer --scales or another --device.",
        )

    def _attempts(self, image: Pixels) -> Iterator[Size | None]:
        height, width = self.protocol.input_of(_size_of(image))
        if self.protocol.sliding:
            yield self.protocol.tile
            return
        if self.protocol.tile is not None:
            rows, columns = self.protocol.tile
            yield None if rows >= height and columns >= width else (rows, columns)
            return
        largest = WHOLE_PIXELS / max(self.protocol.scales) ** 2
        if height * width <= largest:
            yield None
        for tile in self._tiles:
            fits = min(tile[0], height) * min(tile[1], width) <= largest
            if (tile[0] < height or tile[1] < width) and (fits or tile == self._tiles[-1]):
                yield tile

    @torch.inference_mode()
    def _labels(self, image: Pixels, tile: Size | None, confidence: bool) -> Prediction:
        size = _size_of(image)
        train_ids = np.empty(size, np.uint8)
        certainty = np.empty(size, np.uint8) if confidence else None
        for top, scores in self._bands(image, tile):
            rows = slice(top, top + scores.shape[1])
            # max, not argmax: the same answer sooner, on the CPU 38 ms for 64 at 1024x2048
            train_ids[rows] = scores.max(0).indices.to(torch.uint8).cpu().numpy()
            if certainty is not None:
                certainty[rows] = self._certainty(scores)
        return Prediction(train_ids, certainty, tile)

    def _bands(self, image: Pixels, tile: Size | None) -> Iterator[tuple[int, Tensor]]:
        """Return the scores at the image's size in bands, (K, rows, W), with their first rows."""
        size = _size_of(image)
        seen = self.protocol.input_of(size)
        if self.protocol.sliding:
            return iter([(0, self.scores(image))])
        if tile is None and (seen == size or size[0] * size[1] <= WHOLE_PIXELS):
            return iter([(0, self.scores(image))])
        cut = pieces_of(image, seen)

        def scores_of(*place: int) -> Tensor:
            piece = cut(*place)
            return self._fused(piece, _size_of(piece))

        if tile is None:
            bands = iter([(0, scores_of(0, 0, *seen))])
        else:
            bands = blend_rows(seen, tile, self.protocol.overlap, scores_of)
        if seen == size:
            return bands
        return resize_bands(bands, seen, size, align_corners=self.model.align_corners)

    def _certainty(self, scores: Tensor) -> Pixels:
        if self.protocol.fusion == "logprob":
            scores = scores.softmax(0)
        best: Pixels = (scores.amax(0) * 255).round().to(torch.uint8).cpu().numpy()
        return best

    @torch.inference_mode()
    def scores(self, image: Pixels) -> Tensor:
        """Return the fused scores of all views of an image, whole, on the predictor's device.

        The mean of log-softmax differs from the mean of the logits, which is what ``logprob``
        returns, by one number a pixel: the same argmax, and the same probabilities after a
        softmax, without a softmax for each view.

        Args:
            image: (H, W, 3) uint8, RGB.

        Returns:
            (K, H, W) float32: mean logits, or with ``prob`` mean probabilities.
        """
        if self.protocol.sliding:
            return slide(image, self.protocol, self._tile_logits, self.model.resize)
        return self._fused(image, self.protocol.input_of(_size_of(image)))

    def _tile_logits(self, image: Pixels) -> Tensor:
        """Return the logits of an image at its own size, (K, H, W)."""
        scores = self._logits(self._normalised(image))
        return self.model.resize(scores, *_size_of(image))[0]

    def _fused(self, image: Pixels, size: Size) -> Tensor:
        """Return the scores at the image's size, (K, H, W), seen at the scales of ``size``."""
        height, width = _size_of(image)
        total: Tensor | None = None
        views = 0
        for scale in self.protocol.scales:
            view = self._normalised(resize_image(image, scaled(size, scale)))
            for mirrored in (False, True)[: 1 + self.protocol.flip]:
                scores = self._logits(view.flip(-1) if mirrored else view)
                scores = scores.flip(-1) if mirrored else scores
                scores = self.model.resize(scores, height, width)
                if self.protocol.fusion == "prob":
                    scores = scores.softmax(1)
                total = scores if total is None else total.add_(scores)
                views += 1
        assert total is not None
        return (total if views == 1 else total.div_(views))[0]

    def _normalised(self, image: Pixels) -> Tensor:
        """Return (1, 3, H, W) float32, channels last."""
        pixels = torch.from_numpy(np.require(image, requirements=("C", "W"))).to(self.device)
        return self._normalise(pixels.permute(2, 0, 1)[None])

    def _logits(self, view: Tensor) -> Tensor:
        """Return the logits of a view, as small as the network gives them."""
        height, width = view.shape[-2:]
        view = self.model.pad(view)
        enabled = self.amp is not None
        with torch.autocast(self.device.type, dtype=self.amp, enabled=enabled):
            scores = self.model.logits(view)[0]
        scores = scores.float()
        if view.shape[-2:] != (height, width):
            scores = self.model.resize(scores, *view.shape[-2:])[..., :height, :width]
        return scores


def _size_of(image: Pixels) -> Size:
    return image.shape[0], image.shape[1]
