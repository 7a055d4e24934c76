"""PSANet: positions that collect from and distribute to all others (Zhao et al., ECCV 2018).

image (N,3,H,W)
  -> backbone    ResNet with a deep stem, stride 8             (N,2048,h,w)
  -> context     point-wise attention at half the sides, 3x3   (N,512,h,w)
  -> classifier  1x1                                           (N,K,h,w)
     aux         on the third stage, in training               (N,K,h,w)
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from math import isqrt
from typing import Any, ClassVar

from torch import Tensor, nn

from dseg.models.base import KeyMap
from dseg.models.dilated import SEMSEG_KEYS, DilatedNetwork
from dseg.nn.backbones.resnet import DILATED, ResNet
from dseg.nn.conv import conv_norm_act, fcn_head
from dseg.nn.pointwise import PointwiseSpatialAttention


class PSANet(DilatedNetwork):
    """The author's PyTorch version; an image side of n gives logits of side ceil(n / 8).

    The release only accepts sides of 8 k + 1, and resizes the same logits to them.

    Args:
        num_classes: number of outputs.
        depth: depth of the ResNet, 50 or 101.
        aux: add the auxiliary head, read in training only.
        mask_size: see ``PointwiseSpatialAttention``; 89 spans the map of a crop of 705 pixels.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        *SEMSEG_KEYS,
        (r"^cls\.0\.", "context.reduce.conv."),
        (r"^cls\.1\.", "context.reduce.norm."),
        (r"^psa\.(reduce|attention)_p\.", r"psa.distribute.\1."),
        (r"^psa\.(reduce|attention)\.", r"psa.collect.\1."),
        (r"^psa\.(\w+)\.attention\.3\.", r"psa.\1.mask."),
        (r"^psa\.(\w+)\.attention\.", r"psa.\1.adapt."),
        (r"^psa\.proj\.", "psa.project."),
        (r"^(psa\..+)\.0\.", r"\1.conv."),
        (r"^(psa\..+)\.1\.", r"\1.norm."),
        (r"^psa\.(collect|distribute)\.", r"context.attend.branches.\1."),
        (r"^psa\.", "context.attend."),
    )

    def __init__(self, num_classes: int, depth: int = 50, aux: bool = False, mask_size: int = 89):
        attend = PointwiseSpatialAttention(2048, 512, mask_size)
        context = nn.Sequential(
            OrderedDict(
                attend=attend,
                reduce=conv_norm_act(attend.out_channels, 512, 3, act=nn.ReLU(inplace=True)),
                dropout=nn.Dropout2d(0.1),
            )
        )
        super().__init__(
            ResNet(depth, 8, stem_width=64, layout=DILATED),
            context,
            nn.Conv2d(512, num_classes, 1),
            fcn_head(1024, num_classes, of_maps=True) if aux else None,
        )

    @classmethod
    def options_for(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Also return the mask's size, whose square is the number of rows of its layers."""
        mask = state.get("context.attend.branches.collect.mask.weight")
        side = isqrt(mask.shape[0]) if mask is not None and mask.ndim else 0
        if mask is None or side % 2 == 0 or side**2 != mask.shape[0]:
            return super().options_for(state)
        return {**super().options_for(state), "mask_size": side}
