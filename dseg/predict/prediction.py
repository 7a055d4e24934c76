"""Pending: the labels of an image that the device may still be computing."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dseg.device import record_event, to_host
from dseg.errors import DsegError, NotFiniteError
from dseg.images import Pixels
from dseg.labels import IGNORE
from dseg.memory import is_out_of_memory
from dseg.protocol import Size

REASON_AT_MOST = 200  # characters of a compiler's message


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


class Labels:
    """The labels of an image as its bands of scores come, on the scores' device.

    Args:
        size: (height, width) of all bands together.
        certainty: returns the (rows, W) uint8 confidence of scores (K, rows, W) and their best;
            None if nobody asks for it.

    Attributes:
        train_ids: (H, W) uint8, the number of each pixel's best output.
        confidence: (H, W) uint8, None if nobody asks for it.
        finite: () bool, False once a best score is NaN or infinite.
    """

    def __init__(
        self,
        size: Size,
        device: torch.device,
        certainty: Callable[[Tensor, Tensor], Tensor] | None = None,
    ):
        self.train_ids = torch.empty(size, dtype=torch.uint8, device=device)
        self.confidence = torch.empty_like(self.train_ids) if certainty is not None else None
        self.finite = torch.ones((), dtype=torch.bool, device=device)
        self._certainty = certainty

    def add(self, top: int, scores: Tensor) -> None:
        """Label the rows from ``top`` on by their scores (K, rows, W)."""
        rows = slice(top, top + scores.shape[1])
        # max, not argmax: the same answer sooner, on the CPU 38 ms for 64 at 1024x2048
        best, outputs = scores.max(0)
        self.finite &= best.isfinite().all()
        self.train_ids[rows] = outputs.to(torch.uint8)
        if self.confidence is not None and self._certainty is not None:
            self.confidence[rows] = self._certainty(scores, best)


class Pending:
    """The labels of an image, on their way from the device; by ``Predictor.begin``.

    Args:
        labels: as the device will have them, with train ids and at the image's size.
        tile: that was used.
        refuse: returns the error of scores that are NaN or infinite.
        again: labels the image in another way, where memory was too short for this one.

    Attributes:
        train_ids: (H, W) uint8 on the device, as in the result. What is computed of it there comes
            after it; that the scores are finite is known by ``result`` only.
        tile: (height, width) of the tiles that were used, None for the whole image.
    """

    def __init__(
        self,
        labels: Labels,
        tile: Size | None,
        *,
        refuse: Callable[[], NotFiniteError],
        again: Callable[[], Pending],
    ):
        self.train_ids, self.tile = labels.train_ids, tile
        self._refuse, self._again = refuse, again
        self._train_ids, self._finite = to_host(labels.train_ids), to_host(labels.finite)
        self._confidence = None if labels.confidence is None else to_host(labels.confidence)
        self._done = record_event(labels.train_ids.device)

    def result(self) -> Prediction:
        """Wait for the device and return the labels.

        Raises:
            NotFiniteError: the network's scores are NaN or infinite.
            DsegError: not enough memory.
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
        confidence = None if self._confidence is None else self._unpinned(self._confidence)
        return Prediction(self._unpinned(self._train_ids), confidence, self.tile)

    def _unpinned(self, values: Tensor) -> Pixels:
        """Return an array that may be kept: pinned memory cannot be swapped out."""
        array: Pixels = values.numpy()
        return array if self._done is None else array.copy()


def find_meanings(outputs: tuple[int, ...], device: torch.device) -> Tensor | None:
    """Return the train id of each output, (256,) uint8, 255 for none; None where they are equal."""
    if outputs == tuple(range(len(outputs))):
        return None
    meanings = torch.full((256,), IGNORE, dtype=torch.uint8)
    meanings[: len(outputs)] = torch.tensor(outputs, dtype=torch.uint8)
    return meanings.to(device)


class CompileError(DsegError):
    """A network that ``torch.compile`` does not compile on this machine."""


def check_image(image: Pixels) -> None:
    """Raise a DsegError for an array that is not (H, W, 3) uint8."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise DsegError(
            f"An array of {image.dtype}, {list(image.shape)}, is not an image.",
            hint="give (H, W, 3) of uint8, RGB, as read_image does.",
        )


def compile_error(network: str, fault: Exception) -> CompileError:
    """Return the error of a network that cannot be compiled."""
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    reason = lines[0][:REASON_AT_MOST].rstrip(".") if lines else type(fault).__name__
    return CompileError(
        f"{network} cannot be compiled by torch.compile here: {reason}.",
        hint="leave --compile away: masks are the same without, up to rounding.",
    )


def not_finite_error(network: str, amp: torch.dtype | None) -> NotFiniteError:
    """Return the error of scores that are NaN or infinite, whose labels would mean nothing."""
    hint = "check the weights: dseg inspect."
    if amp == torch.float16:
        hint = "use --amp bf16 or --amp off: 16-bit floats end at 65504."
    return NotFiniteError(f"The scores of {network} are NaN or infinite on this image.", hint=hint)


def no_room_error(size: Size, tile: Size | None) -> DsegError:
    """Return the error of a shortage of memory where other tiles are not to be tried."""
    what = "whole" if tile is None else f"in tiles of {tile[0]}x{tile[1]}"
    return DsegError(
        f"An image of {size[0]}x{size[1]} does not fit into memory {what}; "
        "scores of other tiles could not be compared.",
        hint="name a --tile or --input-size, which scores record, or another --device.",
    )


def no_tile_error(size: Size, seen: Size) -> DsegError:
    """Return the error of an image of which no tile fits into memory.

    Args:
        size: (height, width) of the image.
        seen: (height, width) at which it is read.
    """
    return DsegError(
        f"Not even a tile of this {size[0]}x{size[1]} image fits into memory; it "
        f"is read at {seen[0]}x{seen[1]}.",
        hint="name a smaller --tile or --input-size, fewer --scales or another --device.",
    )
