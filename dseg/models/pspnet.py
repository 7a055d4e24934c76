"""PSPNet: averages over increasingly fine grids as context (Zhao et al., CVPR 2017).

    image (N,3,H,W)
      -> backbone    ResNet with a deep stem, stride 8    (N,2048,h,w)
      -> context     pyramid of 1, 2, 3 and 6 cells, 3x3  (N,512,h,w)
      -> classifier  1x1                                  (N,K,h,w)
         aux         on the third stage, in training      (N,K,h,w)

``PSPNet`` is the author's version, ``GALDPSPNet`` that of the GALD and Fast_Seg releases, and
``TramacPSPNet`` that of a model zoo. They differ in the stem's pooling, in the dilation of the
stages' first blocks, and in the pyramid's activations and order.
"""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from dseg.models.base import KeyMap
from dseg.models.dilated import (
    AUX_KEYS,
    SEMSEG_KEYS,
    TOP_LEVEL_KEYS,
    TRAMAC_KEYS,
    DilatedNetwork,
)
from dseg.nn.backbones.resnet import DEEP_STEM_KEYS, DILATED, ResNet
from dseg.nn.conv import fcn_head
from dseg.nn.pooling import RELEASE_KEYS, PoolingPyramid, pooling_context


class PSPNet(DilatedNetwork):
    """The author's version; an image side of n gives logits of side ceil(n / 8).

    The release only accepts sides of 8 k + 1, and resizes the same logits to them.

    Args:
        num_classes: number of outputs.
        depth: depth of the ResNet, 50 or 101.
        aux: add the auxiliary head, read in training only.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        *SEMSEG_KEYS,
        (r"^ppm\.features\.", "context.stages."),
        (r"^cls\.", "context.bottleneck."),
        *RELEASE_KEYS,
    )

    def __init__(self, num_classes: int, depth: int = 50, aux: bool = False):
        super().__init__(
            ResNet(depth, 8, stem_width=64, layout=DILATED),
            pooling_context(PoolingPyramid(2048, 512), 512, 3, dropout=0.1),
            nn.Conv2d(512, num_classes, 1),
            fcn_head(1024, num_classes, of_maps=True) if aux else None,
        )


class GALDPSPNet(DilatedNetwork):
    """The version of GALD-Net's authors: no ReLU in the pyramid, feature concatenated last.

    Args:
        num_classes: number of outputs.
        depth: depth of the ResNet, 50 or 101.
        aux: add the auxiliary head, read in training only.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        *TOP_LEVEL_KEYS,
        *DEEP_STEM_KEYS,
        *AUX_KEYS,
        (r"^head\.1\.", "classifier."),
        (r"^head\.0\.", "context."),
        *RELEASE_KEYS,
    )

    def __init__(self, num_classes: int, depth: int = 50, aux: bool = False):
        pyramid = PoolingPyramid(2048, 512, relu=False, input_last=True)
        super().__init__(
            ResNet(depth, 8, stem_width=64, ceil_mode=True, layout=DILATED),
            pooling_context(pyramid, 512, 3, dropout=0.1),
            nn.Conv2d(512, num_classes, 1),
            fcn_head(1024, num_classes, mid=512, bias=True, of_maps=True) if aux else None,
        )


class TramacPSPNet(DilatedNetwork):
    """The model zoo's version: the first block of a dilated stage has the previous stage's rate.

    Args:
        num_classes: number of outputs.
        depth: depth of the ResNet, 50 or 101.
        aux: add the auxiliary head, read in training only.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        *TRAMAC_KEYS,
        (r"^head\.block\.4\.", "classifier."),
        (r"^head\.block\.0\.", "context.reduce.conv."),
        (r"^head\.block\.1\.", "context.reduce.norm."),
        (r"^head\.psp\.conv([123])\.", r"context.pyramid.size\1."),
        (r"^head\.psp\.conv4\.", "context.pyramid.size6."),
        (r"^(context\.pyramid\.size\d)\.0\.", r"\1.conv."),
        (r"^(context\.pyramid\.size\d)\.1\.", r"\1.norm."),
    )

    def __init__(self, num_classes: int, depth: int = 50, aux: bool = False):
        super().__init__(
            ResNet(depth, 8, stem_width=64),
            pooling_context(PoolingPyramid(2048, 512), 512, 3, dropout=0.1),
            nn.Conv2d(512, num_classes, 1),
            fcn_head(1024, num_classes) if aux else None,
        )
