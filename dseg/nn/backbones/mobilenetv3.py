"""MobileNetV3-Large (Howard et al., ICCV 2019), dilated for a last map of stride 16."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from dseg.errors import DsegError
from dseg.nn.backbones.base import Backbone
from dseg.nn.conv import conv_norm_act

# kernel, hidden channels, channels, gate, hard swish, stride of each block, table 1 of the paper
BLOCKS = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)
DILATED_FROM = 13  # number of the first block that is dilated at an output stride of 16
STRIDES = (16, 32)
EPS, MOMENTUM = 1e-3, 0.01  # of every norm, torchvision's
# torchvision's keys, without "features." in front, to ours
TORCHVISION_KEYS = (
    (r"^(backbone\.)?0\.", r"\1stem."),
    (r"^(backbone\.)?16\.", r"\1last."),
    (r"^(backbone\.)?1\.block\.0\.", r"\1block1.depthwise."),
    (r"^(backbone\.)?1\.block\.1\.", r"\1block1.project."),
    (r"^(backbone\.)?(\d+)\.block\.2\.fc1\.", r"\1block\2.gate.reduce."),
    (r"^(backbone\.)?(\d+)\.block\.2\.fc2\.", r"\1block\2.gate.expand."),
    (r"^(backbone\.)?(\d+)\.block\.0\.", r"\1block\2.expand."),
    (r"^(backbone\.)?(\d+)\.block\.1\.", r"\1block\2.depthwise."),
    (r"^(backbone\.)?(\d+)\.block\.[23]\.", r"\1block\2.project."),
    (r"^((?:backbone\.)?(?:stem|last|block\d+\.(?:expand|depthwise|project))\.)0\.", r"\1conv."),
    (r"^((?:backbone\.)?(?:stem|last|block\d+\.(?:expand|depthwise|project))\.)1\.", r"\1norm."),
)


class GatedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, channel gate, linear 1x1 projection (figure 4).

    Args:
        in_channels, mid, out_channels: channels of the input, after the expansion, and of the
            output; there is no expansion where the first two are equal.
        kernel: side of the depthwise convolution.
        gated: whether there is a gate.
        hard_swish: whether the two activations are hard swish, otherwise ReLU.
        stride, dilation: stride and dilation of the depthwise convolution.
    """

    def __init__(
        self,
        in_channels: int,
        mid: int,
        out_channels: int,
        kernel: int,
        *,
        gated: bool,
        hard_swish: bool,
        stride: int = 1,
        dilation: int = 1,
    ):
        super().__init__()
        act = nn.Hardswish if hard_swish else nn.ReLU
        self.expand: nn.Module = nn.Identity()
        if mid != in_channels:
            self.expand = conv_norm_act(in_channels, mid, 1, act=act(inplace=True), eps=EPS)
        self.depthwise = conv_norm_act(
            *(mid, mid, kernel),
            stride=stride,
            dilation=dilation,
            groups=mid,
            act=act(inplace=True),
            eps=EPS,
        )
        self.gate = hard_gate(mid) if gated else None
        self.project = conv_norm_act(mid, out_channels, 1, eps=EPS)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, out_channels, h / stride, w / stride)."""
        mid = self.depthwise(self.expand(x))
        if self.gate is not None:
            mid = mid * self.gate(mid)
        out: Tensor = self.project(mid)
        return x + out if self.residual else out


class MobileNetV3(Backbone, nn.Sequential):
    """The feature extractor of MobileNetV3-Large up to its 960 channels.

    Its parts are ``stem``, ``block1`` to ``block15`` and ``last``.

    Args:
        output_stride: 16 or 32; at 16 the last three blocks are dilated by 2 instead of strided.

    Raises:
        DsegError: unsupported output stride.
    """

    KEY_MAP = ((r"^classifier\.", None), (r"^features\.", ""), *TORCHVISION_KEYS)
    torchvision_name = "mobilenet_v3_large"
    out_channels = 960

    def __init__(self, output_stride: int = 32):
        if output_stride not in STRIDES:
            raise DsegError(
                f"MobileNetV3-Large does not have output stride {output_stride}.",
                hint=f"output strides: {list(STRIDES)}.",
            )
        parts: OrderedDict[str, nn.Module] = OrderedDict(stem=_conv(3, 16, 3, stride=2))
        channels = 16
        for number, (kernel, mid, width, gated, swish, stride) in enumerate(BLOCKS, start=1):
            dilated = output_stride == 16 and number >= DILATED_FROM
            parts[f"block{number}"] = GatedResidual(
                *(channels, mid, width, kernel),
                gated=gated,
                hard_swish=swish,
                stride=1 if dilated else stride,
                dilation=2 if dilated else 1,
            )
            channels = width
        parts["last"] = _conv(channels, self.out_channels, 1)
        super().__init__(parts)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = MOMENTUM
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def maps(self, image: Tensor, names: Sequence[str]) -> list[Tensor]:
        """Return the maps of the named parts, in the order of the network.

        Args:
            image: (N, 3, H, W); a side of n becomes ceil(n / 2) at every stride.
            names: names of parts, such as ``block4``, which has 40 channels at 1/8.
        """
        found, x = [], image
        for name, part in self.named_children():
            x = part(x)
            if name in names:
                found.append(x)
        return found


def hard_gate(channels: int) -> nn.Sequential:
    """Build the gate of table 1: (N, C, h, w) to factors in 0..1, (N, C, 1, 1).

    Global mean, 1x1 to a quarter of the channels, ReLU, 1x1, hard sigmoid (section 5.3). The
    quarter is rounded to a multiple of 8 that is no more than a tenth below it.
    """
    mid = (channels // 4 + 4) // 8 * 8
    if 10 * mid < 9 * channels // 4:
        mid += 8
    return nn.Sequential(
        OrderedDict(
            pool=nn.AdaptiveAvgPool2d(1),
            reduce=nn.Conv2d(channels, mid, 1),
            act=nn.ReLU(inplace=True),
            expand=nn.Conv2d(mid, channels, 1),
            sigmoid=nn.Hardsigmoid(inplace=True),
        )
    )


def _conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    act = nn.Hardswish(inplace=True)
    return conv_norm_act(in_channels, out_channels, kernel, stride=stride, act=act, eps=EPS)
