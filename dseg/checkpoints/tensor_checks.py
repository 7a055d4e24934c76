"""Refuse weights that a network cannot compute with, such as NaN, infinity or quantised ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from dseg.errors import CheckpointError

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
VARIANCE = "running_var"
DIVERGED = (
    "the training diverged or the file is damaged: use an earlier checkpoint, or download it again."
)
PLAIN = "ask its author for the weights as float32, saved before any quantisation or pruning."


@torch.no_grad()
def check_tensors(path: Path, weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Refuse weights that are not finite floats within range, and negative variances.

    Args:
        path: checkpoint file, for the message.
        weights: tensors to load, by the file's own keys.
        wanted: the network's tensors by the same keys.

    Raises:
        CheckpointError: names the key of the first such tensor.
    """
    for key, value in weights.items():
        if key not in wanted:
            continue
        if problem := _find_type_problem(value, wanted[key].dtype):
            raise CheckpointError(f"{path} cannot be used: {key} {problem}.", hint=PLAIN)
        if value.is_floating_point() and value.numel():
            problem = _find_value_problem(key, value, wanted[key].dtype)
            if problem:
                raise CheckpointError(f"{path} cannot be used: {key} {problem}.", hint=DIVERGED)


def _find_type_problem(value: Tensor, wanted: torch.dtype) -> str:
    """Return why a tensor cannot be copied to a parameter of type ``wanted``, or ""."""
    dtype = str(value.dtype).removeprefix("torch.")
    if value.is_quantized:
        return f"is quantised ({dtype})"
    if value.layout != torch.strided or value.is_nested:
        return f"is not a dense tensor ({str(value.layout).removeprefix('torch.')})"
    if value.is_meta:
        return "has a shape but no values"
    if value.dtype.is_complex:
        return f"is complex ({dtype})"
    if value.is_floating_point() and value.dtype not in FLOATS:
        return f"has floats of 8 bits or fewer ({dtype})"
    if wanted.is_floating_point and not value.is_floating_point():
        name = str(wanted).removeprefix("torch.")
        return f"holds {dtype} where the network has {name}: perhaps quantised"
    return ""


def _find_value_problem(key: str, value: Tensor, wanted: torch.dtype) -> str:
    """Return what is wrong with a tensor's values, or ""; the usual case takes one pass."""
    lowest, highest = (float(bound) for bound in value.aminmax())
    if not (abs(lowest) < torch.inf and abs(highest) < torch.inf):
        nans, infinities = int(value.isnan().sum()), int(value.isinf().sum())
        return f"has {nans} NaN and {infinities} infinite values of {value.numel()}"
    if key.rpartition(".")[2] == VARIANCE and lowest < 0:
        return f"is a variance but has a value of {lowest:g}"
    limit = torch.finfo(wanted).max if wanted.is_floating_point else torch.inf
    if max(-lowest, highest) > limit:
        name = str(wanted).removeprefix("torch.")
        return f"has values up to {max(-lowest, highest):g}, too large for {name}"
    return ""
