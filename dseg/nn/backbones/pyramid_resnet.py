"""ResNet over an image pyramid: shared convolutions, separate norms for each level.

Orsic et al., CVPR 2019, section 3; the separate norms are from the authors' release.
"""

from __future__ import annotations

from copy import deepcopy

from torch import Tensor, nn
from torch.nn import functional as F

from dseg.errors import DsegError
from dseg.nn.backbones.base import Backbone
from dseg.nn.backbones.resnet import BasicBlock, ResNet

DEPTHS = (18, 34)  # those of the basic block


class PyramidResNet(Backbone):
    """ResNet with ``levels`` norms in place of each norm in the stem and the blocks.

    The norms of shortcuts are shared, like convolutions. Weights of torchvision's network are
    loaded into the first level and copied to the others.

    Args:
        depth: 18 or 34.
        levels: number of image sizes, each half of the one before.

    Attributes:
        stage_channels: channels of the four maps of a level.

    Raises:
        DsegError: unsupported depth.
    """

    KEY_MAP = ((r"^fc\.", None), (r"^((?:layer\d\.\d+\.)?bn\d)\.(?!\d)", r"\1.0."))

    def __init__(self, depth: int, levels: int = 3):
        super().__init__()
        if depth not in DEPTHS:
            raise DsegError(
                f"The pyramid ResNet does not have depth {depth}.", hint=f"depths: {DEPTHS}."
            )
        plain = ResNet(depth)
        self.torchvision_name = plain.torchvision_name
        self.stage_channels = plain.stage_channels
        self.out_channels = plain.out_channels
        self.levels = levels
        for name, part in plain.named_children():
            self.add_module(name, part)
        for owner in (self, *(block for stage in self._stages() for block in stage)):
            for name, norm in list(owner.named_children()):
                if isinstance(norm, nn.BatchNorm2d):
                    owner.add_module(name, nn.ModuleList(deepcopy(norm) for _ in range(levels)))
        self.ABSENT = tuple(
            f"{name}.{level}." for name, _ in self._norms() for level in range(1, levels)
        )

    def forward(self, image: Tensor) -> list[list[Tensor]]:
        """Return the four stages' maps of each level, before their last ReLU, finest first.

        Args:
            image: (N, 3, H, W). Level l reads it bicubically resized to H / 2^l, W / 2^l, rounded
                down; its map i is (N, stage_channels[i], h, w) of stride 4 x 2^(l + i).
        """
        height, width = image.shape[-2:]
        maps = [self._maps(image, 0)]
        for level in range(1, self.levels):
            size = [max(1, side // 2**level) for side in (height, width)]
            resized = F.interpolate(image, size, mode="bicubic", align_corners=False)
            maps.append(self._maps(resized, level))
        return maps

    def init_absent(self) -> None:
        """Copy the norms of the first level to all others."""
        for _, norms in self._norms():
            for other in norms[1:]:
                other.load_state_dict(norms[0].state_dict())

    def _maps(self, image: Tensor, level: int) -> list[Tensor]:
        x = self.get_submodule(f"bn1.{level}")(self.get_submodule("conv1")(image)).relu_()
        x = self.get_submodule("maxpool")(x)
        maps = []
        for stage in self._stages():
            for block in stage:
                before = _run(block, x, level)
                x = before.relu()
            maps.append(before)
        return maps

    def _stages(self) -> list[list[BasicBlock]]:
        stages = [part for part in self.children() if isinstance(part, nn.Sequential)]
        return [[b for b in stage if isinstance(b, BasicBlock)] for stage in stages]

    def _norms(self) -> list[tuple[str, nn.ModuleList]]:
        return [(n, part) for n, part in self.named_modules() if isinstance(part, nn.ModuleList)]


def _run(block: BasicBlock, x: Tensor, level: int) -> Tensor:
    """Return the block's output before its last ReLU."""
    shortcut = x if block.downsample is None else block.downsample(x)
    y = block.get_submodule(f"bn1.{level}")(block.conv1(x)).relu_()
    out: Tensor = block.get_submodule(f"bn2.{level}")(block.conv2(y)) + shortcut
    return out
