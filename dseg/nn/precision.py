"""Float32 under autocast, for sums over a whole map that 16 bits cannot represent."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(device: str) -> AbstractContextManager[object]:
    """Suspend autocast if it is on; otherwise return a null context, which can be exported.

    Args:
        device: type of the tensors' device.
    """
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


def to_float32(x: Tensor) -> Tensor:
    """Convert a tensor to float32, unless its type is at least as precise."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
