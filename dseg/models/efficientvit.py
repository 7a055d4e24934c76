"""EfficientViT-Seg: linear attention, and a sum of three maps (Cai et al., ICCV 2023).

    image (N,3,H,W)
      -> backbone    inverted bottlenecks, multi-scale linear attention in the last stages;
                     maps at 1/8, 1/16 and 1/32
      -> head        lateral 1x1 each, resized to 1/8, added     (N,C,H/8,W/8)
                     one or three bottlenecks, B sizes 1x1       (N,C or 4C,H/8,W/8)
      -> classifier  1x1                                         (N,K,H/8,W/8)
      -> to the image's size

All interpolation is bicubic.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from torch import Tensor, nn

from dseg.models.base import KeyMap, SegModel
from dseg.nn.backbones import efficientvit as backbones
from dseg.nn.backbones.efficientvit import (
    LARGE_KEYS,
    SMALL_KEYS,
    fused_bottleneck,
    inverted_bottleneck,
)
from dseg.nn.bicubic import resize_bicubic
from dseg.nn.conv import conv_norm_act, init_convs
from dseg.protocol import Upsample

HEAD_KEYS: KeyMap = (
    (r"^head\.input_ops\.(\d)(\.0)?\.", r"head.lateral.\1."),
    (r"^head\.middle\.", "head.refine."),
)
HEADS = {"b0": (32, 1), "b1": (64, 3), "b2": (96, 3), "l1": (256, 3)}  # channels, bottlenecks


class EfficientViT(SegModel):
    """The network of sizes B0 to B2.

    The release upsamples maps by factors and only accepts images whose maps then fit; here they are
    resized to the finest map's size, which is equal for such images.

    Args:
        num_classes: number of outputs.
        size: ``b0``, ``b1`` or ``b2``.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        *SMALL_KEYS,
        *HEAD_KEYS,
        (r"^head\.output_ops\.0\.0\.", "head.widen."),
        (r"^head\.output_ops\.0\.1\.conv\.", "classifier."),
    )
    align_corners: ClassVar[bool] = False
    upsampling: ClassVar[Upsample] = "bicubic"

    def __init__(self, num_classes: int, size: str = "b0"):
        super().__init__()
        self.backbone = backbones.EfficientViT(size)
        self.head = Head(size)
        self.classifier = nn.Conv2d(self.head.out_channels, num_classes, 1)
        init_convs(self)

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the logits at 1/8 of the image."""
        return [self.classifier(self.head(self.backbone.maps(image)))]


class EfficientViTLarge(EfficientViT):
    """The network of size L1, with full convolutions at high resolution and GELU.

    Args:
        num_classes: number of outputs.
        size: ``l1``.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        *LARGE_KEYS,
        *HEAD_KEYS,
        (r"^head\.output_ops\.0\.0\.conv\.", "classifier."),
    )

    def __init__(self, num_classes: int, size: str = "l1"):
        super().__init__(num_classes, size)


class Head(nn.Module):
    """Add the backbone's maps at the size of the finest, and refine the sum (section 3.2).

    Args:
        size: size of the network.

    Attributes:
        out_channels: channels of the result.
    """

    def __init__(self, size: str):
        super().__init__()
        config = backbones.CONFIGS[size]
        channels, depth = HEADS[size]
        act, eps = config.act, config.eps
        lateral = (conv_norm_act(c, channels, 1, eps=eps) for c in config.widths[:1:-1])
        self.lateral = nn.ModuleList(lateral)  # the coarsest map's first
        block = (
            partial(fused_bottleneck, channels, channels, 1)
            if config.large
            else partial(inverted_bottleneck, channels, channels, 4)
        )
        self.refine = nn.Sequential(*(block(act=act, eps=eps) for _ in range(depth)))
        self.out_channels = channels if config.large else 4 * channels
        self.widen: nn.Module = nn.Identity()
        if not config.large:
            self.widen = conv_norm_act(channels, 4 * channels, 1, act=act(), eps=eps)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Map maps at 1/8, 1/16 and 1/32 to (N, out_channels, H/8, W/8)."""
        coarse, middle, finest = (
            lateral(x) for lateral, x in zip(self.lateral, reversed(maps), strict=True)
        )
        height, width = finest.shape[-2:]
        for x in (middle, coarse):
            finest = finest + resize_bicubic(x, (height, width))
        out: Tensor = self.widen(self.refine(finest))
        return out
