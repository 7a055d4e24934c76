"""Labels, Pending: the labels of an image while a device computes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from dseg.device import record_event, to_host
from dseg.errors import DsegError, NotFiniteError
from dseg.images import Pixels
from dseg.labels import IGNORE, LabelSpace
from dseg.memory import is_out_of_memory
from dseg.predict.result import Prediction
from dseg.protocol import Size

MAX_REASON = 200  # characters of a compiler's message
MEASURES = ("confidence", "entropy")  # maps that are computed on request
Measure = Callable[[Tensor, Tensor], Tensor]


class Labels:
    """The labels of an image, filled band by band on the device of the scores.

    Args:
        size: (height, width) of all bands together.
        device: device of the scores.
        measures: functions that return a (rows, W) uint8 map of scores (K, rows, W) and their
            maximum, by name, from ``find_measures``.

    Attributes:
        train_ids: (H, W) uint8, the index of the output with the highest score.
        maps: (H, W) uint8 of each measure.
        finite: () bool, False if a highest score is NaN or infinite.
    """

    def __init__(
        self,
        size: Size,
        device: torch.device,
        measures: Mapping[str, Measure] | None = None,
    ):
        self.train_ids = torch.empty(size, dtype=torch.uint8, device=device)
        self.maps = {name: torch.empty_like(self.train_ids) for name in measures or {}}
        self.finite = torch.ones((), dtype=torch.bool, device=device)
        self._measures = measures or {}

    def add(self, top: int, scores: Tensor) -> None:
        """Label the rows from ``top`` on by their scores (K, rows, W)."""
        rows = slice(top, top + scores.shape[1])
        # max, not argmax: the same result faster, on the CPU 38 ms instead of 64 at 1024x2048
        best, outputs = scores.max(0)
        lowest, highest = best.aminmax()  # NaN if any is
        self.finite &= lowest.isfinite() & highest.isfinite()
        self.train_ids[rows] = outputs.to(torch.uint8)
        for name, measure in self._measures.items():
            self.maps[name][rows] = measure(scores, best)


class Pending:
    """The labels of an image while the device computes them, from ``Predictor.begin``.

    Args:
        labels: the labels on the device, with train ids and at the image's size.
        tile: (height, width) of the tiles that are used, None for the whole image.
        space: the classes.
        refuse: returns the error for scores that are NaN or infinite.
        again: labels the image with less memory, if there is too little for this way.

    Attributes:
        train_ids: (H, W) uint8 on the device, as in the result; later work on the device can use
            it. Only ``result`` checks that the scores are finite.
        tile: (height, width) of the tiles that are used, None for the whole image.
    """

    def __init__(
        self,
        labels: Labels,
        tile: Size | None,
        space: LabelSpace,
        *,
        refuse: Callable[[], NotFiniteError],
        again: Callable[[], Pending],
    ):
        self.train_ids, self.tile, self.space = labels.train_ids, tile, space
        self._refuse, self._again = refuse, again
        self._train_ids, self._finite = to_host(labels.train_ids), to_host(labels.finite)
        self._maps = {name: to_host(values) for name, values in labels.maps.items()}
        self._done = record_event(labels.train_ids.device)

    def result(self) -> Prediction:
        """Wait for the device and return the labels.

        Raises:
            NotFiniteError: the network's scores are NaN or infinite.
            DsegError: too little memory.
        """
        try:
            if self._done is not None:
                self._done.synchronize()
        except RuntimeError as fault:
            if not is_out_of_memory(fault):
                raise
            return self._again().result()
        if not self._finite:
            raise self._refuse()
        maps = {name: self._unpinned(values) for name, values in self._maps.items()}
        return Prediction(
            self._unpinned(self._train_ids),
            self.space,
            maps.get("confidence"),
            self.tile,
            entropy=maps.get("entropy"),
        )

    def _unpinned(self, values: Tensor) -> Pixels:
        """Return an array outside pinned memory, which cannot be swapped out."""
        array: Pixels = values.numpy()
        return array if self._done is None else array.copy()


def find_certainty(fusion: str, scores: Tensor, best: Tensor) -> Tensor:
    """Return the probability of the best class of fused scores (K, rows, W), 255 for 1.0.

    Args:
        fusion: how the scores were fused, as in ``Protocol``.
        scores, best: the scores, and those of the best class.
    """
    if fusion == "logprob":
        best = scores.softmax(0).amax(0)
    elif fusion in ("exp", "product"):
        best = best / scores.sum(0)
    return (best * 255).round().to(torch.uint8)


def to_probabilities(fusion: str, scores: Tensor, outputs: tuple[int, ...], classes: int) -> Tensor:
    """Return the probabilities (K, rows, W) of classes, from fused scores (outputs, rows, W).

    Args:
        fusion: how the scores were fused, as in ``Protocol``.
        scores: float32.
        outputs: train id of each output, 255 for none; empty if outputs are train ids.
        classes: number of classes, K.
    """
    if fusion == "logprob":
        scores = scores.softmax(0)
    elif fusion in ("exp", "product"):
        scores = scores / scores.sum(0)
    if not outputs:
        return scores
    found = scores.new_zeros(classes, *scores.shape[1:])
    for output, train_id in zip(scores, outputs, strict=True):
        if train_id < classes:
            found[train_id] += output
    return found


def find_entropy(fusion: str, scores: Tensor, best: Tensor) -> Tensor:
    """Return the entropy of the probabilities of fused scores (K, rows, W), 255 for log K.

    Args:
        fusion, scores, best: as for ``find_certainty``.
    """
    if fusion == "logprob":
        scores = scores.softmax(0)
    elif fusion in ("exp", "product"):
        scores = scores / scores.sum(0)
    entropy: Tensor = torch.special.entr(scores).sum(0) / math.log(max(len(scores), 2))
    return (entropy.clamp(0, 1) * 255).round().to(torch.uint8)


def name_maps(confidence: bool, entropy: bool) -> tuple[str, ...]:
    """Return the names of the requested maps."""
    wanted = {"confidence": confidence, "entropy": entropy}
    return tuple(name for name in MEASURES if wanted[name])


def find_measures(fusion: str, names: Sequence[str]) -> dict[str, Measure]:
    """Return the functions that measure ``confidence`` and ``entropy`` of fused scores."""
    known = {"confidence": find_certainty, "entropy": find_entropy}
    return {name: partial(known[name], fusion) for name in names}


def find_output_ids(outputs: tuple[int, ...], device: torch.device) -> Tensor | None:
    """Return the train id of each output, (256,) uint8, 255 for no class; None for the identity."""
    if outputs == tuple(range(len(outputs))):
        return None
    train_ids = torch.full((256,), IGNORE, dtype=torch.uint8)
    train_ids[: len(outputs)] = torch.tensor(outputs, dtype=torch.uint8)
    return train_ids.to(device)


class CompileError(DsegError):
    """A network that ``torch.compile`` cannot compile on this machine."""


def check_image(image: Pixels) -> None:
    """Raise a DsegError for an array that is not (H, W, 3) uint8."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise DsegError(
            f"An array of {image.dtype} and shape {list(image.shape)} is not an image.",
            hint="give (H, W, 3) uint8, RGB, as read_image returns.",
        )


def compile_error(network: str, fault: Exception) -> CompileError:
    """Return the error for a network that cannot be compiled."""
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    reason = lines[0][:MAX_REASON].rstrip(".") if lines else type(fault).__name__
    return CompileError(
        f"{network} cannot be compiled by torch.compile here: {reason}.",
        hint="leave --compile away: masks are the same without it, up to rounding.",
    )


def not_finite_error(network: str, precision: str) -> NotFiniteError:
    """Return the error for scores that are NaN or infinite, which have no valid labels."""
    hint = "check the weights: dseg inspect."
    if precision == "float16":
        hint = "use --precision bf16 or fp32: 16-bit floats end at 65504."
    return NotFiniteError(f"The scores of {network} are NaN or infinite on this image.", hint=hint)


def labels_only_error() -> DsegError:
    """Return the error for the confidence of an exported file that gives labels."""
    return DsegError(
        "The exported file gives labels, which have no confidence or entropy.",
        hint="leave these out, or export it with --output logits.",
    )


def no_memory_error(size: Size, tile: Size | None) -> DsegError:
    """Return the error for insufficient memory if no other tile size is tried."""
    what = "whole" if tile is None else f"in tiles of {tile[0]}x{tile[1]}"
    return DsegError(
        f"An image of {size[0]}x{size[1]} does not fit into memory {what}; "
        "other tiles would give a different score.",
        hint="name a --tile or --input-size, which the scores record, or another --device.",
    )


def no_tile_error(size: Size, input_size: Size) -> DsegError:
    """Return the error for an image whose tiles do not fit into memory at any size.

    Args:
        size: (height, width) of the image.
        input_size: (height, width) to which it is resized.
    """
    return DsegError(
        f"Not even a tile of this {size[0]}x{size[1]} image fits into memory at the input size "
        f"{input_size[0]}x{input_size[1]}.",
        hint="name a smaller --tile or --input-size, fewer --scales or another --device.",
    )
