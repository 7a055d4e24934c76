"""EfficientViT: inverted bottlenecks and linear attention (Cai et al., ICCV 2023, section 3.2)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from dseg.errors import DsegError
from dseg.nn.backbones.base import Backbone
from dseg.nn.conv import conv_norm_act
from dseg.nn.linear_attention import LinearAttention

Act = Callable[[], nn.Module]
COMMON_KEYS = (
    (r"\.(op_list|main)\b", ""),
    (r"\b(inverted|spatial)_conv\.", "expand."),
    (r"\bdepth_conv\.", "depthwise."),
    (r"\bpoint_conv\.", "project."),
    (r"\bcontext_module\.", "attention."),
    (r"\blocal_module\.", "local."),
    (r"\bqkv\.conv\.", "qkv."),
    (r"\baggreg\.0\.", "aggregate."),
    (r"\bproj\.", "project."),
)
SMALL_KEYS = (  # of B0 to B2, whose first stage has a name of its own
    *COMMON_KEYS,
    (r"\binput_stem\.", "stage0."),
    (r"\bstages\.0\.", "stage1."),
    (r"\bstages\.1\.", "stage2."),
    (r"\bstages\.2\.", "stage3."),
    (r"\bstages\.3\.", "stage4."),
)
LARGE_KEYS = (*COMMON_KEYS, (r"\bstages\.(\d)\.", r"stage\1."))  # of L1


@dataclass(frozen=True)
class Config:
    """One size of the network.

    Attributes:
        widths: channels of the five stages.
        depths: blocks of each stage besides the first layer, which halves the size; in stages 1
            and 2 of the B series with it.
        dim: channels of an attention head.
        large: whether it is of the L series, with full convolutions at high resolution.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    dim: int
    large: bool = False

    @property
    def act(self) -> Act:
        """The activation: Hardswish, or GELU by tanh in the L series."""
        return (
            partial(nn.GELU, approximate="tanh")
            if self.large
            else partial(nn.Hardswish, inplace=True)
        )

    @property
    def eps(self) -> float:
        """The epsilon of the norms, in the L series that of the segmentation release."""
        return 1e-7 if self.large else 1e-5


CONFIGS = {
    "b0": Config((8, 16, 32, 64, 128), (1, 2, 2, 2, 2), 16),
    "b1": Config((16, 32, 64, 128, 256), (1, 2, 3, 3, 4), 16),
    "b2": Config((24, 48, 96, 192, 384), (1, 3, 4, 4, 6), 32),
    "l1": Config((32, 64, 128, 256, 512), (1, 1, 1, 6, 6), 32, large=True),
}


class Residual(nn.Module):
    """Convolutions in a row, added to their input if the shape is the same.

    Args:
        convs: the convolutions by name.
        residual: whether the input is added.
    """

    def __init__(self, convs: Mapping[str, nn.Module], *, residual: bool):
        super().__init__()
        self.residual = residual
        for name, conv in convs.items():
            self.add_module(name, conv)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to the map of the last convolution."""
        out = x
        for conv in self.children():
            out = conv(out)
        return x + out if self.residual else out


def inverted_bottleneck(
    in_channels: int,
    out_channels: int,
    expansion: int,
    *,
    stride: int = 1,
    act: Act,
    eps: float,
    norms: bool = True,
) -> Residual:
    """Build a 1x1 expansion, a depth-wise 3x3 and a linear 1x1: MBConv.

    Args:
        stride: stride of the 3x3; 1 adds the input if the channels are as many.
        norms: whether norms follow the first two; otherwise they have biases.
    """
    mid = in_channels * expansion
    build = partial(conv_norm_act, eps=eps) if norms else _conv_act
    return Residual(
        {
            "expand": build(in_channels, mid, 1, act=act()),
            "depthwise": build(mid, mid, 3, stride=stride, groups=mid, act=act()),
            "project": conv_norm_act(mid, out_channels, 1, eps=eps),
        },
        residual=stride == 1 and in_channels == out_channels,
    )


def fused_bottleneck(
    in_channels: int,
    out_channels: int,
    expansion: int,
    *,
    stride: int = 1,
    act: Act,
    eps: float,
) -> Residual:
    """Build a full 3x3 expansion and a linear 1x1: FusedMBConv.

    Args:
        stride: stride of the 3x3; 1 adds the input if the channels are as many.
    """
    mid = in_channels * expansion
    return Residual(
        {
            "expand": conv_norm_act(in_channels, mid, 3, stride=stride, act=act(), eps=eps),
            "project": conv_norm_act(mid, out_channels, 1, eps=eps),
        },
        residual=stride == 1 and in_channels == out_channels,
    )


class AttentionBlock(nn.Module):
    """Linear attention, then an inverted bottleneck without inner norms, each added to its input.

    Args:
        channels: channels of the map.
        dim: see ``LinearAttention``.
        expansion: expansion of the bottleneck.
    """

    def __init__(self, channels: int, dim: int, expansion: int, *, act: Act, eps: float):
        super().__init__()
        self.attention = LinearAttention(channels, dim, eps=eps)
        self.local = inverted_bottleneck(
            channels, channels, expansion, act=act, eps=eps, norms=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, h, w) to the same shape."""
        out: Tensor = self.local(x + self.attention(x))
        return out


class EfficientViT(Backbone, nn.Sequential):
    """The feature extractor: five stages that halve the size.

    Args:
        size: a key of ``CONFIGS``: ``b0``, ``b1``, ``b2`` or ``l1``.

    Attributes:
        stage_channels: channels of the five stages.

    Raises:
        DsegError: unknown size.
    """

    KEY_MAP = SMALL_KEYS
    OTHER_KEY_MAPS = (LARGE_KEYS,)

    def __init__(self, size: str):
        if size not in CONFIGS:
            raise DsegError(f"EfficientViT has no size {size!r}.", hint=f"sizes: {list(CONFIGS)}.")
        config = CONFIGS[size]
        stages = _large_stages(config) if config.large else _small_stages(config)
        super().__init__(OrderedDict((f"stage{i}", stage) for i, stage in enumerate(stages)))
        self.stage_channels = config.widths
        self.out_channels = config.widths[-1]

    def maps(self, image: Tensor) -> list[Tensor]:
        """Map (N, 3, H, W) to the last three stages' maps, at 1/8, 1/16 and 1/32, rounded up."""
        maps = [image]
        for stage in self:
            maps.append(stage(maps[-1]))
        return maps[3:]


def _small_stages(config: Config) -> list[nn.Sequential]:
    """Build the stages of B0 to B2: attention in the last two."""
    act, eps, widths = config.act, config.eps, config.widths
    first = widths[0]
    stem: list[nn.Module] = [conv_norm_act(3, first, 3, stride=2, act=act(), eps=eps)]
    for _ in range(config.depths[0]):
        separable = {
            "depthwise": conv_norm_act(first, first, 3, groups=first, act=act(), eps=eps),
            "project": conv_norm_act(first, first, 1, eps=eps),
        }
        stem.append(Residual(separable, residual=True))
    stages = [nn.Sequential(*stem)]
    block = partial(inverted_bottleneck, act=act, eps=eps)
    for stage in (1, 2):
        channels = widths[stage]
        rest = (block(channels, channels, 4) for _ in range(config.depths[stage] - 1))
        stages.append(nn.Sequential(block(widths[stage - 1], channels, 4, stride=2), *rest))
    stages += [_attention_stage(config, stage, 4, 4) for stage in (3, 4)]
    return stages


def _large_stages(config: Config) -> list[nn.Sequential]:
    """Build the stages of L1: full convolutions in the first three, attention in the last."""
    act, eps, widths, depths = config.act, config.eps, config.widths, config.depths
    first = widths[0]
    stem: list[nn.Module] = [conv_norm_act(3, first, 3, stride=2, act=act(), eps=eps)]
    for _ in range(depths[0]):
        pair = {
            "conv1": conv_norm_act(first, first, 3, act=act(), eps=eps),
            "conv2": conv_norm_act(first, first, 3, eps=eps),
        }
        stem.append(Residual(pair, residual=True))
    stages = [nn.Sequential(*stem)]
    block = partial(fused_bottleneck, act=act, eps=eps)
    for stage in (1, 2):
        channels = widths[stage]
        rest = (block(channels, channels, 4) for _ in range(depths[stage]))
        stages.append(nn.Sequential(block(widths[stage - 1], channels, 16, stride=2), *rest))
    plain = partial(inverted_bottleneck, act=act, eps=eps, norms=False)
    rest = (plain(widths[3], widths[3], 4) for _ in range(depths[3]))
    stages.append(nn.Sequential(plain(widths[2], widths[3], 16, stride=2), *rest))
    stages.append(_attention_stage(config, 4, 24, 6))
    return stages


def _attention_stage(config: Config, stage: int, first: int, expansion: int) -> nn.Sequential:
    """Build a stage of attention blocks after a bottleneck with stride 2 and expansion ``first``.

    Args:
        expansion: expansion of the bottlenecks in the attention blocks.
    """
    act, eps, channels = config.act, config.eps, config.widths[stage]
    shrink = inverted_bottleneck(
        config.widths[stage - 1], channels, first, stride=2, act=act, eps=eps, norms=False
    )
    blocks = (
        AttentionBlock(channels, config.dim, expansion, act=act, eps=eps)
        for _ in range(config.depths[stage])
    )
    return nn.Sequential(shrink, *blocks)


def _conv_act(
    in_channels: int,
    out_channels: int,
    kernel: int,
    *,
    stride: int = 1,
    groups: int = 1,
    act: nn.Module,
) -> nn.Sequential:
    """Build a convolution with bias and an activation, named ``conv`` and ``act``."""
    conv = nn.Conv2d(
        in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, groups=groups
    )
    return nn.Sequential(OrderedDict(conv=conv, act=act))
