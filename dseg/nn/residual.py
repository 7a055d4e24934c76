"""Residual blocks, trunk and head of the two-branch networks DDRNet and PIDNet."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from dseg.nn.conv import conv_norm_act, norm_relu_conv

# keys of the releases' containers, heads, blocks and trunk, to ours
RELEASE_KEYS = (
    (r"^(sem_loss|bd_loss|loss)\.", None),  # class weights, saved with the losses
    (r"^model\.", ""),
    (r"^final_layer\.", "head."),
    (r"^(head|seghead_\w+)\.bn1\.", r"\1.reduce.norm."),
    (r"^(head|seghead_\w+)\.conv1\.", r"\1.reduce.conv."),
    (r"^(head|seghead_\w+)\.bn2\.", r"\1.classifier.norm."),
    (r"^(head|seghead_\w+)\.conv2\.", r"\1.classifier.conv."),
    (r"^conv1\.0\.", "trunk.stem.0.conv."),
    (r"^conv1\.1\.", "trunk.stem.0.norm."),
    (r"^conv1\.3\.", "trunk.stem.1.conv."),
    (r"^conv1\.4\.", "trunk.stem.1.norm."),
    (r"^layer([12])\.", r"trunk.stage\1."),
    (r"^layer3(_?)\.", r"layer\1.0."),
    (r"^layer4(_?)\.", r"layer\1.1."),
    (r"^layer5(_?)\.", r"layer\1.2."),
    (r"^layer_\.", "detail."),
    (r"^layer\.", "semantic."),
    (r"^compression3\.", "compress.0."),
    (r"^compression4\.", "compress.1."),
    (r"^(compress\.\d)\.0\.(\w+)$", r"\1.conv.\2"),
    (r"^(compress\.\d)\.1\.(\w+)$", r"\1.norm.\2"),
    (r"\.bn(\d)\.", r".norm\1."),
    (r"\.(conv|norm)1\.", r".branch.0.\1."),
    (r"\.(conv|norm)2\.", r".branch.1.\1."),
    (r"\.(conv|norm)3\.", r".branch.2.\1."),
    (r"\.downsample\.0\.", ".shortcut.conv."),
    (r"\.downsample\.1\.", ".shortcut.norm."),
)


class ResidualBlock(nn.Module):
    """A branch of convolutions added to the input (He et al., CVPR 2016, eq. 2).

    Args:
        branch: convolutions, each with norm, and ReLU between them.
        in_channels, out_channels: channels of the block.
        stride: stride of the branch, and of the shortcut, a 1x1 convolution where the shape
            changes (option B).
        relu: whether a ReLU follows the sum.
    """

    def __init__(
        self,
        branch: nn.Sequential,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        relu: bool = True,
    ):
        super().__init__()
        self.branch = branch
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = conv_norm_act(in_channels, out_channels, 1, stride=stride)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, out_channels, h/stride, w/stride), rounded up."""
        total: Tensor = self.branch(x) + self.shortcut(x)
        return F.relu(total, inplace=True) if self.relu else total


def basic_block(
    in_channels: int, out_channels: int, *, stride: int = 1, relu: bool = True
) -> ResidualBlock:
    """Build a block of two 3x3 convolutions; the first one strides (figure 5, left)."""
    branch = nn.Sequential(
        conv_norm_act(in_channels, out_channels, 3, stride=stride, act=nn.ReLU(inplace=True)),
        conv_norm_act(out_channels, out_channels, 3),
    )
    return ResidualBlock(branch, in_channels, out_channels, stride=stride, relu=relu)


def bottleneck(in_channels: int, mid: int, *, stride: int = 1) -> ResidualBlock:
    """Build a block of 1x1, 3x3 and 1x1 to twice ``mid`` channels, without a last ReLU.

    The bottleneck of DDRNet (Hong et al., arXiv 2101.06085), whose 3x3 strides.
    """
    branch = nn.Sequential(
        conv_norm_act(in_channels, mid, 1, act=nn.ReLU(inplace=True)),
        conv_norm_act(mid, mid, 3, stride=stride, act=nn.ReLU(inplace=True)),
        conv_norm_act(mid, 2 * mid, 1),
    )
    return ResidualBlock(branch, in_channels, 2 * mid, stride=stride, relu=False)


def basic_stage(
    in_channels: int, out_channels: int, count: int, *, stride: int = 1, relu: bool = True
) -> nn.Sequential:
    """Build basic blocks in a row, the first one with stride; ``relu``: after the last one."""
    widths = pairwise((in_channels, *(count * (out_channels,))))
    return nn.Sequential(
        *(
            basic_block(*pair, stride=1 if index else stride, relu=relu or index < count - 1)
            for index, pair in enumerate(widths)
        )
    )


def eighth_trunk(width: int, count: int) -> nn.Sequential:
    """Build the layers before the branches part: (N, 3, H, W) to (N, 2 * width, H/8, W/8).

    Two strided 3x3 convolutions, with a bias before the norm, then two stages of basic blocks.

    Args:
        width: channels up to 1/4 of the image.
        count: blocks per stage.
    """
    relu = nn.ReLU(inplace=True)
    stem = nn.Sequential(
        conv_norm_act(3, width, 3, stride=2, bias=True, act=relu),
        conv_norm_act(width, width, 3, stride=2, bias=True, act=relu),
    )
    return nn.Sequential(
        OrderedDict(
            stem=stem,
            stage1=basic_stage(width, width, count),
            stage2=basic_stage(width, 2 * width, count, stride=2),
        )
    )


def preactivation_head(in_channels: int, mid: int, num_outputs: int) -> nn.Sequential:
    """Build norm, ReLU and 3x3, ``reduce``, then norm, ReLU and a 1x1 with bias, ``classifier``."""
    return nn.Sequential(
        OrderedDict(
            reduce=norm_relu_conv(in_channels, mid, 3),
            classifier=norm_relu_conv(mid, num_outputs, 1, bias=True),
        )
    )
