"""Engine: pixels of one image, or of several of one size, to train ids; whole or in tiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from dseg.device import describe_precision, find_device
from dseg.errors import DsegError
from dseg.images import Pixels
from dseg.memory import is_out_of_memory
from dseg.models import SegModel
from dseg.predict.attempts import AUTO_TILES, batch_size_at, free_memory, tiles_to_try
from dseg.predict.fusion import WHOLE_PIXELS, Bands, Scorer, size_of
from dseg.predict.prediction import (
    Labels,
    Pending,
    check_image,
    find_measures,
    find_output_ids,
    labels_only_error,
    name_maps,
    no_memory_error,
    no_tile_error,
    not_finite_error,
    to_probabilities,
)
from dseg.predict.resizing import pick_labels, repeat_labels
from dseg.predict.result import Probabilities
from dseg.predict.runtimes import (
    TITLES,
    Runtime,
    TorchRuntime,
    make_runtime,
)
from dseg.predict.tuning import Tuning
from dseg.protocol import Protocol, Size


class Engine:
    """Labels images by a network and its protocol; the base of ``Predictor``.

    Tiles are cut from the resized image, which is never built as a whole. Scores are resized to
    the image's size a few rows at a time, so their memory depends on the input size, not on the
    image size.

    Args:
        model: network with its model card; set to evaluation mode and copied.
        protocol, device, precision, runtime, on_note, fall_back: as of ``Predictor``.

    Attributes:
        tiled: number of images predicted in tiles although the protocol has none.
        on_scores: called in ``begin`` with first row and scores (K, rows, W) of each band of rows.
    """

    def __init__(
        self,
        model: SegModel,
        *,
        protocol: Protocol | None = None,
        device: str = "auto",
        precision: str = "fp32",
        runtime: str | Runtime = "torch",
        on_note: Callable[[str], None] = lambda note: None,
        fall_back: bool = True,
    ):
        self.fall_back, self.tiled = fall_back, 0
        self.on_scores: Callable[[int, Tensor], None] = lambda top, scores: None
        self.protocol = protocol or model.card.protocol
        self.device = find_device(device)
        if isinstance(runtime, str):
            self.model, self.runtime = make_runtime(
                model.eval(), runtime, precision, device=self.device, on_note=on_note
            )
        else:
            self.model, self.runtime = model.eval(), runtime
        self.label_space = model.card.label_space
        self._scorer = Scorer(self.model, self.protocol, self.runtime, self.device)
        self._bands = Bands(self._scorer)
        self._tuning = Tuning(self.device)
        self._output_ids = find_output_ids(model.card.outputs, self.device)
        self._tiles: tuple[Size, ...] = AUTO_TILES
        self._failed_batch = math.inf  # values of a batch for which there was too little memory

    @property
    def precision(self) -> str:
        """The precision of the network in words, such as ``bf16``."""
        return describe_precision(self.runtime.precision, self.device)

    def compile(self) -> None:
        """Compile the network with ``torch.compile``, once for each input size on first use.

        If that fails, ``predict`` raises a ``CompileError``.

        Raises:
            DsegError: another runtime computes the network.
        """
        if not isinstance(self.runtime, TorchRuntime):
            raise DsegError(
                f"{TITLES[self.runtime.name]} has compiled the network already.",
                hint="use --runtime torch with --compile, or leave --compile out.",
            )
        self.runtime.compile()

    def refuse_labels_only(self) -> None:
        """Raise a DsegError if the network gives labels without scores."""
        if self.runtime.labels_only:
            raise labels_only_error()

    def begin(self, image: Pixels, *, confidence: bool = False, entropy: bool = False) -> Pending:
        """Begin to label an image; on CUDA without waiting for the device.

        The image must not change before the result is fetched.

        Args:
            image: (H, W, 3) uint8, RGB.
            confidence: also find the probability of each pixel's class.
            entropy: also find the entropy of each pixel's probabilities.

        Raises:
            DsegError: too little memory (see ``fall_back``), or the array is not an image; scores
                that are NaN or infinite are reported by ``result``.
        """
        check_image(image)
        return self._begin(image, name_maps(confidence, entropy), self._attempts(image))

    def begin_batch(
        self, images: Sequence[Pixels], *, confidence: bool = False, entropy: bool = False
    ) -> list[Pending] | None:
        """Begin to label images of one size; None if they have to be labelled one by one."""
        attempts, work = [self._attempts(one) for one in images], sum(one.size for one in images)
        small = math.prod(size_of(images[0])) <= WHOLE_PIXELS
        whole = small and all(tried[:1] == [None] for tried in attempts)
        if work >= self._failed_batch or not whole or len({image.shape for image in images}) > 1:
            return None
        maps = name_maps(confidence, entropy)
        again = [
            partial(self._begin, image, maps, tried[1:])
            for image, tried in zip(images, attempts, strict=True)
        ]
        try:
            return self._labels(images, None, maps, again)
        except (RuntimeError, MemoryError) as fault:
            if not is_out_of_memory(fault):
                raise
        self._failed_batch = work
        free_memory(self.device)
        return None

    def batch_at(self, size: Size, wanted: int | None = None) -> int:
        """Return how many images of a size can be labelled at once; see ``batch_size_at``."""
        return batch_size_at(self.protocol, size, self.device, wanted)

    def _begin(
        self, image: Pixels, maps: tuple[str, ...], attempts: Sequence[Size | None]
    ) -> Pending:
        """Begin to label an image with the first of these tiles that fit into memory."""
        for index, tile in enumerate(attempts):
            left = attempts[index + 1 :] if self.fall_back else ()
            again = partial(self._begin, image, maps, left)
            try:
                [found] = self._labels([image], tile, maps, [again])
                self.tiled += tile is not None and self.protocol.tile is None
                return found
            except (RuntimeError, MemoryError) as fault:
                if not is_out_of_memory(fault):
                    raise
                if not self.fall_back:
                    raise no_memory_error(size_of(image), tile) from fault
            free_memory(self.device)
        raise no_tile_error(size_of(image), self.protocol.input_of(size_of(image)))

    def _attempts(self, image: Pixels) -> list[Size | None]:
        return list(tiles_to_try(self.protocol, size_of(image), self._tiles))

    @torch.inference_mode()
    def _labels(
        self,
        images: Sequence[Pixels],
        tile: Size | None,
        maps: tuple[str, ...],
        again: Sequence[Callable[[], Pending]],
    ) -> list[Pending]:
        """Label images of one size; only one if it is in tiles."""
        if maps:
            self.refuse_labels_only()
        size, scored = size_of(images[0]), self._bands.scored_size(size_of(images[0]))
        measures = find_measures(self.protocol.fusion, maps)
        found = [Labels(scored, self.device, measures) for _ in images]
        with self._tuning.of((len(images), size, tile)):
            for top, scores in self._bands.of(images, tile):
                for labels, own in zip(found, scores, strict=True):
                    labels.add(top, own)
                    self.on_scores(top, own)
        for labels in found:
            if self._output_ids is not None:
                labels.train_ids = self._output_ids[labels.train_ids.int()]
            if size != scored:
                labels.train_ids = repeat_labels(labels.train_ids, size)
                labels.maps = {name: repeat_labels(m, size) for name, m in labels.maps.items()}
        refuse = partial(not_finite_error, self.model.card.network, self.runtime.precision)
        return [
            Pending(labels, tile, self.label_space, refuse=refuse, again=other)
            for labels, other in zip(found, again, strict=True)
        ]

    @torch.inference_mode()
    def scores(self, image: Pixels) -> Tensor:
        """Return the fused scores of all views of an image, without tiles, on the device.

        With ``logprob`` they are mean logits. These differ from the mean of log-softmax by one
        constant for each pixel, so argmax and softmax are the same, without a softmax per view.

        Returns:
            (K, H, W) float32: mean logits, or with ``prob`` mean probabilities. H and W are those
            of the input where the protocol restores labels by ``nearest``.
        """
        return self._bands.whole([image])[0]

    @torch.inference_mode()
    def probabilities(self, image: Pixels, tile: Size | None = None) -> Probabilities:
        """Return the probability of each class of an image, (K, H, W) float32, in main memory.

        Args:
            image: (H, W, 3) uint8, RGB.
            tile: (height, width) of the tiles, None for the whole image.

        Raises:
            DsegError: the network gives labels without scores.
        """
        self.refuse_labels_only()
        check_image(image)
        size, classes = size_of(image), self.label_space.num_classes
        scored = self._bands.scored_size(size)
        found = np.empty((classes, *size), np.float32)
        outputs = self.model.card.outputs
        for top, scores in self._bands.of([image], tile):
            band = to_probabilities(self.protocol.fusion, scores[0], outputs, classes)
            if size != scored:  # labels are restored by nearest neighbour, in one band
                band = torch.stack([pick_labels(own, size) for own in band])
            found[:, top : top + band.shape[1]] = band.cpu().numpy()
        return found
