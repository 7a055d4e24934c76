"""WideResNet-38 (Wu et al., 2016), dilated for a last map of stride 8.

Pre-activation blocks (He et al., ECCV 2016) in the form of Rota Bulo et al., CVPR 2018. Module
names are those of the ImageNet files.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from dseg.nn.backbones.base import Backbone

# stage: blocks, channels after each convolution, stride and dilation, dropout
STAGES: tuple[tuple[str, int, tuple[int, ...], int, int, float], ...] = (
    ("mod2", 3, (128, 128), 1, 1, 0.0),
    ("mod3", 3, (256, 256), 1, 1, 0.0),
    ("mod4", 6, (512, 512), 2, 1, 0.0),
    ("mod5", 3, (512, 1024), 1, 2, 0.0),
    ("mod6", 1, (512, 1024, 2048), 1, 4, 0.3),
    ("mod7", 1, (1024, 2048, 4096), 1, 4, 0.5),
)
READ = ("mod2", "mod5", "mod7")


class PreActivationBlock(nn.Module):
    """Norm and ReLU before each convolution; the sum of shortcut and branch is not activated.

    Two 3x3 convolutions, or 1x1, 3x3, 1x1. If the shape changes, the shortcut is a 1x1
    convolution of the activated input; otherwise it is the input itself.

    Args:
        in_channels: channels of the block.
        widths: channels after each of the two or three convolutions.
        stride: stride of the first convolution and of the shortcut.
        dilation: dilation of every 3x3.
        dropout: probability of dropping whole maps before the 3x3 of three convolutions or the
            second of two. The paper has dropout in the last two stages; its position is ours.
    """

    def __init__(
        self,
        in_channels: int,
        widths: tuple[int, ...],
        stride: int = 1,
        dilation: int = 1,
        dropout: float = 0.0,
    ):
        super().__init__()
        kernels = (3, 3) if len(widths) == 2 else (1, 3, 1)
        self.bn1 = _norm_relu(in_channels)
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        channels = in_channels
        for index, (kernel, width) in enumerate(zip(kernels, widths, strict=True), start=1):
            if index > 1:
                parts[f"bn{index}"] = _norm_relu(channels)
            if index == 2 and dropout:
                parts["dropout"] = nn.Dropout2d(dropout)
            step = stride if index == 1 else 1
            parts[f"conv{index}"] = _conv(channels, width, kernel, step, dilation)
            channels = width
        self.convs = nn.Sequential(parts)
        self.proj_conv: nn.Module | None = None
        if stride != 1 or in_channels != channels:
            self.proj_conv = _conv(in_channels, channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, widths[-1], h / stride, w / stride)."""
        activated = self.bn1(x)
        shortcut = x if self.proj_conv is None else self.proj_conv(activated)
        out: Tensor = self.convs(activated) + shortcut
        return out


class WideResNet(Backbone):
    """The feature extractor of WideResNet-38, model A of the paper, up to its 4096 channels.

    Stages of 3, 3, 6, 3, 1 and 1 blocks after a 3x3 convolution at full size. The norm after the
    last stage, which precedes the classifier, is left out, as in the release of GFF.

    Attributes:
        stage_channels: channels of the three maps.
        stage_strides: their strides.
    """

    KEY_MAP = (
        (r"^(classifier|fc|bn_out)\.", None),
        # keys of files with norm and activation in one module
        (r"(\.bn\d)\.(weight|bias|running_mean|running_var|num_batches_tracked)$", r"\1.0.\2"),
    )
    out_channels = 4096

    def __init__(self) -> None:
        super().__init__()
        self.stage_channels = (128, 1024, 4096)
        self.stage_strides = (2, 8, 8)
        self.mod1 = nn.Sequential(OrderedDict(conv1=_conv(3, 64, 3)))
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = 64
        for name, count, widths, stride, dilation, dropout in STAGES:
            blocks: OrderedDict[str, nn.Module] = OrderedDict()
            for index in range(count):
                step = 1 if index else stride
                block = PreActivationBlock(channels, widths, step, dilation, dropout)
                blocks[f"block{index + 1}"] = block
                channels = widths[-1]
            self.add_module(name, nn.Sequential(blocks))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def maps(self, image: Tensor) -> list[Tensor]:
        """Return the maps of mod2, mod5 and mod7: (N, stage_channels[i], h, w), not activated.

        Args:
            image: (N, 3, H, W); a side of n becomes ceil(n / 2) at every stride.
        """
        x, maps = self.mod1(image), []
        for name, *_ in STAGES:
            if name in ("mod2", "mod3"):
                x = self.pool(x)
            x = self.get_submodule(name)(x)
            if name in READ:
                maps.append(x)
        return maps

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, 3, H, W) to the last stage's (N, 4096, H / 8, W / 8)."""
        return self.maps(image)[-1]


def _norm_relu(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def _conv(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, dilation: int = 1
) -> nn.Conv2d:
    dilation = dilation if kernel > 1 else 1
    padding = dilation * (kernel // 2)
    return nn.Conv2d(
        in_channels, out_channels, kernel, stride, padding, dilation=dilation, bias=False
    )
