"""Predictor: one image to train ids, whole or in tiles, at one scale or many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dseg.checkpoints import LoadReport, load_model
from dseg.deploy import prepare
from dseg.errors import DsegError, NotFiniteError
from dseg.images import Pixels
from dseg.labels import IGNORE
from dseg.memory import is_out_of_memory
from dseg.models import SegModel
from dseg.predict.devices import find_amp, find_device
from dseg.predict.resizing import (
    View,
    pieces_of,
    repeat_labels,
    resize_bands,
    resize_image,
)
from dseg.predict.scorer import Scorer
from dseg.predict.tiles import blend_rows
from dseg.protocol import Protocol, Size, scaled

WHOLE_PIXELS = 9_000_000  # of the largest view; more is predicted in tiles
AUTO_TILES: tuple[Size, ...] = ((1024, 2048), (512, 1024), (256, 512))


class Prediction(NamedTuple):
    """The result of ``Predictor.predict``.

    Attributes:
        train_ids: (H, W) uint8, 255 where the network finds none of the classes.
        confidence: (H, W) uint8, 255 for certain; None unless asked for.
        tile: (height, width) of the tiles that were used, None for the whole image.
    """

    train_ids: Pixels
    confidence: Pixels | None = None
    tile: Size | None = None


class Predictor:
    """A network ready to label images of any size.

    The network's own plain protocol by default: for most, normalise, resize the logits bilinearly
    to the image's size, argmax.

    The scales multiply an input size or an input scale. Tiles are tiles of the resized image,
    which is never made whole: their scores are blended at the input size, then resized to the
    image's size a few rows at a time, as are those of an image of more than ``WHOLE_PIXELS``
    pixels that is small when resized. So memory depends on the input size, not on the image's.

    Args:
        model: made by ``load_model`` or ``build_model``; put into evaluation mode and copied.
        protocol: how an image becomes labels; by default that of the network's card.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        amp: ``off``, ``auto``, ``bf16`` or ``fp16``: the precision within the network.
        fall_back: predict in tiles, or smaller ones, where memory is too short.

    Attributes:
        tiled: images predicted in tiles though the protocol has none.

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
        fall_back: bool = True,
    ):
        self.fall_back, self.tiled = fall_back, 0
        self.protocol = protocol or model.card.protocol
        self.device = find_device(device)
        self.amp = find_amp(amp, self.device)
        # An image comes channels last, and resizing logits is twice as fast so on the CPU.
        self.model = prepare(model.eval(), device=self.device)
        self.label_space = model.card.label_space
        self._scorer = Scorer(self.model, self.protocol, self.amp, self.device)
        self._meanings = find_meanings(model.card.outputs)
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
        inplace_norms: bool | None = None,
        raw_weights: bool = False,
        on_report: Callable[[LoadReport], None] = lambda report: None,
        on_note: Callable[[str], None] = lambda note: None,
    ) -> Predictor:
        """Load a network by name and checkpoint; see ``load_model`` and ``Predictor``.

        Raises:
            CheckpointError: no file, no checkpoint, or not this network's.
            DsegError: no such network or device.
        """
        find_device(device)  # told before a large file is read
        model = load_model(
            name,
            weights,
            partial=partial,
            inplace_norms=inplace_norms,
            raw_weights=raw_weights,
            on_report=on_report,
            on_note=on_note,
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
            NotFiniteError: the network's scores are NaN or infinite.
            DsegError: not enough memory (see ``fall_back``), or the array is not an image.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise DsegError(
                f"An array of {image.dtype}, {list(image.shape)}, is not an image.",
                hint="give (H, W, 3) of uint8, RGB, as read_image does.",
            )
        for tile in self._attempts(image):
            try:
                found = self._labels(image, tile, confidence)
                self.tiled += tile is not None and self.protocol.tile is None
                return found
            except (RuntimeError, MemoryError) as fault:
                if not is_out_of_memory(fault):
                    raise
                if not self.fall_back:
                    raise self._too_large(image, tile) from fault
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        height, width = self.protocol.input_of(_size_of(image))
        raise DsegError(
            f"Not even a tile of this {image.shape[0]}x{image.shape[1]} image fits into memory; it "
            f"is read at {height}x{width}.",
            hint="name a smaller --tile or --input-size, fewer --scales or another --device.",
        )

    def _too_large(self, image: Pixels, tile: Size | None) -> DsegError:
        what = "whole" if tile is None else f"in tiles of {tile[0]}x{tile[1]}"
        return DsegError(
            f"An image of {image.shape[0]}x{image.shape[1]} does not fit into memory {what}; "
            "scores of other tiles could not be compared.",
            hint="name a --tile or --input-size, which scores record, or another --device.",
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
        size = self._scored_size(image)
        train_ids = np.empty(size, np.uint8)
        certainty = np.empty(size, np.uint8) if confidence else None
        for top, scores in self._bands(image, tile):
            rows = slice(top, top + scores.shape[1])
            # max, not argmax: the same answer sooner, on the CPU 38 ms for 64 at 1024x2048
            best, outputs = scores.max(0)
            if not best.isfinite().all():
                raise self._not_finite()
            train_ids[rows] = outputs.to(torch.uint8).cpu().numpy()
            if certainty is not None:
                certainty[rows] = self._certainty(scores, best)
        if self._meanings is not None:
            train_ids = self._meanings[train_ids]
        if size != _size_of(image):
            train_ids = repeat_labels(train_ids, _size_of(image))
            certainty = None if certainty is None else repeat_labels(certainty, _size_of(image))
        return Prediction(train_ids, certainty, tile)

    def _not_finite(self) -> NotFiniteError:
        """Return the error of scores that are NaN or infinite, whose labels would mean nothing."""
        hint = "check the weights: dseg inspect."
        if self.amp == torch.float16:
            hint = "use --amp bf16 or --amp off: 16-bit floats end at 65504."
        return NotFiniteError(
            f"The scores of {self.model.card.network} are NaN or infinite on this image.", hint=hint
        )

    def _scored_size(self, image: Pixels) -> Size:
        """Return the (height, width) at which an image's pixels get their labels."""
        size = _size_of(image)
        return self.protocol.input_of(size) if self.protocol.restore == "nearest" else size

    def _bands(self, image: Pixels, tile: Size | None) -> Iterator[tuple[int, Tensor]]:
        """Return the scores that decide in bands, (K, rows, W), with their first rows."""
        size, out = _size_of(image), self._scored_size(image)
        seen = self.protocol.input_of(size)
        whole = tile is None and (seen == out or size[0] * size[1] <= WHOLE_PIXELS)
        if self.protocol.sliding or whole:
            return iter([(0, self._scorer.fused(partial(self._view_at, image), out))])
        cut = pieces_of(image, seen, self.protocol.resample)

        def scores_of(*place: int) -> Tensor:
            piece = cut(*place)
            return self._scorer.fused(partial(self._piece_at, piece), _size_of(piece))

        if tile is None:
            bands = iter([(0, scores_of(0, 0, *seen))])
        else:
            bands = blend_rows(seen, tile, self.protocol.overlap, scores_of)
        if seen == out:
            return bands
        return resize_bands(bands, seen, out, align_corners=self._scorer.align_corners)

    def _view_at(self, image: Pixels, scale: float) -> View:
        """Return an image as it is read at a scale."""
        protocol, size = self.protocol, _size_of(image)
        seen = protocol.input_of(size, scale)
        if protocol.rescale is None:
            return resize_image(image, seen, protocol.resample)
        first = resize_image(image, protocol.first_size(size), protocol.resample)
        return resize_image(first, seen, protocol.rescale)

    def _piece_at(self, piece: View, scale: float) -> View:
        """Return a piece of a resized image as it is read at a scale."""
        seen = self.protocol.rounded(scaled(_size_of(piece), scale))
        return resize_image(piece, seen, self.protocol.rescale or self.protocol.resample)

    def _certainty(self, scores: Tensor, best: Tensor) -> Pixels:
        """Return the probability of the best class of scores (K, rows, W), 255 for certain."""
        if self.protocol.fusion == "logprob":
            best = scores.softmax(0).amax(0)
        elif self.protocol.fusion in ("exp", "product"):
            best = best / scores.sum(0)
        certainty: Pixels = (best * 255).round().to(torch.uint8).cpu().numpy()
        return certainty

    @torch.inference_mode()
    def scores(self, image: Pixels) -> Tensor:
        """Return the fused scores of all views of an image, whole, on the predictor's device.

        The mean of log-softmax differs from the mean of the logits, which is what ``logprob``
        returns, by one number a pixel: the same argmax, and the same probabilities after a
        softmax, without a softmax for each view.

        Args:
            image: (H, W, 3) uint8, RGB.

        Returns:
            (K, H, W) float32: mean logits, or with ``prob`` mean probabilities. Where the protocol
            repeats labels, H and W are the input's.
        """
        return self._scorer.fused(partial(self._view_at, image), self._scored_size(image))


def find_meanings(outputs: tuple[int, ...]) -> Pixels | None:
    """Return the train id of each output, 255 for none; None where outputs are train ids."""
    if outputs == tuple(range(len(outputs))):
        return None
    meanings = np.full(256, IGNORE, np.uint8)
    meanings[: len(outputs)] = outputs
    return meanings


def _size_of(image: View) -> Size:
    return image.shape[0], image.shape[1]
