"""DGCNet: graph convolutions in coordinate and in feature space (Zhang et al., BMVC 2019).

image (N,3,H,W)
  -> backbone    ResNet with a deep stem, stride 8    (N,2048,h,w)
  -> context     3x3 -> dual graph -> 3x3, joined     (N,512,h,w)
                 to the backbone's map
  -> classifier  1x1                                  (N,K,h,w)
     aux         on the third stage, in training      (N,K,h,w)
"""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from dseg.models.base import KeyMap
from dseg.models.dilated import AUX_KEYS, EMBEDDED_KEYS, TOP_LEVEL_KEYS, DilatedNetwork
from dseg.nn.backbones.resnet import MULTI_GRID, STEM_KEYS, ResNet
from dseg.nn.context import EmbeddedContext
from dseg.nn.conv import fcn_head
from dseg.nn.graph import DUAL_GRAPH_KEYS, DualGraph


class DGCNet(DilatedNetwork):
    """The release's network, 48.8 M parameters on ResNet-50.

    Args:
        num_classes: number of outputs.
        depth: depth of the ResNet, 50 or 101.
        aux: add the auxiliary head, without activation as in the release, read in training only.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        *TOP_LEVEL_KEYS,
        *STEM_KEYS,
        *AUX_KEYS,
        *EMBEDDED_KEYS,
        (r"^head\.dualgcn\.", "context.attend."),
        *DUAL_GRAPH_KEYS,
    )

    def __init__(self, num_classes: int, depth: int = 50, aux: bool = False):
        super().__init__(
            ResNet(depth, 8, stem_width=64, ceil_mode=True, layout=MULTI_GRID),
            EmbeddedContext(2048, 512, DualGraph(512)),
            nn.Conv2d(512, num_classes, 1),
            fcn_head(1024, num_classes, mid=512, bias=True, slope=None, of_maps=True)
            if aux
            else None,
        )
