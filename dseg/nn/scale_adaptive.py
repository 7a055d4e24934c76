"""Scale-adaptive convolution (Zhang et al., ICCV 2017)."""

from __future__ import annotations

from math import isqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dseg.nn.deterministic import grid_sample


def scale_adaptive_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None, scale: Tensor, dilation: int = 1
) -> Tensor:
    """Convolve with a dilation that differs from place to place.

    ``out[p] = bias + sum over taps t of weight[t] x[p + scale[p] * dilation * t]``, bilinear
    between the places of x and zero beyond its border. Differentiable in all four tensors.

    Each tap's 1x1 convolution is done before the sampling, not after it: both are linear, and a
    tap then samples the channels that go out. ``torchvision.ops.deform_conv2d`` computes the same
    at once, but not in bfloat16 on the CPU, ``torch.utils.flop_counter`` counts none of its
    operations, and it is exported to ONNX from opset 19 on, sampling from 16 on.

    Args:
        x: (N, C, h, w).
        weight: (D, C, k, k), k odd.
        bias: (D,) or None.
        scale: (N, 1, h, w); 1 everywhere is ordinary convolution, padded by dilation * (k // 2).
        dilation: at a scale of 1.

    Returns:
        (N, D, h, w).
    """
    height, width = x.shape[-2:]
    # half precision cannot tell places of a large map from each other
    scale = scale[:, 0].to(torch.promote_types(scale.dtype, torch.float32))
    rows = torch.arange(height, device=x.device, dtype=scale.dtype)[:, None]
    columns = torch.arange(width, device=x.device, dtype=scale.dtype)
    taps = weight.flatten(2).unbind(2)
    kernel = isqrt(len(taps))
    out = None if bias is None else bias[:, None, None].to(scale.dtype)
    dtype = x.dtype
    for tap, matrix in enumerate(taps):
        down, right = (dilation * (index - kernel // 2) for index in divmod(tap, kernel))
        row, column = rows + scale * down, columns + scale * right
        # from -1 at the border of the first pixel to 1 at that of the last
        grid = torch.stack([(2 * column + 1) / width - 1, (2 * row + 1) / height - 1], -1)
        projected = F.conv2d(x, matrix[:, :, None, None])
        dtype = projected.dtype
        sampled = grid_sample(projected.to(scale.dtype), grid)
        out = sampled if out is None else out + sampled
    assert out is not None
    return out.to(dtype)


class ScaleAdaptiveConv(nn.Conv2d):
    """A convolution that regresses, from the same patch, the scale of its patch at each place.

    Weights and bias have the names and shapes of ``nn.Conv2d``. The regression, ``scale``, is one
    more convolution to one channel, of weight 0 and bias 1: at the start the layer is the ordinary
    convolution. That its kernel and dilation are the layer's, and that no bound is put on the
    scale, is ours.

    Args:
        kernel: side, odd; sizes are kept.
        dilation: at a scale of 1.
        bias: of the convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        dilation: int = 1,
        bias: bool = True,
    ):
        padding = dilation * (kernel // 2)
        super().__init__(
            *(in_channels, out_channels, kernel), padding=padding, dilation=dilation, bias=bias
        )
        self.scale = nn.Conv2d(in_channels, 1, kernel, padding=padding, dilation=dilation)
        self.reset_scale()

    def reset_scale(self) -> None:
        """Make the scale 1 everywhere."""
        nn.init.zeros_(self.scale.weight)
        assert self.scale.bias is not None
        nn.init.ones_(self.scale.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, out_channels, h, w)."""
        return scale_adaptive_conv2d(x, self.weight, self.bias, self.scale(x), self.dilation[0])
