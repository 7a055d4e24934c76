"""PyTorch's settings for a run: precision of float32, choice of algorithms, compilation."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dseg.distributed import Group
from dseg.errors import DsegError
from dseg.models import SegModel
from dseg.recipes import Recipe

NOT_DETERMINISTIC = re.compile(r"(\S+) does not have a deterministic implementation")
WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"  # read when cuBLAS is first used in a process


def set_backends(device: torch.device, *, deterministic: bool, tf32: bool) -> None:
    """Choose the algorithms that PyTorch uses in this process.

    Args:
        device: device of the training.
        deterministic: use only algorithms that reproduce the same bits.
        tf32: on CUDA, round the factors of float32 products to TensorFloat-32 (10 bits of
            mantissa): several times faster from Ampere on.
    """
    torch.backends.cudnn.benchmark = not deterministic
    torch.use_deterministic_algorithms(deterministic)
    if deterministic:
        os.environ.setdefault(WORKSPACE, ":4096:8")
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = tf32


def compile_model(model: SegModel, device: torch.device, recipe: Recipe, group: Group) -> None:
    """Compile a network's forward and backward pass, on CUDA into graphs where that is safe.

    A graph writes each gradient to the same memory every time, so only the last of several
    micro-batches would count, and several processes read the gradients meanwhile to add them up.
    """
    graphs = device.type == "cuda" and recipe.accumulate == 1 and group.world_size == 1
    options: dict[str, Any] = {"mode": "reduce-overhead"} if graphs else {}
    model.compile(**options)


@contextmanager
def deterministic_or_refused(model: str, device: torch.device) -> Iterator[None]:
    """Turn PyTorch's error about a missing deterministic algorithm into one for the user.

    Args:
        model: name of the network.
        device: device of the training.

    Raises:
        DsegError: an operation has no deterministic algorithm on the device.
    """
    try:
        yield
    except RuntimeError as fault:
        if WORKSPACE in str(fault):
            raise DsegError(
                f"{model} cannot be trained deterministically: cuBLAS was in use in this process "
                f"before {WORKSPACE} was set.",
                hint=f"set {WORKSPACE}=:4096:8 in the environment.",
            ) from fault
        found = NOT_DETERMINISTIC.search(str(fault))
        if found is None:
            raise
        raise DsegError(
            f"{model} cannot be trained deterministically on {device.type}: {found[1]} has no "
            "deterministic algorithm there.",
            hint="leave out --deterministic, or use --device cpu.",
        ) from fault


class Float32Conv2d(nn.Conv2d):
    """A convolution that autocast leaves in float32; its output has the input's type."""

    def forward(self, input: Tensor) -> Tensor:
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float()).to(input.dtype)


def avoid_wrong_gradients(model: nn.Module, device: torch.device, amp: torch.dtype | None) -> int:
    """Keep depthwise convolutions dilated in height in float32 where bf16 is used on the CPU.

    oneDNN 3.12, in torch 2.14, returns wrong weight gradients of such a convolution on tensors
    that are channels_last, on processors with bf16 instructions, without an error: they depend on
    uninitialised memory. Other precisions, convolutions and devices are not affected.

    Returns:
        The number of convolutions that were changed.
    """
    if device.type != "cpu" or amp != torch.bfloat16:
        return 0
    found = [
        module
        for module in model.modules()
        if type(module) is nn.Conv2d
        and module.groups == module.in_channels > 1
        and int(module.dilation[0]) > 1
    ]
    for module in found:
        module.__class__ = Float32Conv2d
    return len(found)
