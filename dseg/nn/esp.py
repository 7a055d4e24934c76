"""Efficient spatial pyramid of dilated convolutions (Mehta et al., ECCV 2018)."""

from __future__ import annotations

from itertools import accumulate

import torch
from torch import Tensor, nn

from dseg.errors import DsegError
from dseg.nn.conv import norm_prelu

RATES = (1, 2, 4, 8, 16)


class ESPModule(nn.Module):
    """Reduce, split into five dilated 3x3 convolutions, sum hierarchically, concatenate.

    With branches ``y_r = D_r(reduce(x))`` the output before the norm is ``[y_1, y_2, y_2 + y_4,
    y_2 + y_4 + y_8, y_2 + y_4 + y_8 + y_16]``: the sums (hierarchical feature fusion) remove
    gridding artefacts. The first branch is not added, since it also has the channels that remain
    after an even split among five branches.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output, at least five.
        stride: 1 with a 1x1 reduction, or 2 with a 3x3 one.
        residual: add the input before the norm; needs equal channels and stride 1.
        eps: epsilon of the norm.

    Raises:
        DsegError: fewer channels than branches.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        residual: bool = True,
        eps: float = 1e-3,
    ):
        super().__init__()
        if out_channels < len(RATES):
            raise DsegError(
                f"{out_channels} channels cannot be split among {len(RATES)} branches.",
                hint=f"use {len(RATES)} or more.",
            )
        mid = out_channels // len(RATES)
        rest = out_channels - mid * (len(RATES) - 1)
        kernel = 1 if stride == 1 else 3
        self.reduce = nn.Conv2d(in_channels, mid, kernel, stride, kernel // 2, bias=False)
        for rate in RATES:
            made = rest if rate == 1 else mid
            branch = nn.Conv2d(mid, made, 3, padding=rate, dilation=rate, bias=False)
            self.add_module(f"rate{rate}", branch)
        self.residual = residual
        self.norm = norm_prelu(out_channels, eps)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, out_channels, h / stride, w / stride), rounded up."""
        y = self.reduce(x)
        near, *far = (self.get_submodule(f"rate{rate}")(y) for rate in RATES)
        y = torch.cat([near, *accumulate(far)], 1)
        out: Tensor = self.norm(x + y if self.residual else y)
        return out
