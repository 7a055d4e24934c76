"""GCNet: blocks of parallel paths that become one convolution (Yang et al., CVPR 2025, section 3).

    image (N,3,H,W)
      -> stem            two strided 3x3, blocks                 (N,C,H/4) (N,2C,H/8)
      -> semantic.0      blocks, half the size                   (N,4C,H/16)
         detail.0        blocks                                  (N,2C,H/8)
      -> fusions.0       each branch added to the other
      -> semantic.1, detail.1, fusions.1                         (N,8C,H/32) (N,2C,H/8)
      -> semantic.2      blocks, half the size                   (N,16C,H/64)
         detail.2        blocks                                  (N,4C,H/8)
      -> context         deep aggregation pyramid, to 1/8, added to the detail branch
      -> head            3x3, 1x1                                (N,K,H/8)

In training, an auxiliary head reads the detail branch after the first fusion. "GCNet" stands for
golden cudgel; the global context network of 2019 is another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from dseg.models.base import KeyMap, SegModel
from dseg.nn.aggregation import DeepAggregation
from dseg.nn.bilateral import BranchFusion
from dseg.nn.conv import conv_norm_act
from dseg.nn.fuse import resize_like
from dseg.nn.reparam import ParallelConv, folded_conv
from dseg.nn.residual import preactivation_head

SEMANTIC_BLOCKS = 5  # of the semantic branch at 1/16 and 1/32
CONTEXT = 128  # channels of the pyramid's scales


class GCNet(SegModel):
    """The authors' network, in the form for training or folded.

    Args:
        num_classes: number of outputs.
        width: channels at 1/4 of the image, C above.
        head_width: channels of the heads.
        blocks: number of blocks at 1/4 and 1/8; the last stage of each branch has two fewer.
        aux: add the auxiliary head, read in training only.
        folded: build the blocks as single convolutions, which compute the same faster; networks
            for training have parallel paths.
        add_after_relu: add to the branches after their ReLU, as the release does, whose ReLU is
            in-place; otherwise before it, as in DDRNet.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"^backbone\.(stem|spp|semantic_branch_layers|detail_branch_layers)\.", r"\1."),
        (r"^(semantic|detail)_branch_layers\.", r"\1."),
        (r"\.bn\.", ".norm."),
        (r"\.path_3x3_1\.conv1\.", ".paths.0.0."),
        (r"\.path_3x3_1\.conv2\.", ".paths.0.1."),
        (r"\.path_3x3_2\.conv1\.", ".paths.1.0."),
        (r"\.path_3x3_2\.conv2\.", ".paths.1.1."),
        (r"\.path_1x1\.conv1\.", ".paths.2.0."),
        (r"\.path_1x1\.conv2\.", ".paths.2.1."),
        (r"\.path_residual\.", ".identity."),
        (r"\.reparam_3x3\.", ".conv."),
        (r"^backbone\.compression_1\.", "fusions.0.to_detail."),
        (r"^backbone\.compression_2\.", "fusions.1.to_detail."),
        (r"^backbone\.down_1\.", "fusions.0.to_semantic.0."),
        (r"^backbone\.down_2\.", "fusions.1.to_semantic."),
        (r"^spp\.scales\.(\d)\.(1\.)?(conv|norm)\.", r"context.scales.\1.\3."),
        (r"^spp\.processes\.", "context.steps."),
        (r"^spp\.compression\.", "context.reduce."),
        (r"^spp\.shortcut\.", "context.shortcut."),
        (r"^decode_head\.aux_head_c4\.", "aux."),
        (r"^decode_head\.aux_cls_seg_c4\.", "aux.classifier.conv."),
        (r"^decode_head\.head\.", "head."),
        (r"^decode_head\.conv_seg\.", "head.classifier.conv."),
        (r"^(head|aux)\.0\.", r"\1.reduce.norm."),
        (r"^(head|aux)\.2\.conv\.", r"\1.reduce.conv."),
        (r"^(head|aux)\.2\.norm\.", r"\1.classifier.norm."),
    )
    align_corners: ClassVar[bool] = False
    body = ("stem.", "semantic.", "detail.", "fusions.", "context.")
    classifiers = ("head.classifier.conv.", "aux.classifier.conv.")

    def __init__(
        self,
        num_classes: int,
        width: int,
        head_width: int,
        blocks: int = 4,
        aux: bool = False,
        folded: bool = False,
        add_after_relu: bool = True,
    ):
        super().__init__()
        c2, c4, c8, c16 = (factor * width for factor in (2, 4, 8, 16))
        self.stem = nn.Sequential(
            conv_norm_act(3, width, 3, stride=2, act=nn.ReLU(inplace=True)),
            conv_norm_act(width, width, 3, stride=2, act=nn.ReLU(inplace=True)),
            *_stage(width, width, blocks, 1, folded, last_relu=True),
            *_stage(width, c2, blocks, 2, folded, last_relu=True),
        )
        self.semantic = nn.ModuleList(
            (
                _stage(c2, c4, SEMANTIC_BLOCKS, 2, folded),
                _stage(c4, c8, SEMANTIC_BLOCKS, 2, folded),
                _stage(c8, c16, blocks - 2, 2, folded),
            )
        )
        self.detail = nn.ModuleList(
            (
                _stage(c2, c2, blocks, 1, folded),
                _stage(c2, c2, blocks, 1, folded),
                _stage(c2, c4, blocks - 2, 1, folded),
            )
        )
        self.fusions = nn.ModuleList(BranchFusion(c, c2, add_after_relu) for c in (c4, c8))
        self.context = DeepAggregation(c16, CONTEXT, c4)
        self.head = preactivation_head(c4, head_width, num_classes)
        self.aux: nn.Module | None = (
            preactivation_head(c2, head_width, num_classes) if aux else None
        )
        for conv in (part for part in self.modules() if isinstance(part, nn.Conv2d)):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the logits at 1/8 of the image, rounded up; in training the auxiliary ones too."""
        semantic = detail = self.stem(image)
        middle = []
        for i, fuse in enumerate(self.fusions):
            semantic, detail = fuse(self.semantic[i](semantic), self.detail[i](detail))
            middle.append(detail)
            semantic, detail = F.relu(semantic), F.relu(detail)
        detail = self.detail[-1](detail)
        context = self.context(self.semantic[-1](semantic))
        scores = [self.head(detail + resize_like(context, detail, self.align_corners))]
        if self.aux is not None and self.training:
            scores.append(self.aux(middle[0]))
        return scores

    @classmethod
    def options_for(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return whether the file has the auxiliary head, and whether its blocks are folded."""
        folded = not any(".paths." in key for key in state)
        return {**super().options_for(state), "folded": folded}


def _stage(
    in_channels: int,
    out_channels: int,
    count: int,
    stride: int,
    folded: bool,
    *,
    last_relu: bool = False,
) -> nn.Sequential:
    """Build blocks with ReLU, the last one without by default; the first has the stride."""
    build = folded_conv if folded else ParallelConv
    blocks: list[nn.Module] = []
    for index in range(count):
        act = nn.ReLU(inplace=True) if index < count - 1 or last_relu else None
        blocks.append(build(in_channels, out_channels, stride=1 if index else stride, act=act))
        in_channels = out_channels
    return nn.Sequential(*blocks)
