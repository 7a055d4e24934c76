"""Predictor: one image to train ids, whole or in tiles, at one scale or many."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from dseg.checkpoints import LoadReport, load_model
from dseg.deploy import prepare
from dseg.device import describe_precision, find_amp, find_device
from dseg.images import Pixels
from dseg.memory import is_out_of_memory
from dseg.models import SegModel
from dseg.predict.prediction import (
    Labels,
    Pending,
    Prediction,
    check_image,
    find_meanings,
    no_room_error,
    no_tile_error,
    not_finite_error,
)
from dseg.predict.resizing import repeat_labels
from dseg.predict.scorer import WHOLE_PIXELS, Bands, Scorer, Tuning, size_of
from dseg.protocol import Protocol, Size

BATCH_PIXELS, BATCH_AT_MOST = 4_200_000, 16  # that CUDA is given at once: two of Cityscapes' images
AUTO_TILES: tuple[Size, ...] = ((1024, 2048), (512, 1024), (256, 512))


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
        self._bands = Bands(self._scorer)
        self._tuning = Tuning(self.device)
        self._meanings = find_meanings(model.card.outputs, self.device)
        self._tiles: tuple[Size, ...] = AUTO_TILES
        self._too_much = math.inf  # numbers of a batch for which memory was too short

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
        inplace_abn: bool | None = None,
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
            inplace_abn=inplace_abn,
            raw_weights=raw_weights,
            on_report=on_report,
            on_note=on_note,
        )
        return cls(model, protocol=protocol, device=device, amp=amp)

    @property
    def precision(self) -> str:
        """In which precision the network computes, in words, such as ``bf16``."""
        return describe_precision(self.amp, self.device)

    def compile(self) -> None:
        """Let ``torch.compile`` compile the network, for each size when it is first seen.

        An image then raises a ``CompileError`` where that fails.
        """
        self._scorer.compile()

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
        return self.begin(image, confidence=confidence).result()

    def begin(self, image: Pixels, *, confidence: bool = False) -> Pending:
        """Begin to label an image as ``predict`` does; on CUDA without waiting for it.

        The image must stay as it is until the result is there.

        Raises:
            DsegError: as ``predict``; that scores are not finite is found by the result.
        """
        check_image(image)
        return self._begin(image, confidence, list(self._attempts(image)))

    def begin_batch(
        self, images: Sequence[Pixels], *, confidence: bool = False
    ) -> list[Pending] | None:
        """Begin to label images of one size at once.

        Returns:
            As ``begin`` for each; None where they are to go one by one: memory is too short for so
            many, they differ in size, or they are not read whole.
        """
        attempts = [list(self._attempts(image)) for image in images]
        work = sum(image.size for image in images)
        height, width = size_of(images[0])
        whole = height * width <= WHOLE_PIXELS and all(tried[:1] == [None] for tried in attempts)
        if work >= self._too_much or not whole or len({image.shape for image in images}) > 1:
            return None
        again = [
            partial(self._begin, image, confidence, tried[1:])
            for image, tried in zip(images, attempts, strict=True)
        ]
        try:
            return self._labels(images, None, confidence, again)
        except (RuntimeError, MemoryError) as fault:
            if not is_out_of_memory(fault):
                raise
        self._too_much = work
        self._free()
        return None

    def batch_at(self, size: Size, wanted: int | None = None) -> int:
        """Return how many images of that (height, width) are to be labelled at once.

        Args:
            wanted: so many, if they can be; None for a number that fits the device.
        """
        seen = [self.protocol.input_of(size, scale) for scale in self.protocol.scales]
        largest = max(height * width for height, width in (size, *seen))
        if self.protocol.sliding or self.protocol.tile is not None or largest > WHOLE_PIXELS:
            return 1
        if wanted is None:
            fitting = max(1, min(BATCH_AT_MOST, BATCH_PIXELS // largest))
            return fitting if self.device.type == "cuda" else 1
        return wanted

    def _begin(self, image: Pixels, confidence: bool, attempts: Sequence[Size | None]) -> Pending:
        """Begin to label an image in the first of several ways for which memory suffices."""
        for place, tile in enumerate(attempts):
            left = attempts[place + 1 :] if self.fall_back else ()
            again = partial(self._begin, image, confidence, left)
            try:
                [found] = self._labels([image], tile, confidence, [again])
                self.tiled += tile is not None and self.protocol.tile is None
                return found
            except (RuntimeError, MemoryError) as fault:
                if not is_out_of_memory(fault):
                    raise
                if not self.fall_back:
                    raise no_room_error(size_of(image), tile) from fault
            self._free()
        size = size_of(image)
        raise no_tile_error(size, self.protocol.input_of(size))

    def _free(self) -> None:
        """Give the memory back that torch keeps of a device."""
        if self.device.type != "cpu":
            torch.accelerator.empty_cache()

    def _attempts(self, image: Pixels) -> Iterator[Size | None]:
        height, width = self.protocol.input_of(size_of(image))
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
    def _labels(
        self,
        images: Sequence[Pixels],
        tile: Size | None,
        confidence: bool,
        again: Sequence[Callable[[], Pending]],
    ) -> list[Pending]:
        """Label images of one size, more than one of them only whole."""
        size = size_of(images[0])
        scored = self._bands.scored_size(size)
        certainty = self._certainty if confidence else None
        found = [Labels(scored, self.device, certainty) for _ in images]
        with self._tuning.of((len(images), size, tile)):
            for top, scores in self._bands.of(images, tile):
                for labels, own in zip(found, scores, strict=True):
                    labels.add(top, own)
        for labels in found:
            if self._meanings is not None:
                labels.train_ids = self._meanings[labels.train_ids.int()]
            if size != scored:
                labels.train_ids = repeat_labels(labels.train_ids, size)
                if labels.confidence is not None:
                    labels.confidence = repeat_labels(labels.confidence, size)
        refuse = partial(not_finite_error, self.model.card.network, self.amp)
        return [
            Pending(labels, tile, refuse=refuse, again=other)
            for labels, other in zip(found, again, strict=True)
        ]

    def _certainty(self, scores: Tensor, best: Tensor) -> Tensor:
        """Return the probability of the best class of scores (K, rows, W), 255 for certain."""
        if self.protocol.fusion == "logprob":
            best = scores.softmax(0).amax(0)
        elif self.protocol.fusion in ("exp", "product"):
            best = best / scores.sum(0)
        return (best * 255).round().to(torch.uint8)

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
        return self._bands.whole([image])[0]
