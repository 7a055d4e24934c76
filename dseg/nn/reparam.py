"""Parallel convolutions that become one for inference: structural re-parameterisation.

Ding et al. introduced it with RepVGG (CVPR 2021, section 3); GCNet's block has paths of two
convolutions each (Yang et al., CVPR 2025, section 3.2).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from dseg.nn.conv import conv_norm_act

KERNEL = 3  # side of the kernel that all paths together have


class Foldable(nn.Module):
    """A module that has a simpler, equal form for inference."""

    def folded(self) -> nn.Module:
        """Return a new module that computes the same in evaluation mode, up to rounding.

        The two share no memory.
        """
        raise NotImplementedError


class ParallelConv(Foldable):
    """The sum of convolutions of 3x3 and of 1x1, each followed by a 1x1, and of the input itself.

    Each convolution and the input have a norm; there is no activation between the convolutions of
    a path, so that all paths together are linear in evaluation mode.

    Args:
        in_channels, out_channels: channels of the map and of the result.
        stride: stride of the first convolution of each path; without the input itself if it is
            above 1 or the channels differ.
        copies: number of paths that start with a 3x3.
        act: activation of the sum.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        copies: int = 2,
        act: nn.Module | None = None,
    ):
        super().__init__()
        self.paths = nn.ModuleList(
            nn.Sequential(
                conv_norm_act(in_channels, out_channels, kernel, stride=stride),
                conv_norm_act(out_channels, out_channels, 1),
            )
            for kernel in [KERNEL] * copies + [1]
        )
        keeps_shape = stride == 1 and in_channels == out_channels
        self.identity = nn.BatchNorm2d(out_channels) if keeps_shape else None
        self.act = act
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, out_channels, h / stride, w / stride), rounded up."""
        out: Tensor = self.paths[0](x)
        for path in self.paths[1:]:
            out = out + path(x)
        if self.identity is not None:
            out = out + self.identity(x)
        return out if self.act is None else self.act(out)

    @torch.no_grad()
    def folded(self) -> nn.Sequential:
        """Return one 3x3 convolution with bias, followed by the activation.

        The sums and products are computed in double precision.
        """
        like = self.get_parameter("paths.0.0.conv.weight")
        weight = torch.zeros_like(like, dtype=torch.float64, memory_format=torch.contiguous_format)
        bias = weight.new_zeros(len(weight))
        middle = weight[..., KERNEL // 2, KERNEL // 2]
        paths: Any = self.paths
        for first, second in paths:
            kernel = first.conv.weight.double().flatten(1)
            inner_scale, inner_shift = _scale_and_shift(first.norm)
            scale, shift = _scale_and_shift(second.norm)
            mix = scale[:, None] * second.conv.weight.double().flatten(1)
            part = weight.flatten(1) if kernel.shape[1] > middle.shape[1] else middle
            part.addmm_(mix * inner_scale, kernel)
            bias += mix @ inner_shift + shift
        if self.identity is not None:
            scale, shift = _scale_and_shift(self.identity)
            middle.diagonal().add_(scale)
            bias += shift
        with torch.device("meta"):  # no initial weights
            block = folded_conv(*like.shape[1::-1], stride=self.stride, act=self.act)
        conv = block.get_submodule("conv")
        for name, value in (("weight", weight), ("bias", bias)):
            conv.register_parameter(name, nn.Parameter(value.to(like.dtype), like.requires_grad))
        return block.train(self.training)


def folded_conv(
    in_channels: int, out_channels: int, *, stride: int = 1, act: nn.Module | None = None
) -> nn.Sequential:
    """Build a 3x3 convolution with bias and, if given, activation, named ``conv`` and ``act``."""
    conv = nn.Conv2d(in_channels, out_channels, KERNEL, stride=stride, padding=KERNEL // 2)
    parts: OrderedDict[str, nn.Module] = OrderedDict(conv=conv)
    if act is not None:
        parts["act"] = act
    return nn.Sequential(parts)


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return, in double precision, what a norm multiplies by in evaluation mode, and then adds."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight.double() * (norm.running_var.double() + norm.eps).rsqrt()
    return scale, norm.bias.double() - scale * norm.running_mean.double()
