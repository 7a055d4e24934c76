"""CCNet: attention along rows and columns, applied twice (Huang et al., ICCV 2019).

image (N,3,H,W)
  -> backbone    ResNet with a deep stem, stride 8            (N,2048,h,w)
  -> context     3x3, criss-cross attention twice, 3x3;       (N,512,h,w)
                 joined to the backbone's map by another 3x3
  -> classifier  1x1                                          (N,K,h,w)
     aux         on the third stage, in training              (N,K,h,w)
"""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from dseg.models.base import KeyMap
from dseg.models.dilated import AUX_KEYS, EMBEDDED_KEYS, TOP_LEVEL_KEYS, DilatedNetwork
from dseg.nn.attention import CrissCrossAttention
from dseg.nn.backbones.resnet import DEEP_STEM_KEYS, DILATED, ResNet
from dseg.nn.context import EmbeddedContext
from dseg.nn.conv import fcn_head

SLOPE = 0.01  # slope of the release's leaky ReLU; the paper gives none


class CCNet(DilatedNetwork):
    """The network of the release, whose pooling rounds up: 1024x2048 gives logits of 129x257.

    Args:
        num_classes: number of outputs.
        depth: depth of the ResNet, 50 or 101; the paper's is 101.
        aux: add the auxiliary head, read in training only.
        recurrence: applications of the attention, 2 in the paper's best network. Checkpoints do not
            show it.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        *TOP_LEVEL_KEYS,
        *DEEP_STEM_KEYS,
        *AUX_KEYS,
        (r"^head\.cca\.gamma", "context.attend.gamma"),
        (r"^head\.cca\.(query|key|value)_conv\.", r"context.attend.\1."),
        *EMBEDDED_KEYS,
    )

    def __init__(
        self, num_classes: int, depth: int = 50, aux: bool = False, *, recurrence: int = 2
    ):
        attend = CrissCrossAttention(512, recurrence=recurrence)
        super().__init__(
            ResNet(depth, 8, stem_width=64, ceil_mode=True, layout=DILATED),
            EmbeddedContext(2048, 512, attend, slope=SLOPE, dropout=0.1),
            nn.Conv2d(512, num_classes, 1),
            fcn_head(1024, num_classes, mid=512, bias=True, slope=SLOPE, of_maps=True)
            if aux
            else None,
        )
