"""The device and the precision that a user names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dseg.errors import DsegError

AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}


def find_device(name: str) -> torch.device:
    """Return the device of that name, the best there is for ``auto``.

    Raises:
        DsegError: this machine has no such device; the hint lists what it has.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        name = "cuda" if cuda else "mps" if mps else "cpu"
    try:
        device = torch.device(name)
        known = {"cpu": True, "cuda": cuda, "mps": mps}.get(device.type, False)
    except RuntimeError:
        known = False
    if known and (device.type != "cuda" or (device.index or 0) < torch.cuda.device_count()):
        return device
    have = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count())), *(["mps"] * mps)]
    raise DsegError(
        f"This machine has no device {name!r}.", hint=f"choose auto or one of: {', '.join(have)}."
    )


def find_amp(name: str, device: torch.device) -> torch.dtype | None:
    """Return the reduced precision of that name, None for float32.

    ``auto`` is bf16 on a CUDA device that has it, else float32.

    Raises:
        DsegError: no such precision, or not on that device.
    """
    if name == "off":
        return None
    if name == "auto":
        fits = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if fits else None
    if name not in AMP or (name == "fp16" and device.type == "cpu"):
        raise DsegError(
            f"Precision {name!r} cannot be used on {device.type}.",
            hint="choose off, auto, bf16, or fp16 on a GPU.",
        )
    return AMP[name]


def describe_precision(amp: torch.dtype | None, device: torch.device) -> str:
    """Return in which precision a network computes, in words, such as ``bf16``."""
    if amp is not None:
        return next(name for name, dtype in AMP.items() if dtype == amp)
    tf32 = (
        device.type == "cuda"
        and torch.backends.cudnn.allow_tf32
        and torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere, which brought it
    )
    return "float32 (TF32 in convolutions)" if tf32 else "float32"


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
