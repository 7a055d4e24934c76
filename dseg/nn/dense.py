"""Dense connection: layers that each read the input and the results of all layers before them."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

BAND_BYTES = 8_000_000  # of a map that is normalised at once


class DenselyConnected(nn.Module):
    """Child modules that each read the input and the results of all children before them.

    For inference on the CPU one buffer holds all channels, and each child writes its result into
    it. Otherwise each child's input is a new concatenation, a little larger than the one before;
    an allocator cannot reuse the memory of these for each other.

    Attributes:
        in_channels, out_channels: channels of the input, and of the input and all results.
        newest_first: concatenate each result in front of its input instead of after it.
    """

    in_channels: int
    out_channels: int
    newest_first: ClassVar[bool] = False

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, out_channels, h, w); also the result of ``widened``."""
        x = self.widened(x)
        if x.shape[1] == self.out_channels:
            return self._filled(x)
        for layer in self.children():
            x = torch.cat([layer(x), x] if self.newest_first else [x, layer(x)], dim=1)
        return x

    def widened(self, x: Tensor) -> Tensor:
        """Return the buffer for an input, so that the caller can release the input.

        Args:
            x: (N, in_channels, h, w), or a buffer already.

        Returns:
            (N, out_channels, h, w), a copy of the input and space for the results; the argument
            itself where results are concatenated.
        """
        if self.training or x.shape[1] != self.in_channels or not saves_memory(x):
            return x
        buffer = empty_map(x, self.out_channels)
        start = self.out_channels - self.in_channels if self.newest_first else 0
        buffer[:, start : start + self.in_channels] = x
        return buffer

    def _filled(self, buffer: Tensor) -> Tensor:
        """Write the results of all children into the buffer, and return it."""
        done = self.in_channels
        for layer in self.children():
            first = self.out_channels - done if self.newest_first else 0
            result = layer(buffer[:, first : first + done])
            growth = result.shape[1]
            start = first - growth if self.newest_first else done
            buffer[:, start : start + growth] = result
            done += growth
        return buffer


def saves_memory(x: Tensor) -> bool:
    """Return True for inference on the CPU, outside compilers and exporters."""
    if torch.compiler.is_compiling() or torch.compiler.is_exporting():
        return False
    return x.device.type == "cpu" and torch.is_inference_mode_enabled()


def map_rows(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a function of each pixel to a map, for inference on the CPU in bands of rows.

    Memory: the result and one band of intermediate results.

    Args:
        function: maps (N, C, rows, w) to (N, K, rows, w), such as norm, ReLU and a 1x1 convolution.
        x: (N, C, h, w).

    Returns:
        (N, K, h, w).
    """
    if not saves_memory(x):
        return function(x)
    height = x.shape[2]
    rows = max(1, BAND_BYTES * height // max(1, x.nbytes))
    out: Tensor | None = None
    for top in range(0, height, rows):
        # A slice of channels is copied first: torch normalises it more slowly than the copy.
        band = function(x[:, :, top : top + rows].contiguous(memory_format=_format(x)))
        if rows >= height:
            return band
        if out is None:
            out = empty_map(x, band.shape[1], band.dtype)
        out[:, :, top : top + rows] = band
    assert out is not None
    return out


def empty_map(like: Tensor, channels: int, dtype: torch.dtype | None = None) -> Tensor:
    """Return an uninitialised map of the size and memory format of another, (N, channels, h, w)."""
    return torch.empty(
        (like.shape[0], channels, *like.shape[2:]),
        dtype=dtype or like.dtype,
        device=like.device,
        memory_format=_format(like),
    )


def _format(x: Tensor) -> torch.memory_format:
    """Return the memory format of a map, or of the map of which it is a slice of channels."""
    channels_last = x.stride(1) == 1 and x.shape[1] > 1
    return torch.channels_last if channels_last else torch.contiguous_format
