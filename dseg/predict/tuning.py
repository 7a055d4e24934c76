"""cuDNN's search for the fastest convolutions: worth its time for images of one size only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


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
