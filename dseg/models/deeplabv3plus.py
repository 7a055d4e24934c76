"""DeepLabV3+: DeepLabV3's pyramid, refined by a fine map (Chen et al., ECCV 2018).

    image (N,3,H,W)
      -> backbone    ResNet, maps at 1/4 (first stage) and 1/8   (N,256,H/4) (N,2048,h,w)
      -> context     mean, 1x1, 3x3 at rates 12, 24, 36; 1x1     (N,256,h,w)
      -> fuse        with the fine map, 1x1 to 48; two 3x3       (N,256,H/4,W/4)
      -> classifier  1x1                                         (N,K,H/4,W/4)

``DeepLabV3Plus`` is the version of GALD-Net's authors with a deep stem, trained on the main output
only; ``PlainStemDeepLabV3Plus`` is its predecessor with the 7x7 stem. The former's evaluation
divides overlapping tiles by counts of the wrong axes, which amounts to a sum; ours averages them.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar

import torch
from torch import Tensor, nn

from dseg.models.base import KeyMap, SegModel
from dseg.models.dilated import TOP_LEVEL_KEYS
from dseg.nn.backbones.resnet import DILATED, ResNet
from dseg.nn.conv import init_convs, two_3x3
from dseg.nn.fuse import resize_like
from dseg.nn.pyramid import ATROUS_KEYS, AtrousPyramid

HEAD_KEYS: KeyMap = (
    *ATROUS_KEYS,
    (r"^bot_aspp\.", "context.project."),
    (r"^bot_fine\.", "fine."),
    (r"^final\.6\.", "classifier."),
    (r"^final\.0\.", "fuse.0.conv."),
    (r"^final\.1\.", "fuse.0.norm."),
    (r"^final\.3\.", "fuse.1.conv."),
    (r"^final\.4\.", "fuse.1.norm."),
)


class DeepLabV3Plus(SegModel):
    """The version on the deep stem: neither projection has a norm, the classifier no bias.

    Args:
        num_classes: number of outputs.
        depth: depth of the ResNet, 50 or 101.
        stem_width: see ``ResNet``.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"^layer0\.0\.", "backbone.conv1."),
        (r"^layer0\.1\.", "backbone.conv1.7."),
        *TOP_LEVEL_KEYS,
        *HEAD_KEYS,
    )

    def __init__(self, num_classes: int, depth: int = 50, *, stem_width: int = 64):
        super().__init__()
        self.backbone = ResNet(depth, 8, stem_width=stem_width, layout=DILATED)
        pyramid = AtrousPyramid(2048, pooled_first=True)
        project = nn.Conv2d(pyramid.out_channels, 256, 1, bias=False)
        self.context = nn.Sequential(OrderedDict(pyramid=pyramid, project=project))
        self.fine = nn.Conv2d(256, 48, 1, bias=False)
        self.fuse = two_3x3(48 + 256, 256)
        self.classifier = nn.Conv2d(256, num_classes, 1, bias=False)
        init_convs(self, skip="backbone.")

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the logits at 1/4 of the image."""
        first, *_, last = self.backbone.maps(image)
        fine = self.fine(first)
        context = resize_like(self.context(last), fine, self.align_corners)
        return [self.classifier(self.fuse(torch.cat([fine, context], 1)))]


class PlainStemDeepLabV3Plus(DeepLabV3Plus):
    """The earlier version, on torchvision's ResNet, upsampled without align_corners.

    Args:
        num_classes: number of outputs.
        depth: depth of the ResNet, 50 or 101.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"^backbone\.layer0\.0\.", "backbone.conv1."),
        (r"^backbone\.layer0\.1\.", "backbone.bn1."),
        *HEAD_KEYS,
    )
    align_corners: ClassVar[bool] = False

    def __init__(self, num_classes: int, depth: int = 50):
        super().__init__(num_classes, depth, stem_width=0)
