"""DDRNet: two branches that exchange their maps twice (Hong et al., arXiv 2101.06085).

    image (N,3,H,W)
      -> trunk       two 3x3, two stages of residual blocks   (N,2C,H/8)
      -> semantic    three stages   (N,4C,H/16) (N,8C,H/32) (N,16C,H/64)
      -> detail      three stages   (N,2C,H/8)  (N,2C,H/8)  (N,4C,H/8)
                     after the first two, each branch gains the other's map at its own size
      -> context     pyramid of the semantic map, DAPPM       (N,4C,H/64)
      -> head        of the two branches' sum                 (N,K,H/8)

In training, an auxiliary head reads the detail map after the first exchange.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from dseg.models.base import KeyMap, SegModel
from dseg.nn.aggregation import RELEASE_KEYS as PYRAMID_KEYS
from dseg.nn.aggregation import DeepAggregation
from dseg.nn.bilateral import BranchFusion
from dseg.nn.conv import init_convs
from dseg.nn.fuse import resize_like
from dseg.nn.residual import (
    RELEASE_KEYS,
    basic_stage,
    bottleneck,
    eighth_trunk,
    preactivation_head,
)

BLOCKS = 2  # per stage


class DDRNet(SegModel):
    """DDRNet-23 and DDRNet-23-slim.

    The release only accepts sides that are multiples of 8; here maps are resized to the other
    map's size, which is equal for such sides.

    Args:
        num_classes: number of outputs.
        aux: add an auxiliary head on the detail branch, read in training only.
        width: channels C of the stem: 32 or 64.
        head_width: hidden channels of both heads.
        pyramid_width: channels of each scale of the pyramid.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        *RELEASE_KEYS,
        *PYRAMID_KEYS,
        (r"^seghead_extra\.", "aux."),
        (r"^compress\.(\d)\.", r"fusions.\1.to_detail."),
        (r"^down3\.0\.", "fusions.0.to_semantic.0.conv."),
        (r"^down3\.1\.", "fusions.0.to_semantic.0.norm."),
        (r"^down4\.0\.", "fusions.1.to_semantic.0.conv."),
        (r"^down4\.1\.", "fusions.1.to_semantic.0.norm."),
        (r"^down4\.3\.", "fusions.1.to_semantic.1.conv."),
        (r"^down4\.4\.", "fusions.1.to_semantic.1.norm."),
    )
    align_corners: ClassVar[bool] = False
    body = ("trunk.", "semantic.", "detail.", "fusions.")
    imagenet_layers = (*body, "context.")
    classifiers = ("head.classifier.conv.", "aux.classifier.conv.")

    def __init__(
        self,
        num_classes: int,
        aux: bool = False,
        width: int = 32,
        head_width: int = 64,
        pyramid_width: int = 128,
    ):
        super().__init__()
        thin = 2 * width
        self.trunk = eighth_trunk(width, BLOCKS)
        self.semantic = nn.Sequential(
            basic_stage(thin, 2 * thin, BLOCKS, stride=2, relu=False),
            basic_stage(2 * thin, 4 * thin, BLOCKS, stride=2, relu=False),
            nn.Sequential(bottleneck(4 * thin, 4 * thin, stride=2)),
        )
        self.detail = nn.Sequential(
            basic_stage(thin, thin, BLOCKS, relu=False),
            basic_stage(thin, thin, BLOCKS, relu=False),
            nn.Sequential(bottleneck(thin, thin)),
        )
        self.fusions = nn.ModuleList(
            BranchFusion(n * thin, thin, add_after_relu=False) for n in (2, 4)
        )
        self.context = DeepAggregation(8 * thin, pyramid_width, 2 * thin)
        self.head = preactivation_head(2 * thin, head_width, num_classes)
        self.aux = preactivation_head(thin, head_width, num_classes) if aux else None
        init_convs(self)

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the logits at 1/8 of the image, in training the auxiliary ones too."""
        semantic = detail = self.trunk(image)
        mixed = []
        for index, fuse in enumerate(self.fusions):
            semantic, detail = fuse(self.semantic[index](semantic), self.detail[index](detail))
            mixed.append(detail)
            semantic, detail = F.relu(semantic), F.relu(detail)
        detail = self.detail[-1](detail)
        context = self.context(self.semantic[-1](semantic))
        scores = [self.head(detail + resize_like(context, detail, False))]
        if self.aux is not None and self.training:
            scores.append(self.aux(mixed[0]))
        return scores
