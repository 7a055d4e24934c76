"""MSFNet: pooled maps of all stages fused at each stride (Si et al., arXiv 1911.07217).

    image (N,3,H,W)
      -> backbone    ResNet-18, maps at 1/4, 1/8, 1/16 and 1/32
      -> context     maps and their averages, fused by size: 1/8 to 1/512              (N,C,h,w)
      -> segment, border    two separate streams up to 1/8                         (N,C,H/8,W/8)
      -> fuse        both concatenated, 1x1                                        (N,C,H/8,W/8)
      -> classifier  1x1                                                           (N,K,H/8,W/8)
      -> to the image's size

The authors published no code, and this was written from a part of the paper's text only. From the
paper: the backbone; spatial aware pooling after every stage, with stride s and kernel 2 s + 1, to
five sizes, of which that at 1/4 is left out; fusion of maps of equal size; upsampling from 1/8; a
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

STRIDES = (2, 4, 8, 16)  # strides of the pooling


class MSFNet(SegModel):
    """The network of the paper on ResNet-18.

    Crops of up to 512 give maps with one value per channel, so that training needs batches of at
    least two.

    Args:
        num_classes: number of outputs.
        aux: add the classifier of class boundary supervision, read in training only.
        depth: depth of the ResNet.
        width: channels after the ResNet.
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
    """Concatenate and reduce all stages' maps and averages of the same stride.

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
        """Return the stages with a map of the first stage's stride times 2^place."""
        return range(max(0, place - len(STRIDES)), min(place + 1, count))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Map four stages' (N, in_channels[i], h, w) to (N, width, h, w), finest first.

        The finest has the second stage's size, each next one half of the previous, rounded up.
        """
        pooled = [spatial_aware_pooling(x) for x in maps]
        fused = []
        for place, reduce in enumerate(self.reduce, start=1):
            stages = self._stages(place, len(maps))
            fused.append(reduce(torch.cat([pooled[i][place - i] for i in stages], 1)))
        return fused


class UpsamplingStream(nn.Module):
    """From the coarsest map to the finest: upsample, add to the next map, 3x3.

    Args:
        channels: channels of all maps.
        steps: number of maps minus one.
    """

    def __init__(self, channels: int, steps: int):
        super().__init__()
        self.steps = nn.ModuleList(
            conv_norm_act(channels, channels, 3, act=nn.ReLU(inplace=True)) for _ in range(steps)
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Fuse maps (N, channels, h, w), finest first, into one of the first map's size."""
        *finer, x = maps
        for step, skip in zip(self.steps, reversed(finer), strict=True):
            x = step(skip + resize_like(x, skip, align_corners=False))
        return x


def spatial_aware_pooling(x: Tensor) -> list[Tensor]:
    """Return a map and its averages over windows of 2 s + 1 with stride s, for s in ``STRIDES``.

    Windows overlap and exclude padding; sizes are (N, C, h / s, w / s), rounded up.
    """
    pooled = [
        F.avg_pool2d(x, 2 * stride + 1, stride, padding=stride, count_include_pad=False)
        for stride in STRIDES
    ]
    return [x, *pooled]
