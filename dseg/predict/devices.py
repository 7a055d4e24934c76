"""The device and the precision that a user names."""

from __future__ import annotations

import torch

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
