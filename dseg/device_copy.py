"""Copies from the CPU's memory to a device that do not wait for the device."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Return a CPU tensor's values on a device.

    A copy of pageable memory to a CUDA device waits until all of its work is done; from pinned
    memory it takes its turn in the current stream. Nothing is copied where the values lie there.

    Args:
        values: on the CPU, pinned or not.
        device: where they are wanted.
    """
    if device.type != "cuda" or values.is_cuda:
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)
