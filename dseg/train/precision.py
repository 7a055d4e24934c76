"""Convolutions whose gradients are wrong in reduced precision."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Float32Conv2d(nn.Conv2d):
    """A convolution that autocast leaves in float32; its output has the input's type."""

    def forward(self, input: Tensor) -> Tensor:
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float()).to(input.dtype)


def avoid_wrong_gradients(model: nn.Module, device: torch.device, amp: torch.dtype | None) -> int:
    """Keep depthwise convolutions dilated in height in float32 where bf16 is used on the CPU.

    oneDNN 3.12, in torch 2.14, returns wrong weight gradients of such a convolution on tensors
    that are channels_last, on processors with bf16 instructions, without an error: they depend on
    memory that nobody has written. Other precisions, convolutions and devices are right.

    Returns:
        How many convolutions are concerned.
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
