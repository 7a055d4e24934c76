"""MSFNet: pooled maps of all stages fused at each stride (Si et al., arXiv 1911.07217).

    image (N,3,H,W)
      -> backbone    ResNet-18, maps at 1/4, 1/8, 1/16 and 1/32
      -> context     beside each its averages; those of one size fused: 1/8 to 1/512   (N,C,h,w)
      -> segment, border    two streams up to 1/8, without exchange                (N,C,H/8,W/8)
      -> fuse        both concatenated, 1x1                                        (N,C,H/8,W/8)
      -> classifier  1x1                                                           (N,K,H/8,W/8)
      -> to the image's size

The authors published no code, and this was written with a part of the paper's text only. From the
paper: the backbone; spatial aware pooling after every stage, with stride s and kernel 2 s + 1, to
five sizes, of which that at 1/4 is left out; fusion of what has one size; upsampling from 1/8; a
class boundary supervision. Chosen here: averages; the stage's own map as the first of its sizes;
128 channels; concatenation and 1x1 within a size, addition and 3x3 between sizes; two streams, of
which the second is supervised at boundaries and both are read by the classifier.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dseg.models.base import SegModel
from dseg.nn.backbones.resnet import ResNet
from dseg.nn.conv import conv_norm_act, init_convs
from dseg.nn.fuse import resize_like

STRIDES = (2, 4, 8, 16)  # of the pooling


class MSFNet(SegModel):
    """The network of the paper on ResNet-18.

    A map of one cell has one value a channel: crops of up to 512 need batches of two and more.

    Args:
        num_classes: number of outputs.
        aux: add the classifier of class boundary supervision, read in training only.
        depth: depth of the ResNet.
        width: channels of all that follows it.
    """

    align_corners: ClassVar[bool] = False
    classifiers = ("classifier.", "aux.")

    def __init__(self, num_classes: int, aux: bool = False, depth: int = 18, width: int = 128):
        super().__init__()
        self.backbone = ResNet(depth)
        self.context = MultiFeaturesFusion(self.backbone.stage_channels, width)
        steps = len(self.context.reduce) - 1
        self.segment = UpsamplingStream(width, steps)
        self.border = UpsamplingStream(width, steps)
        self.fuse = conv_norm_act(2 * width, width, 1, act=nn.ReLU(inplace=True))
        self.classifier = nn.Conv2d(width, num_classes, 1)
        self.aux = nn.Conv2d(width, num_classes, 1) if aux else None
        init_convs(self, skip="backbone.")

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the logits at 1/8 of the image, in training the border stream's after them."""
        maps = self.context(self.backbone.maps(image))
        segment, border = self.segment(maps), self.border(maps)
        scores = [self.classifier(self.fuse(torch.cat([segment, border], 1)))]
        if self.aux is not None and self.training:
            scores.append(self.aux(border))
        return scores


class MultiFeaturesFusion(nn.Module):
    """All stages' maps and their averages, those of the same stride concatenated and reduced.

    Args:
        in_channels: channels of the stages, finest first.
        width: channels of each fused map.
    """

    def __init__(self, in_channels: Sequence[int], width: int):
        super().__init__()
        self.reduce = nn.ModuleList()
        for place in range(1, len(in_channels) + len(STRIDES)):
            read = sum(in_channels[stage] for stage in self._stages(place, len(in_channels)))
            self.reduce.append(conv_norm_act(read, width, 1, act=nn.ReLU(inplace=True)))

    @staticmethod
    def _stages(place: int, count: int) -> range:
        """Return the stages that have a map of the first stage's stride times 2^place."""
        return range(max(0, place - len(STRIDES)), min(place + 1, count))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Map four stages' (N, in_channels[i], h, w) to (N, width, h, w), finest first.

        The finest is of the second stage's size, each next one half of that, rounded up.
        """
        pooled = [spatial_aware_pooling(x) for x in maps]
        fused = []
        for place, reduce in enumerate(self.reduce, start=1):
            stages = self._stages(place, len(maps))
            fused.append(reduce(torch.cat([pooled[i][place - i] for i in stages], 1)))
        return fused


class UpsamplingStream(nn.Module):
    """From the coarsest of several maps up to the finest: doubled, added to the next, 3x3.

    Args:
        channels: channels of all maps.
        steps: one less than there are maps.
    """

    def __init__(self, channels: int, steps: int):
        super().__init__()
        self.steps = nn.ModuleList(
            conv_norm_act(channels, channels, 3, act=nn.ReLU(inplace=True)) for _ in range(steps)
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Map (N, channels, h, w) each, finest first, to one of the first's size."""
        *finer, x = maps
        for step, skip in zip(self.steps, reversed(finer), strict=True):
            x = step(skip + resize_like(x, skip, align_corners=False))
        return x


def spatial_aware_pooling(x: Tensor) -> list[Tensor]:
    """Return a map and its averages over windows of 2 s + 1 every s places, s of ``STRIDES``.

    Windows overlap, and count only what lies within the map: (N, C, h / s, w / s), rounded up.
    """
    pooled = [
        F.avg_pool2d(x, 2 * stride + 1, stride, padding=stride, count_include_pad=False)
        for stride in STRIDES
    ]
    return [x, *pooled]
