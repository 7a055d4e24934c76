"""Copies between the host and the device that let the host go on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def stack_to_device(arrays: Sequence[NDArray[Any]], device: torch.device) -> Tensor:
    """Return N arrays of one shape as a tensor (N, ...) on a device.

    On the CPU a single array shares its memory with the tensor if it can be written to. To CUDA
    they go by way of pinned memory, so that nothing waits for them. That memory is used again only
    when the copy is done, which torch's allocator sees to.
    """
    if device.type == "cuda":
        dtype = torch.from_numpy(np.empty(0, arrays[0].dtype)).dtype
        pinned = torch.empty((len(arrays), *arrays[0].shape), dtype=dtype, pin_memory=True)
        for place, array in zip(pinned.numpy(), arrays, strict=True):
            np.copyto(place, array)
        return pinned.to(device, non_blocking=True)
    if len(arrays) == 1:
        return torch.from_numpy(np.require(arrays[0], requirements=("C", "W")))[None].to(device)
    return torch.from_numpy(np.stack(arrays)).to(device)


def to_host(tensor: Tensor) -> Tensor:
    """Return a tensor on the host, itself if it is there.

    From CUDA it goes to pinned memory, and is there once an event says so that is recorded later.
    """
    if tensor.device.type != "cuda":
        return tensor.cpu()
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return pinned.copy_(tensor, non_blocking=True)


def record_event(device: torch.device) -> torch.cuda.Event | None:
    """Return an event of all that CUDA was given so far; None on devices that are waited for.

    A thread that waits for it gives up its core.
    """
    if device.type != "cuda":
        return None
    event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event
