"""Are a file's weights numbers that a network can compute with?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from dseg.errors import CheckpointError

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
VARIANCE = "running_var"
DIVERGED = (
    "the training diverged or the file is damaged: take an earlier checkpoint, "
    "or download it again."
)
PLAIN = "ask its author for the weights as float32, saved before any quantisation or pruning."


@torch.no_grad()
def check_sound(path: Path, weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Refuse weights that are no floats, not finite, out of range, or negative variances.

    Args:
        path: the file, for the message.
        weights: the tensors that will be loaded, by the file's own keys.
        wanted: the network's tensors by the same keys.

    Raises:
        CheckpointError: the first such tensor, by its key.
    """
    for key, value in weights.items():
        if key not in wanted:
            continue
        if problem := _find_unreadable(value, wanted[key].dtype):
            raise CheckpointError(f"{path} cannot be used: {key} {problem}.", hint=PLAIN)
        if value.is_floating_point() and value.numel():
            problem = _find_unsound(key, value, wanted[key].dtype)
            if problem:
                raise CheckpointError(f"{path} cannot be used: {key} {problem}.", hint=DIVERGED)


def _find_unreadable(value: Tensor, wanted: torch.dtype) -> str:
    """Return why a tensor cannot be copied into one of the network's, if so."""
    dtype = str(value.dtype).removeprefix("torch.")
    if value.is_quantized:
        return f"is quantised ({dtype})"
    if value.layout != torch.strided or value.is_nested:
        return f"is not a dense tensor ({str(value.layout).removeprefix('torch.')})"
    if value.is_meta:
        return "has a shape but no numbers"
    if value.dtype.is_complex:
        return f"is complex ({dtype})"
    if value.is_floating_point() and value.dtype not in FLOATS:
        return f"has floats of 8 bits or fewer ({dtype})"
    if wanted.is_floating_point and not value.is_floating_point():
        name = str(wanted).removeprefix("torch.")
        return f"holds {dtype} where the network has {name}: perhaps quantised"
    return ""


def _find_unsound(key: str, value: Tensor, wanted: torch.dtype) -> str:
    """Return what is wrong with the numbers of a tensor, if anything; one pass over them."""
    lowest, highest = (float(bound) for bound in value.aminmax())
    if not (abs(lowest) < torch.inf and abs(highest) < torch.inf):
        nans, infinities = int(value.isnan().sum()), int(value.isinf().sum())
        return f"has {nans} NaN and {infinities} infinite values of {value.numel()}"
    if key.rpartition(".")[2] == VARIANCE and lowest < 0:
        return f"is a variance, but has a value of {lowest:g}"
    limit = torch.finfo(wanted).max if wanted.is_floating_point else torch.inf
    if max(-lowest, highest) > limit:
        name = str(wanted).removeprefix("torch.")
        return f"has values up to {max(-lowest, highest):g}, too large for {name}"
    return ""
