"""MobileNetV2 (Sandler et al., CVPR 2018), dilated so that its last map keeps stride 8 or 16."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from dseg.errors import DsegError
from dseg.nn.conv import conv_norm_act

# expansion, channels, blocks of each stage, table 2 of the paper
STAGES = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))
# output stride: (stride of the first block, dilation of all blocks) of each stage
LAYOUTS = {
    8: ((1, 1), (2, 1), (2, 1), (1, 2), (1, 2), (1, 2), (1, 2)),
    16: ((1, 1), (2, 1), (2, 1), (2, 1), (1, 1), (1, 2), (1, 2)),
}


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise 3x3, linear 1x1 projection (section 3.3 of the paper).

    The expansion is there even where its ratio is 1, as in the DenseASPP authors' release.
    """

    def __init__(
        self, in_channels: int, out_channels: int, expansion: int, stride: int, dilation: int
    ):
        super().__init__()
        mid = in_channels * expansion
        self.expand = conv_norm_act(in_channels, mid, 1, act=nn.ReLU6(inplace=True))
        self.depthwise = conv_norm_act(
            mid, mid, 3, stride=stride, dilation=dilation, groups=mid, act=nn.ReLU6(inplace=True)
        )
        self.project = conv_norm_act(mid, out_channels, 1)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, out_channels, h / stride, w / stride)."""
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + out if self.residual else out


class MobileNetV2(nn.Sequential):
    """The feature extractor of MobileNetV2 up to its 320 channels.

    All of the stages that no longer follow a stride are dilated by 2, as in the release.

    Args:
        output_stride: 8 or 16.

    Raises:
        DsegError: no such output stride.
    """

    out_channels = 320

    def __init__(self, output_stride: int = 8):
        if output_stride not in LAYOUTS:
            raise DsegError(
                f"There is no MobileNetV2 at output stride {output_stride}.",
                hint=f"output strides: {list(LAYOUTS)}.",
            )
        parts: OrderedDict[str, nn.Module] = OrderedDict(
            stem=conv_norm_act(3, 32, 3, stride=2, act=nn.ReLU(inplace=True))
        )
        channels, index = 32, 0
        for stage, layout in zip(STAGES, LAYOUTS[output_stride], strict=True):
            expansion, out_channels, blocks = stage
            stride, dilation = layout
            for _ in range(blocks):
                index += 1
                parts[f"block{index}"] = InvertedResidual(
                    channels, out_channels, expansion, stride, dilation
                )
                channels, stride = out_channels, 1
        super().__init__(parts)
