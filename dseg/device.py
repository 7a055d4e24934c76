"""Devices and precisions by name, and copies between host and device."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dseg.errors import DsegError
from dseg.memory import is_out_of_memory

AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}
PRECISIONS = ("fp32", "auto", "bf16", "fp16", "int8")


def find_device(name: str) -> torch.device:
    """Return the device of that name, the best available one for ``auto``.

    Raises:
        DsegError: this machine has no such device; the hint lists those that it has.
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
    """Return the reduced precision of that name, None for float32, which is ``fp32`` or ``off``.

    ``auto`` is bf16 on a CUDA device that supports it, else float32.

    Raises:
        DsegError: the precision does not exist, or not on that device.
    """
    if name in ("off", "fp32"):
        return None
    if name == "auto":
        fits = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if fits else None
    if name not in AMP or (name == "fp16" and device.type == "cpu"):
        raise DsegError(
            f"Precision {name!r} cannot be used on {device.type}.",
            hint="choose fp32, auto, bf16, or fp16 on a GPU.",
        )
    return AMP[name]


@contextmanager
def lacks_reported(network: str, device: torch.device) -> Iterator[None]:
    """Turn PyTorch's error about an operation or type that MPS lacks into one for the user.

    Args:
        network: name of the network that the body computes.
        device: its device; errors on other devices stay as they are.

    Raises:
        DsegError: MPS cannot compute the network.
    """
    try:
        yield
    except (RuntimeError, TypeError) as fault:
        if device.type != "mps" or is_out_of_memory(fault):
            raise
        reason = (str(fault).strip() or type(fault).__name__).splitlines()[0].rstrip(".")
        raise DsegError(
            f"PyTorch cannot compute {network} on {device.type}: {reason}.",
            hint="use --device cpu.",
        ) from fault


def has_bf16(device: torch.device) -> bool:
    """Return True if a device computes bf16 faster than float32; a CPU by its instructions."""
    if device.type != "cpu":
        return device.type != "cuda" or torch.cuda.is_bf16_supported()
    if platform.machine().lower() in ("x86_64", "amd64"):
        return bool(torch.cpu._is_avx512_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def check_bf16(precision: str, device: torch.device) -> None:
    """Refuse bf16 on a CPU that would emulate it.

    Raises:
        DsegError: the CPU has no bf16 instructions.
    """
    if precision == "bf16" and device.type == "cpu" and not has_bf16(device):
        raise DsegError(
            "This CPU has no bf16 instructions: bf16 would be several times slower than fp32.",
            hint="leave --precision out.",
        )


def describe_precision(precision: str, device: torch.device) -> str:
    """Describe the precision in which a network computes, such as ``bf16`` for ``bfloat16``."""
    if precision != "float32":
        names = {str(dtype): name for name, dtype in AMP.items()}
        return names.get(f"torch.{precision}", precision)
    tf32 = (
        device.type == "cuda"
        and torch.backends.cudnn.allow_tf32
        and torch.cuda.get_device_capability(device) >= (8, 0)  # since Ampere
    )
    return "float32 (TF32 in convolutions)" if tf32 else "float32"


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; nothing is copied if it is there already.

    A copy from pageable memory to a CUDA device waits until the device has finished all its work;
    a copy from pinned memory is queued in the current stream.

    Args:
        values: tensor on the CPU, pinned or not.
        device: target device.
    """
    if device.type != "cuda" or values.is_cuda:
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


def stack_to_device(arrays: Sequence[NDArray[Any]], device: torch.device) -> Tensor:
    """Return N arrays of one shape as a tensor (N, ...) on a device.

    On the CPU a single writable array shares its memory with the tensor. To CUDA they are copied
    through pinned memory, so that nothing waits for the device. torch's allocator reuses that
    memory only when the copy is complete.
    """
    if device.type == "cuda":
        dtype = torch.from_numpy(np.empty(0, arrays[0].dtype)).dtype
        pinned = torch.empty((len(arrays), *arrays[0].shape), dtype=dtype, pin_memory=True)
        for target, array in zip(pinned.numpy(), arrays, strict=True):
            np.copyto(target, array)
        return pinned.to(device, non_blocking=True)
    if len(arrays) == 1:
        return torch.from_numpy(np.require(arrays[0], requirements=("C", "W")))[None].to(device)
    return torch.from_numpy(np.stack(arrays)).to(device)


def to_host(tensor: Tensor) -> Tensor:
    """Return a tensor on the host; the tensor itself if it is there already.

    From CUDA it is copied to pinned memory without waiting: it is complete once an event that is
    recorded afterwards has completed.
    """
    if tensor.device.type != "cuda":
        return tensor.cpu()
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return pinned.copy_(tensor, non_blocking=True)


def record_event(device: torch.device) -> torch.cuda.Event | None:
    """Return an event after all work submitted to CUDA so far; None on other devices.

    A thread that waits for it does not use its core.
    """
    if device.type != "cuda":
        return None
    event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event
