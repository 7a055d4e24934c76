"""GALD-Net: global context, distributed to each position by a mask (Li et al., BMVC 2019).

    image (N,3,H,W)
      -> backbone    ResNet with a deep stem, stride 8    (N,2048,h,w)
      -> context     3x3 -> global aggregation, local     (N,512,h,w)
                     distribution -> 3x3, joined to the backbone's map
      -> classifier  1x1                                  (N,K,h,w)
         aux         on the third stage, in training      (N,K,h,w)

This is the release's version, with a compact non-local module for aggregation. Its demo always
predicts at 1024x2048; here masks have the image's size.
"""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from dseg.models.base import KeyMap
from dseg.models.dilated import AUX_KEYS, EMBEDDED_KEYS, TOP_LEVEL_KEYS, DilatedNetwork
from dseg.nn.backbones.resnet import MULTI_GRID, STEM_KEYS, ResNet
from dseg.nn.context import EmbeddedContext
from dseg.nn.conv import fcn_head
from dseg.nn.gald import GALD_KEYS, GALDBlock


class GALDNet(DilatedNetwork):
    """The release's network, 47.7 M parameters on ResNet-50.

    Args:
        num_classes: number of outputs.
        depth: depth of the ResNet, 50 or 101.
        aux: add the auxiliary head, read in training only.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        *TOP_LEVEL_KEYS,
        *STEM_KEYS,
        *AUX_KEYS,
        *EMBEDDED_KEYS,
        (r"^head\.a2block\.", "context.attend."),
        *GALD_KEYS,
    )
    # three unpadded strided convolutions need 15 rows and columns at 1/8
    min_size: ClassVar[int] = 111

    def __init__(self, num_classes: int, depth: int = 50, aux: bool = False):
        super().__init__(
            ResNet(depth, 8, stem_width=64, ceil_mode=True, layout=MULTI_GRID),
            EmbeddedContext(2048, 512, GALDBlock(512, 256)),
            nn.Conv2d(512, num_classes, 1),
            fcn_head(1024, num_classes, mid=512, bias=True, of_maps=True) if aux else None,
        )
