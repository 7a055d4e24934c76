"""Tuning: cuDNN's benchmark, on for repeated shapes only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Tuning:
    """Switches on cuDNN's benchmark from the second consecutive batch of the same shape on.

    A benchmark takes as long as many images, and cuDNN keeps its results for each shape. So the
    first batch of a shape runs without it. It stays off with deterministic algorithms.

    Args:
        device: device of the network; nothing is done unless it is CUDA.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._last: object = None

    @contextmanager
    def of(self, shape: object) -> Iterator[None]:
        """Run the body for a batch of that shape, and restore cuDNN's setting afterwards."""
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
