"""Convolutions with norm and activation, and the fully convolutional head."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


def conv_norm_act(
    in_channels: int,
    out_channels: int,
    kernel: int | tuple[int, int],
    *,
    stride: int = 1,
    padding: int | None = None,
    dilation: int = 1,
    groups: int = 1,
    bias: bool = False,
    act: nn.Module | None = None,
    eps: float = 1e-5,
) -> nn.Sequential:
    """Build convolution, batch norm and, if given, activation, named ``conv``, ``norm``, ``act``.

    Args:
        kernel: a side or (height, width).
        padding: padding on both sides; by default the one that keeps the size at stride 1.
        bias: bias of the convolution, without effect before a norm unless a checkpoint has one.
        act: activation after the norm.
        eps: epsilon of the norm.
    """
    height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
    padded = (dilation * (height // 2), dilation * (width // 2))
    parts: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(
            in_channels,
            out_channels,
            (height, width),
            stride=stride,
            padding=padded if padding is None else padding,
            dilation=dilation,
            groups=groups,
            bias=bias,
        ),
        norm=nn.BatchNorm2d(out_channels, eps=eps),
    )
    if act is not None:
        parts["act"] = act
    return nn.Sequential(parts)


def two_3x3(in_channels: int, channels: int) -> nn.Sequential:
    """Build two 3x3 convolutions with norm and ReLU that keep the size."""
    return nn.Sequential(
        conv_norm_act(in_channels, channels, 3, act=nn.ReLU(inplace=True)),
        conv_norm_act(channels, channels, 3, act=nn.ReLU(inplace=True)),
    )


def norm_prelu(channels: int, eps: float) -> nn.Sequential:
    """Build batch norm and a PReLU with one slope per channel, named ``norm`` and ``act``."""
    return nn.Sequential(
        OrderedDict(norm=nn.BatchNorm2d(channels, eps=eps), act=nn.PReLU(channels))
    )


def norm_relu_conv(
    in_channels: int,
    out_channels: int,
    kernel: int,
    *,
    groups: int = 1,
    bias: bool = False,
    momentum: float = 0.1,
) -> nn.Sequential:
    """Build batch norm, ReLU and convolution that keeps the size: ``norm``, ``act``, ``conv``.

    The order of pre-activation (He et al., ECCV 2016).
    """
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(in_channels, momentum=momentum),
            act=nn.ReLU(inplace=True),
            conv=nn.Conv2d(
                in_channels,
                out_channels,
                kernel,
                padding=kernel // 2,
                groups=groups,
                bias=bias,
            ),
        )
    )


def depthwise_separable(
    in_channels: int,
    out_channels: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    inner_relu: bool = True,
) -> nn.Sequential:
    """Build a depth-wise 3x3 and a 1x1, each with norm and ReLU: ``depthwise``, ``pointwise``.

    MobileNet's convolution (Howard et al., 2017, section 3.1).

    Args:
        stride, dilation: stride and dilation of the 3x3.
        inner_relu: whether a ReLU follows the depth-wise convolution.
    """
    return nn.Sequential(
        OrderedDict(
            depthwise=conv_norm_act(
                *(in_channels, in_channels, 3),
                stride=stride,
                dilation=dilation,
                groups=in_channels,
                act=nn.ReLU(inplace=True) if inner_relu else None,
            ),
            pointwise=conv_norm_act(in_channels, out_channels, 1, act=nn.ReLU(inplace=True)),
        )
    )


def fcn_head(
    in_channels: int,
    num_classes: int,
    dropout: float = 0.1,
    *,
    mid: int | None = None,
    bias: bool = False,
    slope: float | None = 0.0,
    of_maps: bool = False,
) -> nn.Sequential:
    """Build a 3x3 convolution, by default to a quarter of the channels, then the classifier.

    The usual auxiliary head (Long et al., CVPR 2015, in the form of Zhao et al., CVPR 2017).

    Args:
        mid: channels between the two convolutions.
        bias: bias of the 3x3 convolution, which some authors' checkpoints have.
        slope: negative slope of the activation; see ``rectifier``.
        of_maps: use ``Dropout2d``, which drops whole maps.
    """
    mid = in_channels // 4 if mid is None else mid
    reduce = conv_norm_act(in_channels, mid, 3, bias=bias, act=rectifier(slope))
    return nn.Sequential(
        OrderedDict(
            reduce=reduce,
            dropout=nn.Dropout2d(dropout) if of_maps else nn.Dropout(dropout),
            classifier=nn.Conv2d(mid, num_classes, 1),
        )
    )


def rectifier(slope: float | None) -> nn.Module | None:
    """Build ReLU for a slope of 0, leaky ReLU for a larger one; return None for None."""
    if slope is None:
        return None
    return nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True)


def init_convs(part: nn.Module, skip: str = "\0") -> None:
    """Initialise the convolutions of a module (He et al., ICCV 2015, eq. 10).

    Args:
        part: module to initialise in place.
        skip: prefix of the names to leave unchanged, such as ``backbone.``.
    """
    for name, module in part.named_modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) and not name.startswith(skip):
            nn.init.kaiming_normal_(module.weight)
