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
    """Convolve with a dilation that differs from position to position.

    ``out[p] = bias + sum over taps t of weight[t] x[p + scale[p] * dilation * t]``, with bilinear
    interpolation of x and zeros outside it. Differentiable in all four tensors.

    Each tap's 1x1 convolution runs before the sampling, not after it: both are linear, and a tap
    then samples output channels. ``torchvision.ops.deform_conv2d`` computes the same at once, but
    not in bfloat16 on the CPU, ``torch.utils.flop_counter`` does not count its operations, and its
    ONNX export needs opset 19, that of sampling 16.

    Args:
        x: (N, C, h, w).
        weight: (D, C, k, k), k odd.
        bias: (D,) or None.
        scale: (N, 1, h, w); 1 everywhere is ordinary convolution, padded by dilation * (k // 2).
        dilation: dilation at a scale of 1.

    Returns:
        (N, D, h, w).
    """
    height, width = x.shape[-2:]
    # half precision cannot represent all coordinates of a large map
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
    """A convolution that predicts, from the same patch, the scale of its patch per position.

    Weights and bias have the names and shapes of ``nn.Conv2d``. ``scale`` is another convolution
    to one channel, with initial weight 0 and bias 1, so that the layer starts as an ordinary
    convolution. Its kernel and dilation, equal to the layer's, and the unbounded scale are ours.

    Args:
        kernel: side of the kernel, odd; the padding keeps the size.
        dilation: dilation at a scale of 1.
        bias: bias of the convolution.
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
        """Set the scale to 1 everywhere."""
        nn.init.zeros_(self.scale.weight)
        assert self.scale.bias is not None
        nn.init.ones_(self.scale.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, out_channels, h, w)."""
        return scale_adaptive_conv2d(x, self.weight, self.bias, self.scale(x), self.dilation[0])
