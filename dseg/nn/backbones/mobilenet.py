"""MobileNetV2 (Sandler et al., CVPR 2018), with optional dilation for a last stride of 8 or 16."""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn

from dseg.errors import DsegError
from dseg.nn.backbones.base import Backbone
from dseg.nn.conv import conv_norm_act

EPS = 1e-5  # of every norm, torch's default
# expansion, channels, blocks of each stage, table 2 of the paper
STAGES = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))
# output stride: (stride of the first block, dilation of all blocks) of each stage
LAYOUTS = {
    8: ((1, 1), (2, 1), (2, 1), (1, 2), (1, 2), (1, 2), (1, 2)),
    16: ((1, 1), (2, 1), (2, 1), (2, 1), (1, 1), (1, 2), (1, 2)),
    32: ((1, 1), (2, 1), (2, 1), (2, 1), (1, 1), (2, 1), (1, 1)),
}


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise 3x3, linear 1x1 projection (section 3.3 of the paper).

    A ratio of 1 has an expansion too, as in the DenseASPP authors' release.

    Args:
        in_channels, out_channels: channels of the block.
        expansion: ratio of hidden to input channels.
        stride, dilation: stride and dilation of the 3x3.
        act: class of the two activations.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        expansion: int,
        stride: int,
        dilation: int = 1,
        act: type[nn.ReLU] | type[nn.ReLU6] = nn.ReLU6,
    ):
        super().__init__()
        mid = in_channels * expansion
        self.expand = conv_norm_act(in_channels, mid, 1, act=act(inplace=True))
        self.depthwise = conv_norm_act(
            mid, mid, 3, stride=stride, dilation=dilation, groups=mid, act=act(inplace=True)
        )
        self.project = conv_norm_act(mid, out_channels, 1)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, out_channels, h / stride, w / stride)."""
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + out if self.residual else out


class MobileNetV2(Backbone, nn.Sequential):
    """The feature extractor of MobileNetV2 up to its 320 channels.

    All stages after a removed stride are dilated by 2, as in the release of DenseASPP.

    Args:
        output_stride: 8, 16 or 32.

    Attributes:
        pyramid_channels: channels of the linear projections before each stride and at the end:
            (16, 24, 32, 96, 320) at output stride 32.

    Raises:
        DsegError: unsupported output stride.
    """

    KEY_MAP = (
        (r"^(classifier|features\.18)\.", None),
        (r"^features\.0\.0\.", "stem.conv."),
        (r"^features\.0\.1\.", "stem.norm."),
        (r"^features\.1\.conv\.2\.", "block1.project.norm."),
        (r"^features\.1\.conv\.1\.", "block1.project.conv."),
        (r"^features\.1\.conv\.0\.0\.", "block1.depthwise.conv."),
        (r"^features\.1\.conv\.0\.1\.", "block1.depthwise.norm."),
        (r"^features\.(\d+)\.conv\.0\.0\.", r"block\1.expand.conv."),
        (r"^features\.(\d+)\.conv\.0\.1\.", r"block\1.expand.norm."),
        (r"^features\.(\d+)\.conv\.1\.0\.", r"block\1.depthwise.conv."),
        (r"^features\.(\d+)\.conv\.1\.1\.", r"block\1.depthwise.norm."),
        (r"^features\.(\d+)\.conv\.2\.", r"block\1.project.conv."),
        (r"^features\.(\d+)\.conv\.3\.", r"block\1.project.norm."),
    )
    ABSENT = ("block1.expand.",)
    torchvision_name = "mobilenet_v2"
    out_channels = 320

    def __init__(self, output_stride: int = 8):
        if output_stride not in LAYOUTS:
            raise DsegError(
                f"MobileNetV2 does not have output stride {output_stride}.",
                hint=f"output strides: {list(LAYOUTS)}.",
            )
        parts: OrderedDict[str, nn.Module] = OrderedDict(
            stem=conv_norm_act(3, 32, 3, stride=2, act=nn.ReLU(inplace=True))
        )
        channels, index = 32, 0
        ends: dict[str, int] = {}  # the last block of each stride, and its channels
        for stage, layout in zip(STAGES, LAYOUTS[output_stride], strict=True):
            expansion, out_channels, blocks = stage
            stride, dilation = layout
            for _ in range(blocks):
                if stride == 2:
                    ends[f"block{index}"] = channels
                index += 1
                parts[f"block{index}"] = InvertedResidual(
                    channels, out_channels, expansion, stride, dilation
                )
                channels, stride = out_channels, 1
        super().__init__(parts)
        self.ends = (*ends, f"block{index}")
        self.pyramid_channels = (*ends.values(), channels)

    def pyramid(self, image: Tensor) -> list[Tensor]:
        """Return the projections before each stride and the last one, finest first.

        Args:
            image: (N, 3, H, W); a side of n becomes ceil(n / 2) at every stride.
        """
        x, maps = image, []
        for name, part in self.named_children():
            x = part(x)
            if name in self.ends:
                maps.append(x)
        return maps

    @torch.no_grad()
    def init_absent(self) -> None:
        """Make the first block's expansion, which torchvision lacks, the identity.

        In evaluation it is the identity up to 6, the maximum of torchvision's stem. In training it
        is so if the stem's channels before their ReLU are normally distributed with the mean and
        standard deviation given by its norm, whose moments after ReLU become scale and shift.
        """
        state = self.state_dict()  # the tensors themselves
        shift, scale = state["stem.norm.bias"], state["stem.norm.weight"].abs().clamp(min=1e-12)
        ratio = shift / scale
        density = torch.exp(-ratio.square() / 2) / math.sqrt(2 * math.pi)
        mean = shift * torch.special.ndtr(ratio) + scale * density
        square = (shift**2 + scale**2) * torch.special.ndtr(ratio) + shift * scale * density
        variance = (square - mean**2).clamp(min=0)
        nn.init.dirac_(state["block1.expand.conv.weight"])
        state["block1.expand.norm.running_mean"].copy_(mean)
        state["block1.expand.norm.running_var"].copy_(variance)
        state["block1.expand.norm.bias"].copy_(mean)
        state["block1.expand.norm.weight"].copy_((variance + EPS).sqrt())
