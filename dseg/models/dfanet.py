"""DFANet: three light encoders in a chain, their features aggregated (Li et al., CVPR 2019).

    image (N,3,H,W)
      -> backbone   Xception-A; enc2 (48), enc3 (96), enc4 (192) at 1/4, 1/8, 1/16, attention
      -> context.0  reads backbone's enc2 and its attention upsampled x4, then concatenates
                    backbone's enc3, enc4 to its own enc2, enc3; maps at 1/8, 1/16, 1/32
      -> context.1  the same on context.0; maps at 1/16, 1/32, 1/64
      -> fuse       sum of the three enc2, 1x1; plus the sum of the three attentions   (N,32,H/4)
      -> classifier 1x1                                                                (N,K,H/4)

The paper calls reading the attention of the previous encoder sub-network aggregation, and the
concatenation of equal stages sub-stage aggregation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from dseg.models.base import KeyMap, SegModel
from dseg.nn.backbones.xception import STAGES, XceptionA, XceptionEncoder
from dseg.nn.conv import conv_norm_act, fcn_head, init_convs
from dseg.nn.fuse import resize_like

ENCODERS = 3


class DFANet(SegModel):
    """DFANet A, on Xception-A.

    The release only accepts sides that are multiples of 64 or up to 3 less, since it doubles maps;
    here they are resized to another map's size, which is equal for such sides.

    Args:
        num_classes: number of outputs.
        aux: add heads on the upsampled attention maps of the first two encoders, at 1/4 and 1/8,
            read in training only.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        *XceptionA.KEY_MAP,
        (r"^enc3_4\.", "context.1.enc4."),
        (r"^enc(\d)_2\.", r"context.0.enc\1."),
        (r"^enc(\d)_3\.", r"context.1.enc\1."),
        (r"^fca_2\.", "context.0.attention."),
        (r"^fca_3\.", "context.1.attention."),
        (r"^enc2_1_reduce\.", "fuse.detail.0."),
        (r"^enc2_2_reduce\.", "fuse.detail.1."),
        (r"^enc2_3_reduce\.", "fuse.detail.2."),
        (r"^fca_1_reduce\.", "fuse.depth.0."),
        (r"^fca_2_reduce\.", "fuse.depth.1."),
        (r"^fca_3_reduce\.", "fuse.depth.2."),
        (r"^conv_fusion\.", "fuse.merge."),
        (r"^(fuse\..*)\.bn\.", r"\1.norm."),
        (r"^conv_out\.", "classifier."),
        (r"^dsn1\.", "aux.0."),
        (r"^dsn2\.", "aux.1."),
        (r"^(aux\.\d)\.0\.", r"\1.reduce.conv."),
        (r"^(aux\.\d)\.1\.", r"\1.reduce.norm."),
        (r"^(aux\.\d)\.4\.", r"\1.classifier."),
    )
    classifiers = ("classifier.", "aux.0.classifier.", "aux.1.classifier.")

    def __init__(self, num_classes: int, aux: bool = False):
        super().__init__()
        second, third, fourth = (channels for channels, _ in STAGES)
        self.backbone = XceptionA()
        self.context = nn.ModuleList(
            XceptionEncoder(second + fourth, (third, fourth)) for _ in range(ENCODERS - 1)
        )
        self.fuse = FusionStage(second, fourth, 32)
        self.classifier = nn.Conv2d(32, num_classes, 1)
        self.aux: nn.ModuleList | None = None
        if aux:
            heads = (fcn_head(fourth, num_classes, mid=fourth, bias=True) for _ in self.context)
            self.aux = nn.ModuleList(heads)
        init_convs(self)

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the logits at 1/4 of the image, in training the auxiliary ones after them.

        The auxiliary logits are at 1/4 and 1/8.
        """
        maps = self.backbone.maps(image)
        details, depths, read = [maps[0]], [maps[3]], []
        for encoder in self.context:
            second, third, fourth, attention = maps
            read.append(resize_like(attention, second, True))
            maps = encoder(torch.cat([second, read[-1]], 1), (third, fourth))
            details.append(maps[0])
            depths.append(maps[3])
        scores = [self.classifier(self.fuse(details, depths))]
        if self.aux is not None and self.training:
            scores += [head(x) for head, x in zip(self.aux, read, strict=True)]
        return scores


class FusionStage(nn.Module):
    """The decoder: sum the encoders' first maps, then add their last ones.

    Args:
        detail, depth: channels of the first and of the last maps.
        channels: output channels.
    """

    def __init__(self, detail: int, depth: int, channels: int):
        super().__init__()
        self.detail = nn.ModuleList(_project(detail, channels) for _ in range(ENCODERS))
        self.depth = nn.ModuleList(_project(depth, channels) for _ in range(ENCODERS))
        self.merge = _project(channels, channels)

    def forward(self, details: Sequence[Tensor], depths: Sequence[Tensor]) -> Tensor:
        """Map (N, detail, ...) and (N, depth, ...) to (N, channels, h, w) of the first detail."""
        x = _sum_resized(self.detail, details, details[0])
        out: Tensor = self.merge(x) + _sum_resized(self.depth, depths, details[0])
        return out


def _project(in_channels: int, out_channels: int) -> nn.Sequential:
    return conv_norm_act(in_channels, out_channels, 1, act=nn.ReLU(inplace=True))


def _sum_resized(layers: nn.ModuleList, maps: Sequence[Tensor], like: Tensor) -> Tensor:
    pairs = zip(layers, maps, strict=True)
    first, *others = (resize_like(layer(x), like, True) for layer, x in pairs)
    return sum(others, first)
