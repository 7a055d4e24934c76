"""DenseNet (Huang et al., CVPR 2017), dilated so that its last map keeps stride 8 or 16.

Module names are torchvision's, so that its ImageNet files fit.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from dseg.errors import DsegError

# depth: (growth, channels of the stem, layers of each block), table 1 of the paper
CONFIGS: dict[int, tuple[int, int, tuple[int, int, int, int]]] = {
    121: (32, 64, (6, 12, 24, 16)),
    161: (48, 96, (6, 12, 36, 24)),
    169: (32, 64, (6, 12, 32, 32)),
    201: (32, 64, (6, 12, 48, 32)),
}
# output stride: which of the three transitions pool, and the dilation of each block
LAYOUTS = {8: ((True, False, False), (1, 1, 2, 4)), 16: ((True, True, False), (1, 1, 1, 2))}


class DenseLayer(nn.Module):
    """Bottleneck of a dense block: norm, ReLU, 1x1 to four times the growth, norm, ReLU, 3x3."""

    def __init__(self, in_channels: int, growth: int, dilation: int):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(
            4 * growth, growth, 3, padding=dilation, dilation=dilation, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, growth, h, w)."""
        x = self.norm2(self.conv1(self.norm1(x).relu_())).relu_()
        out: Tensor = self.conv2(x)
        return out


class DenseBlock(nn.Module):
    """Layers that each read everything before them."""

    def __init__(self, in_channels: int, growth: int, layers: int, dilation: int):
        super().__init__()
        for index in range(layers):
            layer = DenseLayer(in_channels + index * growth, growth, dilation)
            self.add_module(f"denselayer{index + 1}", layer)
        self.out_channels = in_channels + layers * growth

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, out_channels, h, w)."""
        for layer in self.children():
            x = torch.cat([x, layer(x)], dim=1)
        return x


class DenseNet(nn.Module):
    """The feature extractor of DenseNet.

    Args:
        depth: 121, 161, 169 or 201.
        output_stride: 8 or 16; blocks that no longer follow a pooling are dilated instead.
        halve_last: a fourth transition halves the channels of the last block.

    Raises:
        DsegError: no such depth or output stride.
    """

    def __init__(self, depth: int, output_stride: int = 8, *, halve_last: bool = False):
        super().__init__()
        if depth not in CONFIGS or output_stride not in LAYOUTS:
            raise DsegError(
                f"There is no DenseNet of depth {depth} at output stride {output_stride}.",
                hint=f"depths: {list(CONFIGS)}; output strides: {list(LAYOUTS)}.",
            )
        growth, channels, blocks = CONFIGS[depth]
        pools, dilations = LAYOUTS[output_stride]
        self.conv0 = nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
        self.norm0 = nn.BatchNorm2d(channels)
        self.pool0 = nn.MaxPool2d(3, stride=2, padding=1)
        for index, (layers, dilation) in enumerate(zip(blocks, dilations, strict=True), start=1):
            block = DenseBlock(channels, growth, layers, dilation)
            self.add_module(f"denseblock{index}", block)
            channels = block.out_channels
            if index < 4 or halve_last:
                pool = index < 4 and pools[index - 1]
                self.add_module(f"transition{index}", _transition(channels, pool))
                channels //= 2
        self.norm5 = nn.BatchNorm2d(channels)
        self.out_channels = channels

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, 3, H, W) to (N, out_channels, H / stride, W / stride), after norm5, no ReLU.

        A side of n gives ceil(ceil(n / 2) / 2), then floor(/ 2) at each pooling transition.
        """
        x = self.pool0(self.norm0(self.conv0(image)).relu_())
        for name, part in self.named_children():
            if name.startswith(("denseblock", "transition")):
                x = part(x)
        out: Tensor = self.norm5(x)
        return out


def _transition(channels: int, pool: bool) -> nn.Sequential:
    parts: OrderedDict[str, nn.Module] = OrderedDict(
        norm=nn.BatchNorm2d(channels),
        relu=nn.ReLU(inplace=True),
        conv=nn.Conv2d(channels, channels // 2, 1, bias=False),
    )
    if pool:
        parts["pool"] = nn.AvgPool2d(2, stride=2)
    return nn.Sequential(parts)
