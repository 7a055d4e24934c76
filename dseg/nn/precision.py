"""Float32 within autocast, for sums over a whole map that 16 bits cannot hold."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(device: str) -> AbstractContextManager[object]:
    """Suspend autocast where it is on; a network that is exported enters no context.

    Args:
        device: type of the tensors' device.
    """
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


def to_float32(x: Tensor) -> Tensor:
    """Return a tensor in float32, in its own type if that is as precise."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
