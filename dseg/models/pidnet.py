"""PIDNet: branches for detail, context and boundaries (Xu et al., CVPR 2023).

    image (N,3,H,W)
      -> trunk       two 3x3, two stages of residual blocks   (N,2C,H/8)
      -> semantic    three stages   (N,4C,H/16) (N,8C,H/32) (N,16C,H/64)
      -> detail      three stages   (N,2C,H/8)  (N,2C,H/8)  (N,4C,H/8)
      -> boundary    three stages   (N,C,H/8)   (N,2C,H/8)  (N,4C,H/8)
                     after the first two, detail is mixed with the semantic map at its own size,
                     and boundary gains it
      -> context     pyramid of the semantic map              (N,4C,H/64)
      -> fuse        detail and context, by the boundary map  (N,4C,H/8)
      -> head                                                 (N,K,H/8)

In training, an auxiliary head reads the detail map after the first mixing, and a second one
predicts boundaries from the boundary map after the second sum.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from dseg.models.base import KeyMap, SegModel
from dseg.nn.aggregation import RELEASE_KEYS as PYRAMID_KEYS
from dseg.nn.aggregation import AggregationPyramid, DeepAggregation, ParallelAggregation
from dseg.nn.boundary_fusion import BoundaryFusion, LightBoundaryFusion, PixelAttention
from dseg.nn.conv import conv_norm_act, init_convs
from dseg.nn.fuse import resize_like
from dseg.nn.residual import (
    RELEASE_KEYS,
    basic_block,
    basic_stage,
    bottleneck,
    eighth_trunk,
    preactivation_head,
)


class PIDNet(SegModel):
    """PIDNet-S, -M and -L.

    The release only accepts sides that are multiples of 8; here maps are resized to the other
    map's size, which is equal for such sides. It upsamples logits with aligned corners, but maps
    within the network without.

    Args:
        num_classes: number of outputs.
        aux: add the auxiliary and the boundary head, read in training only.
        width: channels C of the stem: 32 or 64.
        blocks: residual blocks per stage in the trunk and the detail branch.
        semantic_blocks: residual blocks per stage in the semantic branch.
        pyramid_width: channels of each scale of the pyramid.
        head_width: hidden channels of the head and the auxiliary head.
        large: use the form of PIDNet-L: a boundary branch of 2C channels from the start, DAPPM
            for PAPPM, and a fusion by a 3x3.
        rectified_aux: apply ReLU to the maps that the auxiliary heads read. In the release, the
            in-place ReLU of the following stage does so; the paper's figure does not.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        *RELEASE_KEYS,
        *PYRAMID_KEYS,
        (r"^seghead_p\.", "aux.detail."),
        (r"^seghead_d\.", "aux.boundary."),
        (r"^layer3_d\.(0\.)?", "boundary.0."),
        (r"^layer4_d\.(0\.)?", "boundary.1."),
        (r"^layer5_d\.(0\.)?", "boundary.2."),
        (r"^diff3\.", "extend.0."),
        (r"^diff4\.", "extend.1."),
        (r"^pag3\.f_x\.", "attend.0.fine."),
        (r"^pag3\.f_y\.", "attend.0.coarse."),
        (r"^pag4\.f_x\.", "attend.1.fine."),
        (r"^pag4\.f_y\.", "attend.1.coarse."),
        (r"^dfm\.conv_p\.", "fuse.detail."),
        (r"^dfm\.conv_i\.", "fuse.context."),
        (r"^dfm\.conv\.0\.", "fuse.smooth.norm."),
        (r"^dfm\.conv\.2\.", "fuse.smooth.conv."),
        (r"^((?:extend|attend|fuse)\.\w+(?:\.fine|\.coarse)?)\.0\.", r"\1.conv."),
        (r"^((?:extend|attend|fuse)\.\w+(?:\.fine|\.coarse)?)\.1\.", r"\1.norm."),
    )
    align_corners: ClassVar[bool] = True
    num_edges: ClassVar[int] = 1
    body = ("trunk.", "semantic.", "detail.", "boundary.", "compress.", "extend.", "attend.")
    imagenet_layers = (*body, "context.", "fuse.")
    classifiers = ("head.classifier.conv.", "aux.detail.classifier.conv.")

    def __init__(
        self,
        num_classes: int,
        aux: bool = False,
        width: int = 32,
        blocks: int = 2,
        semantic_blocks: int = 3,
        pyramid_width: int = 96,
        head_width: int = 128,
        large: bool = False,
        rectified_aux: bool = True,
    ):
        super().__init__()
        thin, wide = 2 * width, 4 * width
        self.rectified_aux = rectified_aux
        self.trunk = eighth_trunk(width, blocks)
        self.semantic = nn.Sequential(
            basic_stage(thin, 2 * thin, semantic_blocks, stride=2),
            basic_stage(2 * thin, 4 * thin, semantic_blocks, stride=2),
            nn.Sequential(bottleneck(4 * thin, 4 * thin, stride=2), bottleneck(8 * thin, 4 * thin)),
        )
        self.detail = nn.Sequential(
            basic_stage(thin, thin, blocks, relu=False),
            basic_stage(thin, thin, blocks, relu=False),
            nn.Sequential(bottleneck(thin, thin)),
        )
        narrow = thin if large else width
        self.boundary = nn.Sequential(
            basic_block(thin, narrow, relu=False),
            basic_block(thin, thin, relu=False) if large else bottleneck(width, width),
            bottleneck(thin, thin),
        )
        self.compress = nn.ModuleList(conv_norm_act(n * thin, thin, 1) for n in (2, 4))
        self.extend = nn.ModuleList(
            (conv_norm_act(2 * thin, narrow, 3), conv_norm_act(4 * thin, thin, 3))
        )
        self.attend = nn.ModuleList(PixelAttention(thin, width) for _ in range(2))
        pyramid: type[AggregationPyramid] = DeepAggregation if large else ParallelAggregation
        self.context = pyramid(8 * thin, pyramid_width, wide)
        self.fuse = BoundaryFusion(wide) if large else LightBoundaryFusion(wide)
        self.head = preactivation_head(wide, head_width, num_classes)
        self.aux: nn.ModuleDict | None = None
        if aux:
            heads = {
                "detail": preactivation_head(thin, head_width, num_classes),
                "boundary": preactivation_head(thin, width, 1),
            }
            self.aux = nn.ModuleDict(heads)
        init_convs(self)

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the logits at 1/8 of the image, in training also the auxiliary ones.

        These are the logits of the classes from the detail branch, then those of boundaries.
        """
        semantic = detail = boundary = self.trunk(image)
        mixed = []
        for index in range(2):
            semantic = self.semantic[index](semantic)
            fine = self.detail[index](detail)
            edges = self.boundary[index](boundary)
            fine = self.attend[index](fine, self.compress[index](semantic))
            edges = edges + resize_like(self.extend[index](semantic), edges, False)
            detail, boundary = F.relu(fine), F.relu(edges)
            mixed.append((detail, boundary) if self.rectified_aux else (fine, edges))
        detail, boundary = self.detail[-1](detail), self.boundary[-1](boundary)
        context = resize_like(self.context(self.semantic[-1](semantic)), detail, False)
        scores = [self.head(self.fuse(detail, context, boundary))]
        if self.aux is not None and self.training:
            scores += [self.aux["detail"](mixed[0][0]), self.aux["boundary"](mixed[1][1])]
        return scores
