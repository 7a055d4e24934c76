"""DF-Seg: a searched backbone with a decoder of 1x1 and 3x3 convolutions (Li et al., CVPR 2019).

image (N,3,H,W)
  -> backbone    DF-Net 1: strides 16 32 32; DF-Net 2: strides 8 16 32
  -> context     of the coarsest map: pyramid pooling 1 2 3 6, 1x1       (N,128,h,w)
  -> fuse4       with the middle map, each through a 1x1; 3x3            (N,128,..)
  -> fuse3       with the finest map, each through a 1x1; 3x3            (N,128,..)
  -> head        3x3                                                     (N,128,H/16 or H/8,..)
  -> classifier  1x1
  -> to the image's size
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from dseg.models.base import KeyMap, SegModel
from dseg.nn.backbones.dfnet import DFNet
from dseg.nn.conv import conv_norm_act, init_convs
from dseg.nn.fuse import resize_like
from dseg.nn.pooling import RELEASE_KEYS, PoolingPyramid, pooling_context

WIDTH = 128  # channels of the whole decoder


class DFSeg(SegModel):
    """The network of the release, 9.2 M (version 1) and 18.7 M (version 2) parameters.

    It has no auxiliary head, like the release's network, although the release's trainer needs one.

    Args:
        num_classes: number of outputs.
        version: version of the backbone, 1 or 2.
        context_padding: padding of the 1x1 convolution after the pooling pyramid. The release's 1
            adds a border with the norm's shift, which resizing squeezes onto the next map.

    Raises:
        DsegError: unsupported version.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"^backbone\.fc\.", None),  # the ImageNet classifier, never read
        (r"^ppm\.", "context."),
        *RELEASE_KEYS,
        (r"^cc([345])\.", r"control\1."),
        (r"^fn([34])\.fusion\.", r"fuse\1."),
        (r"^fc\.0\.", "head.conv."),
        (r"^fc\.1\.", "head.norm."),
        (r"^fc\.4\.", "classifier."),
    )

    def __init__(self, num_classes: int, version: int, context_padding: int = 1):
        super().__init__()
        self.backbone = DFNet(version)
        finest, middle, coarsest = self.backbone.stage_channels
        pyramid = PoolingPyramid(coarsest, WIDTH, relu=False, input_last=True)
        self.context = pooling_context(pyramid, WIDTH, 1, padding=context_padding, dropout=0.1)
        self.control5 = nn.Conv2d(WIDTH, WIDTH, 1)
        self.control4 = nn.Conv2d(middle, WIDTH, 1)
        self.control3 = nn.Conv2d(finest, WIDTH, 1)
        self.fuse4 = nn.Conv2d(2 * WIDTH, WIDTH, 3, padding=1, bias=False)
        self.fuse3 = nn.Conv2d(2 * WIDTH, WIDTH, 3, padding=1, bias=False)
        self.head = conv_norm_act(WIDTH, WIDTH, 3, bias=True, act=nn.ReLU(inplace=True))
        self.dropout = nn.Dropout2d(0.1)
        self.classifier = nn.Conv2d(WIDTH, num_classes, 1)
        init_convs(self, skip="backbone.")

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the logits at 1/16 (version 1) or 1/8 (version 2) of the image."""
        finest, middle, coarsest = self.backbone.maps(image)
        x = self.control5(self.context(coarsest))
        x = self.fuse4(_concat_at(x, self.control4(middle)))
        x = self.fuse3(_concat_at(x, self.control3(finest)))
        return [self.classifier(self.dropout(self.head(x)))]


def _concat_at(coarse: Tensor, fine: Tensor) -> Tensor:
    """Concatenate two maps at the size of the second."""
    return torch.cat([resize_like(coarse, fine, True), fine], 1)
