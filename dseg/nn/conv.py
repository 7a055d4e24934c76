"""Convolution with norm and activation, and the fully convolutional head made of it."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


def conv_norm_act(
    in_channels: int,
    out_channels: int,
    kernel: int | tuple[int, int],
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    act: nn.Module | None = None,
    eps: float = 1e-5,
) -> nn.Sequential:
    """Build convolution (no bias, padded to keep the size), batch norm and, if given, activation.

    The parts are named ``conv``, ``norm`` and ``act``; ``kernel`` is a side or (height, width).
    """
    height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
    parts: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(
            in_channels,
            out_channels,
            (height, width),
            stride=stride,
            padding=(dilation * (height // 2), dilation * (width // 2)),
            dilation=dilation,
            groups=groups,
            bias=False,
        ),
        norm=nn.BatchNorm2d(out_channels, eps=eps),
    )
    if act is not None:
        parts["act"] = act
    return nn.Sequential(parts)


def fcn_head(in_channels: int, num_classes: int, dropout: float = 0.1) -> nn.Sequential:
    """Build a 3x3 convolution to a quarter of the channels, then the classifier.

    The usual auxiliary head (Long et al., CVPR 2015, in the form of Zhao et al., CVPR 2017).
    """
    mid = in_channels // 4
    return nn.Sequential(
        OrderedDict(
            reduce=conv_norm_act(in_channels, mid, 3, act=nn.ReLU(inplace=True)),
            dropout=nn.Dropout(dropout),
            classifier=nn.Conv2d(mid, num_classes, 1),
        )
    )
