"""Blocks of networks with two branches: BiSeNetV2 (Yu et al., IJCV 2021), DDRNet and GCNet."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from dseg.nn.conv import conv_norm_act
from dseg.nn.fuse import resize_like

EXPANSION = 6  # factor of the channels in a gather-and-expansion layer


class GatherExpansion(nn.Module):
    """A 3x3, a depth-wise 3x3 to six times the channels, and a 1x1 back.

    With stride, two depth-wise 3x3 convolutions, and a shortcut that strides as well. The last
    norm starts at 0, so that the block starts as its shortcut.

    Args:
        in_channels, out_channels: equal where the stride is 1.
        stride: 1 or 2.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        wide = EXPANSION * in_channels
        self.gather = conv_norm_act(in_channels, in_channels, 3, act=nn.ReLU(inplace=True))
        self.shortcut: nn.Module = nn.Identity()
        if stride == 1:
            self.expand = nn.Sequential(_depthwise(in_channels, wide, act=nn.ReLU(inplace=True)))
        else:
            self.expand = nn.Sequential(
                _depthwise(in_channels, wide, stride=stride),
                _depthwise(wide, wide, act=nn.ReLU(inplace=True)),
            )
            self.shortcut = nn.Sequential(
                _depthwise(in_channels, in_channels, stride=stride),
                conv_norm_act(in_channels, out_channels, 1),
            )
        self.project = conv_norm_act(wide, out_channels, 1)
        nn.init.zeros_(self.project.get_parameter("norm.weight"))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, out_channels, h/stride, w/stride), rounded up."""
        y = self.project(self.expand(self.gather(x)))
        return F.relu(y + self.shortcut(x))


class ContextEmbedding(nn.Module):
    """The mean of the whole map, projected and added at every position.

    Args:
        channels: channels of input and output.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.mean = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.BatchNorm2d(channels),
            conv_norm_act(channels, channels, 1, act=nn.ReLU(inplace=True)),
        )
        self.smooth = conv_norm_act(channels, channels, 3, act=nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, h, w) to the same shape."""
        out: Tensor = self.smooth(x + self.mean(x))
        return out


class GuidedAggregation(nn.Module):
    """Each branch gates the other one at that one's size, and the results are summed.

    Args:
        channels: channels of both branches and of the output.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.detail_fine = _separable(channels)
        self.detail_coarse = nn.Sequential(
            conv_norm_act(channels, channels, 3, stride=2), nn.AvgPool2d(3, stride=2, padding=1)
        )
        self.semantic_fine = conv_norm_act(channels, channels, 3)
        self.semantic_coarse = _separable(channels)
        self.smooth = conv_norm_act(channels, channels, 3, act=nn.ReLU(inplace=True))

    def forward(self, detail: Tensor, semantic: Tensor) -> Tensor:
        """Map (N, channels, h, w) and (N, channels, h/4, w/4) to (N, channels, h, w)."""
        gate = resize_like(self.semantic_fine(semantic).sigmoid(), detail)
        fine = self.detail_fine(detail) * gate
        coarse = self.detail_coarse(detail) * self.semantic_coarse(semantic).sigmoid()
        out: Tensor = self.smooth(fine + resize_like(coarse, fine))
        return out


class BranchFusion(nn.Module):
    """Each branch takes the other's map: convolved with strides, or reduced and enlarged.

    The bilateral fusion of DDRNet (Hong et al., arXiv 2101.06085, section 3.2).

    Args:
        semantic: channels of the semantic branch, of the coarser map.
        detail: channels of the detail branch.
        add_after_relu: add to the branches after their ReLU instead of before it.
    """

    def __init__(self, semantic: int, detail: int, add_after_relu: bool):
        super().__init__()
        self.add_after_relu = add_after_relu
        self.to_detail = conv_norm_act(semantic, detail, 1)
        steps: list[nn.Module] = []
        while detail < semantic:
            act = nn.ReLU(inplace=True) if 2 * detail < semantic else None
            steps.append(conv_norm_act(detail, 2 * detail, 3, stride=2, act=act))
            detail *= 2
        self.to_semantic = nn.Sequential(*steps)

    def forward(self, semantic: Tensor, detail: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sums of both branches, of the shapes of the maps and before a ReLU."""
        activated = F.relu(semantic), F.relu(detail)
        down = self.to_semantic(activated[1])
        up = resize_like(self.to_detail(activated[0]), detail, align_corners=False)
        coarse, fine = activated if self.add_after_relu else (semantic, detail)
        return coarse + down, fine + up


def _depthwise(
    in_channels: int, out_channels: int, *, stride: int = 1, act: nn.Module | None = None
) -> nn.Sequential:
    return conv_norm_act(in_channels, out_channels, 3, stride=stride, groups=in_channels, act=act)


def _separable(channels: int) -> nn.Sequential:
    return nn.Sequential(
        _depthwise(channels, channels), nn.Conv2d(channels, channels, 1, bias=False)
    )
