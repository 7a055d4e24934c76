"""DeepLabV3: an atrous pyramid with global pooling (Chen et al., arXiv 1706.05587).

    image (N,3,H,W)
      -> backbone    ResNet, stride 8                        (N,2048,h,w)
      -> context     1x1, 3x3 at rates 12, 24, 36, mean;     (N,256,h,w)
                     1x1, 3x3
      -> classifier  1x1                                     (N,K,h,w)
         aux         on the third stage, in training         (N,K,h,w)

``DeepLabV3`` is torchvision's version and loads its files; ``TramacDeepLabV3`` is a model zoo's,
with a deep stem.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar

from torch import nn

from dseg.models.base import KeyMap
from dseg.models.dilated import AUX_KEYS, TRAMAC_KEYS, DilatedNetwork
from dseg.nn.backbones.resnet import ResNet
from dseg.nn.conv import conv_norm_act, fcn_head
from dseg.nn.pyramid import AtrousPyramid

# keys of numbered layers in both versions, to ours
PYRAMID_KEYS: KeyMap = (
    (r"^(context\.(?:pyramid\.(?:rate\d+|pooled\.1)|project|refine))\.0\.", r"\1.conv."),
    (r"^(context\.(?:pyramid\.(?:rate\d+|pooled\.1)|project|refine))\.1\.", r"\1.norm."),
)


class DeepLabV3(DilatedNetwork):
    """Torchvision's version: deeplabv3_resnet50 and deeplabv3_resnet101.

    Args:
        num_classes: number of outputs.
        depth: depth of the ResNet, 50 or 101.
        aux: add the auxiliary head, read in training only.
        stem_width: see ``ResNet``.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        *AUX_KEYS,
        (r"^classifier\.4\.", "classifier."),
        (r"^classifier\.1\.", "context.refine.conv."),
        (r"^classifier\.2\.", "context.refine.norm."),
        (r"^classifier\.0\.convs\.0\.", "context.pyramid.rate1."),
        (r"^classifier\.0\.convs\.1\.", "context.pyramid.rate12."),
        (r"^classifier\.0\.convs\.2\.", "context.pyramid.rate24."),
        (r"^classifier\.0\.convs\.3\.", "context.pyramid.rate36."),
        (r"^classifier\.0\.convs\.4\.1\.", "context.pyramid.pooled.1.conv."),
        (r"^classifier\.0\.convs\.4\.2\.", "context.pyramid.pooled.1.norm."),
        (r"^classifier\.0\.project\.", "context.project."),
        *PYRAMID_KEYS,
    )
    align_corners: ClassVar[bool] = False

    def __init__(
        self, num_classes: int, depth: int = 50, aux: bool = False, *, stem_width: int = 0
    ):
        super().__init__(
            ResNet(depth, 8, stem_width=stem_width),
            _atrous_context(),
            nn.Conv2d(256, num_classes, 1),
            fcn_head(1024, num_classes) if aux else None,
        )


class TramacDeepLabV3(DeepLabV3):
    """The model zoo's version: a deep stem, and logits upsampled with align_corners.

    Args:
        num_classes: number of outputs.
        depth: depth of the ResNet, 50 or 101.
        aux: add the auxiliary head, read in training only.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        *TRAMAC_KEYS,
        (r"^head\.block\.4\.", "classifier."),
        (r"^head\.block\.", "context.refine."),
        (r"^head\.aspp\.b0\.", "context.pyramid.rate1."),
        (r"^head\.aspp\.b1\.block\.", "context.pyramid.rate12."),
        (r"^head\.aspp\.b2\.block\.", "context.pyramid.rate24."),
        (r"^head\.aspp\.b3\.block\.", "context.pyramid.rate36."),
        (r"^head\.aspp\.b4\.gap\.1\.", "context.pyramid.pooled.1.conv."),
        (r"^head\.aspp\.b4\.gap\.2\.", "context.pyramid.pooled.1.norm."),
        (r"^head\.aspp\.project\.", "context.project."),
        *PYRAMID_KEYS,
    )
    align_corners: ClassVar[bool] = True

    def __init__(self, num_classes: int, depth: int = 50, aux: bool = False):
        super().__init__(num_classes, depth, aux, stem_width=64)


def _atrous_context() -> nn.Sequential:
    """Build the pyramid, its projection, and a 3x3 convolution: 2048 to 256 channels."""
    pyramid = AtrousPyramid(2048)
    return nn.Sequential(
        OrderedDict(
            pyramid=pyramid,
            project=conv_norm_act(pyramid.out_channels, 256, 1, act=nn.ReLU(inplace=True)),
            dropout=nn.Dropout(0.5),
            refine=conv_norm_act(256, 256, 3, act=nn.ReLU(inplace=True)),
        )
    )
