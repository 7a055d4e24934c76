"""ResNet (He et al., CVPR 2016), with optional dilation for a last map of stride 8 or 16.

Blocks and module names are torchvision's, so that its ImageNet files fit: a bottleneck strides in
its 3x3 convolution, not in the first 1x1 as in the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from dseg.errors import DsegError
from dseg.nn.backbones.base import Backbone

WIDTHS = (64, 128, 256, 512)
# for each stage: its stride, and the dilations of its blocks, of which the last one repeats
Layout = tuple[tuple[int, tuple[int, ...]], ...]
LAYOUTS: dict[int, Layout] = {
    8: ((1, (1,)), (2, (1,)), (1, (1, 2)), (1, (2, 4))),
    16: ((1, (1,)), (2, (1,)), (2, (1,)), (1, (1, 2))),
    32: ((1, (1,)), (2, (1,)), (2, (1,)), (2, (1,))),
}
# as in most segmentation releases: the first block of a stage is dilated like the others
DILATED: Layout = ((1, (1,)), (2, (1,)), (1, (2,)), (1, (4,)))
# the same with the multi-grid (1, 2, 4) of DeepLabV3 (Chen et al., 2017, section 3.2) in the last
MULTI_GRID: Layout = (*DILATED[:3], (1, (4, 8, 16)))
# keys of the deep stem with three convolutions in conv1 and the last norm in bn1, to ours
STEM_KEYS = ((r"^(backbone\.)?bn1\.", r"\1conv1.7."),)
# keys of the deep stem in most releases, where bn1 is the first norm, to ours
DEEP_STEM_KEYS = (
    (r"^(backbone\.)?conv1\.weight", r"\1conv1.0.weight"),
    (r"^(backbone\.)?bn1\.", r"\1conv1.1."),
    (r"^(backbone\.)?conv2\.", r"\1conv1.3."),
    (r"^(backbone\.)?bn2\.", r"\1conv1.4."),
    (r"^(backbone\.)?conv3\.", r"\1conv1.6."),
    (r"^(backbone\.)?bn3\.", r"\1conv1.7."),
)
STEM_CHANNELS = 64  # of the 7x7 convolution
# layers whose shape or existence depends on the channels of the stem
AFTER_STEM = ("layer1.0.conv1.", "layer1.0.bn1.", "layer1.0.downsample.")
STEM_NOTE = (
    "the stem, three 3x3 convolutions where torchvision has one 7x7, keeps its initial weights"
)
AFTER_STEM_NOTE = ", and so do layer1.0.conv1 and layer1.0.downsample with their norms, which read "


class Residual(nn.Module):
    """Base class of both blocks: the branch is added to the input, then ReLU (eq. 2).

    Args:
        in_channels, out_channels: channels of the block.
        stride: stride of the shortcut, a 1x1 convolution where the shape changes (option B).
    """

    expansion: ClassVar[int]

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def branch(self, x: Tensor) -> Tensor:
        """Return the residual, which is added to the shortcut."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, out_channels, h / stride, w / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out: Tensor = self.relu(self.branch(x) + shortcut)
        return out


class BasicBlock(Residual):
    """Two 3x3 convolutions (figure 5, left), in depths 18 and 34.

    Args:
        width: hidden channels.
        stride: stride of the first 3x3.
        dilations: dilations of the first and of the second 3x3.
    """

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, dilations: tuple[int, int]):
        super().__init__(in_channels, width, stride)
        self.conv1 = _conv3x3(in_channels, width, stride, dilations[0])
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, width, 1, dilations[1])
        self.bn2 = nn.BatchNorm2d(width)

    def branch(self, x: Tensor) -> Tensor:
        """Return 3x3, norm, ReLU, 3x3, norm."""
        out: Tensor = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return out


class Bottleneck(Residual):
    """1x1, 3x3, 1x1 to four times the width (figure 5, right), in depths 50, 101 and 152.

    Args:
        width: hidden channels.
        stride: stride of the 3x3.
        dilations: dilation of the 3x3, and a second value that is not used.
    """

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, dilations: tuple[int, int]):
        super().__init__(in_channels, 4 * width, stride)
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, width, stride, dilations[0])
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)

    def branch(self, x: Tensor) -> Tensor:
        """Return 1x1, norm, ReLU, 3x3, norm, ReLU, 1x1, norm."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        out: Tensor = self.bn3(self.conv3(x))
        return out


# depth: (block, blocks of each stage), table 1 of the paper
CONFIGS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}


class ResNet(Backbone):
    """The feature extractor of ResNet.

    A dilated stage computes at every position what the strided one computes at every second: the
    map of stride 32 is the map of stride 8 at every fourth position.

    Args:
        depth: 18, 34, 50, 101 or 152.
        output_stride: 8, 16 or 32; stages without their stride are dilated instead.
        stem_width: channels of the first two of three 3x3 convolutions that replace the 7x7 (the
            deep stem of many segmentation releases), half those of the third; 0 for the 7x7.
        ceil_mode: round sizes up in the max pooling, as some releases do.
        layout: strides and dilations in place of ``LAYOUTS[output_stride]``, with the same
            strides.

    Attributes:
        stage_channels: channels of the four maps.
        stage_strides: their strides, such as (4, 8, 16, 32).
        pyramid_channels: channels of the stem and of the four maps.

    Raises:
        DsegError: unsupported depth or output stride.
    """

    KEY_MAP: tuple[tuple[str, str | None], ...] = ((r"^fc\.", None),)

    def __init__(
        self,
        depth: int,
        output_stride: int = 32,
        *,
        stem_width: int = 0,
        ceil_mode: bool = False,
        layout: Layout | None = None,
    ):
        super().__init__()
        if depth not in CONFIGS or output_stride not in LAYOUTS:
            raise DsegError(
                f"ResNet does not have depth {depth} with output stride {output_stride}.",
                hint=f"depths: {list(CONFIGS)}; output strides: {list(LAYOUTS)}.",
            )
        block, counts = CONFIGS[depth]
        self.torchvision_name = f"resnet{depth}"
        self.stage_channels = tuple(width * block.expansion for width in WIDTHS)
        self.stage_strides = tuple(min(stride, output_stride) for stride in (4, 8, 16, 32))
        self.out_channels = self.stage_channels[-1]
        channels = 2 * stem_width or STEM_CHANNELS
        self.pyramid_channels = (channels, *self.stage_channels)
        self.conv1: nn.Module = nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
        self.bn1: nn.Module = nn.BatchNorm2d(channels)
        if stem_width:
            self.OTHER_KEY_MAPS = ((*self.KEY_MAP, *STEM_KEYS),)
            self.KEY_MAP = (*self.KEY_MAP, *DEEP_STEM_KEYS)
            self.OTHER_STEM, self.stem_note = ("conv1.",), STEM_NOTE
            if channels != STEM_CHANNELS:
                self.OTHER_STEM += AFTER_STEM
                self.stem_note += f"{AFTER_STEM_NOTE}its {channels} channels"
            self.conv1, self.bn1 = _deep_stem(stem_width), nn.Identity()
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=ceil_mode)
        for index, plan in enumerate(layout or LAYOUTS[output_stride]):
            stage = _stage(block, channels, WIDTHS[index], counts[index], *plan)
            self.add_module(f"layer{index + 1}", stage)
            channels = self.stage_channels[index]
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def maps(self, image: Tensor) -> list[Tensor]:
        """Return the four stages' maps, finest first: (N, stage_channels[i], h, w).

        Args:
            image: (N, 3, H, W); a side of n becomes ceil(n / 2) at every stride.
        """
        return self._stages(self.stem(image))

    def pyramid(self, image: Tensor) -> list[Tensor]:
        """Return the stem's map at 1/2 and the four stages' maps, finest first.

        Args:
            image: (N, 3, H, W); a side of n becomes ceil(n / 2) at every stride.
        """
        half = self.before_pooling(image)
        return [half, *self._stages(self.maxpool(half))]

    def _stages(self, x: Tensor) -> list[Tensor]:
        maps = []
        for name, stage in self.named_children():
            if name.startswith("layer"):
                x = stage(x)
                maps.append(x)
        return maps

    def stem(self, image: Tensor) -> Tensor:
        """Map (N, 3, H, W) to the (N, C, H / 4, W / 4) that the first stage reads."""
        out: Tensor = self.maxpool(self.before_pooling(image))
        return out

    def before_pooling(self, image: Tensor) -> Tensor:
        """Map (N, 3, H, W) to the (N, C, H / 2, W / 2) that the max pooling reads."""
        out: Tensor = self.relu(self.bn1(self.conv1(image)))
        return out

    def has_other_stem(self, state: Mapping[str, Tensor]) -> bool:
        """Return True if the stem is deep here, and a single 7x7 convolution in a state dict."""
        first = state.get("conv1.0.weight")
        return bool(self.OTHER_STEM) and first is not None and first.shape[2:] == (7, 7)

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, 3, H, W) to the last stage's (N, out_channels, H / stride, W / stride)."""
        return self.maps(image)[-1]


def _stage(
    block: type[BasicBlock] | type[Bottleneck],
    in_channels: int,
    width: int,
    count: int,
    stride: int,
    dilations: tuple[int, ...],
) -> nn.Sequential:
    of_blocks = [*dilations, *dilations[-1:] * (count + 1)]
    blocks: list[nn.Module] = []
    for index in range(count):
        pair = (of_blocks[index], of_blocks[index + 1])
        blocks.append(block(in_channels, width, 1 if index else stride, pair))
        in_channels = width * block.expansion
    return nn.Sequential(*blocks)


def _deep_stem(width: int) -> nn.Sequential:
    """Build the three 3x3 convolutions with norms; the caller adds the last ReLU."""
    return nn.Sequential(
        _conv3x3(3, width, 2, 1),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        _conv3x3(width, width, 1, 1),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        _conv3x3(width, 2 * width, 1, 1),
        nn.BatchNorm2d(2 * width),
    )


def _conv3x3(in_channels: int, out_channels: int, stride: int, dilation: int) -> nn.Conv2d:
    return nn.Conv2d(
        in_channels, out_channels, 3, stride, padding=dilation, dilation=dilation, bias=False
    )
