"""Gradients in bf16 on the CPU are those of float32, up to rounding."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dseg.models import build_model
from dseg.training.backends import avoid_wrong_gradients

CPU = torch.device("cpu")


def weight_gradient(conv: nn.Conv2d, dtype: torch.dtype) -> torch.Tensor:
    """Return the gradient of the weights for inputs and gradients that are channels_last."""
    torch.manual_seed(0)
    shape = (2, conv.in_channels, 23, 31)
    x = torch.randn(shape).to(memory_format=torch.channels_last)
    conv.zero_grad()
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        y = conv(x)
    y.backward(torch.randn(y.shape).to(y).to(memory_format=torch.channels_last))
    assert conv.weight.grad is not None
    return conv.weight.grad.clone()


@pytest.mark.parametrize("kernel", [(3, 1), (1, 3), (3, 3)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 2), (4, 4), (2, 1), (1, 2)])
def test_weight_gradients_in_bf16(kernel: tuple[int, int], dilation: tuple[int, int]) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(32, 32, kernel, dilation=dilation, groups=32, bias=False)
    conv = conv.to(memory_format=torch.channels_last)
    exact = weight_gradient(conv, torch.float32)
    avoid_wrong_gradients(conv, CPU, torch.bfloat16)
    for _ in range(3):
        rough = weight_gradient(conv, torch.bfloat16)
        assert (rough - exact).abs().max() <= 0.02 * exact.abs().max()


def test_only_convolutions_that_need_it_are_concerned() -> None:
    model = build_model("dabnet")
    wanted = [
        module
        for module in model.modules()
        if isinstance(module, nn.Conv2d) and module.groups > 1 and module.dilation[0] > 1
    ]
    assert len(wanted) == 18
    assert avoid_wrong_gradients(model, CPU, None) == 0
    assert avoid_wrong_gradients(model, torch.device("meta"), torch.bfloat16) == 0
    assert avoid_wrong_gradients(model, CPU, torch.bfloat16) == len(wanted)
