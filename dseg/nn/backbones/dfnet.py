"""DF-Net, found by architecture search on an embedded GPU (Li et al., CVPR 2019)."""

from __future__ import annotations

from torch import Tensor, nn

from dseg.errors import DsegError
from dseg.nn.backbones.base import Backbone
from dseg.nn.backbones.resnet import BasicBlock

# version: name, channels, blocks, and stride of the first block, of each stage after the first
STAGES = {
    1: (("stage2", 64, 3, 2), ("stage3", 128, 3, 2), ("stage4", 256, 3, 2), ("stage5", 512, 1, 1)),
    2: (
        ("stage2_1", 64, 2, 2),
        ("stage2_2", 128, 1, 1),
        ("stage3_1", 128, 10, 2),
        ("stage3_2", 256, 1, 1),
        ("stage4_1", 256, 4, 2),
        ("stage4_2", 512, 2, 1),
    ),
}
READ = {1: ("stage3", "stage4", "stage5"), 2: ("stage2_2", "stage3_2", "stage4_2")}


class DFNet(Backbone):
    """The feature extractor of DF1 and DF2: two strided 3x3, then ResNet's basic blocks.

    Stages have the names in the authors' ImageNet files.

    Args:
        version: 1 or 2.

    Attributes:
        stage_channels: channels of the three maps.
        stage_strides: their strides: (16, 32, 32) or (8, 16, 32).

    Raises:
        DsegError: unsupported version.
    """

    KEY_MAP = ((r"^fc\.", None),)
    out_channels = 512

    def __init__(self, version: int):
        if version not in STAGES:
            raise DsegError(f"DF-Net has no version {version}.", hint=f"versions: {list(STAGES)}.")
        super().__init__()
        self.stage_channels = (128, 256, 512)
        self.stage_strides = (16, 32, 32) if version == 1 else (8, 16, 32)
        self.read = READ[version]
        self.stage1 = nn.Sequential(*_strided(3, 32), *_strided(32, 64))
        in_channels = 64
        for name, channels, count, stride in STAGES[version]:
            blocks = [BasicBlock(in_channels, channels, stride, (1, 1))]
            blocks += [BasicBlock(channels, channels, 1, (1, 1)) for _ in range(count - 1)]
            self.add_module(name, nn.Sequential(*blocks))
            in_channels = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def maps(self, image: Tensor) -> list[Tensor]:
        """Return the maps for a decoder, finest first: (N, stage_channels[i], h, w).

        Args:
            image: (N, 3, H, W); a side of n becomes ceil(n / 2) at every stride.
        """
        x, maps = image, []
        for name, stage in self.named_children():
            x = stage(x)
            if name in self.read:
                maps.append(x)
        return maps

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, 3, H, W) to the last stage's (N, 512, H / 32, W / 32)."""
        return self.maps(image)[-1]


def _strided(in_channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )
