"""BiSeNetV2: a detail and a semantic branch that guide each other (Yu et al., IJCV 2021).

    image (N,3,H,W)
      -> detail      eight 3x3, wide and shallow      (N,128,H/8)
      -> semantic    stem, gather-and-expansion       (N,16,H/4) (N,32,H/8) (N,64,H/16) (N,128,H/32)
                     context embedding                (N,128,H/32)
      -> fuse        guided aggregation of the two    (N,128,H/8)
      -> head        3x3, 1x1                         (N,K,H/8)

In training, booster heads read the first four maps of the semantic branch.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dseg.models.base import KeyMap, SegModel
from dseg.nn.bilateral import ContextEmbedding, GatherExpansion, GuidedAggregation
from dseg.nn.conv import conv_norm_act, fcn_head, init_convs


class BiSeNetV2(SegModel):
    """The network of the paper, in the version with published checkpoints.

    The release only accepts sides that are multiples of 32, since it upsamples maps by factors;
    here they are resized to the other map's size, which is equal for such sides.

    Args:
        num_classes: number of outputs.
        aux: add the booster heads on the semantic branch, read in training only.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"\.bn\.", ".norm."),
        (r"^detail\.S(\d)\.", r"detail.stage\1."),
        (r"^segment\.S1S2\.", "semantic.stem."),
        (r"^segment\.S5_5\.norm\.", "semantic.context.mean.1."),
        (r"^segment\.S5_5\.conv_gap\.", "semantic.context.mean.2."),
        (r"^segment\.S5_5\.conv_last\.", "semantic.context.smooth."),
        (r"^(segment|bga)(\..*)\.0\.(\w+)$", r"\1\2.conv.\3"),
        (r"^(segment|bga)(\..*)\.1\.(\w+)$", r"\1\2.norm.\3"),
        (r"^(segment\..*)\.shortcut\.(conv|norm)\.", r"\1.shortcut.0.\2."),
        (r"^(segment\..*)\.shortcut\.2\.", r"\1.shortcut.1.conv."),
        (r"^(segment\..*)\.shortcut\.3\.", r"\1.shortcut.1.norm."),
        (r"^(segment\..*)\.conv1\.", r"\1.gather."),
        (r"^(segment\..*)\.dwconv1?\.", r"\1.expand.0."),
        (r"^(segment\..*)\.dwconv2\.", r"\1.expand.1."),
        (r"^(segment\..*)\.conv2\.", r"\1.project."),
        (r"^segment\.S(\d)(_4)?\.", r"semantic.stage\1."),
        (r"^bga\.(left\d|right2)\.(conv|norm)\.", r"bga.\1.0.\2."),
        (r"^bga\.(left1|right2)\.2\.", r"bga.\1.1."),
        (r"^bga\.left1\.", "fuse.detail_fine."),
        (r"^bga\.left2\.", "fuse.detail_coarse."),
        (r"^bga\.right1\.", "fuse.semantic_fine."),
        (r"^bga\.right2\.", "fuse.semantic_coarse."),
        (r"^bga\.conv\.", "fuse.smooth."),
        (r"^head\.conv\.", "head.reduce."),
        (r"^aux(\d)(_4)?\.", r"aux.\1."),
        (r"^(aux\.\d)\.conv\.", r"\1.enter."),
        (r"^(aux\.\d)\.conv_out\.0\.1\.", r"\1.reduce."),
        (r"^(head|aux\.\d)\.conv_out\.1\.", r"\1.classifier."),
    )
    align_corners: ClassVar[bool] = False
    body = ("detail.", "semantic.", "fuse.")
    classifiers = ("head.classifier.", *(f"aux.{stage}.classifier." for stage in (2, 3, 4, 5)))

    def __init__(self, num_classes: int, aux: bool = False):
        super().__init__()
        self.detail = _detail_branch()
        self.semantic = nn.Sequential(
            OrderedDict(
                stem=Stem(16),
                stage3=_stage(16, 32, 2),
                stage4=_stage(32, 64, 2),
                stage5=_stage(64, 128, 4),
                context=ContextEmbedding(128),
            )
        )
        self.fuse = GuidedAggregation(128)
        self.head = fcn_head(128, num_classes, mid=1024)
        self.aux: nn.ModuleDict | None = None
        if aux:
            plan = {"2": (16, 4), "3": (32, 8), "4": (64, 16), "5": (128, 32)}
            heads = {stage: _booster(*facts, num_classes) for stage, facts in plan.items()}
            self.aux = nn.ModuleDict(heads)
        init_convs(self)

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the logits at 1/8 of the image, in training the auxiliary ones after them.

        The auxiliary logits of stages 2, 3, 4 and 5 are at 1/2, 1/4, 1/8 and 1/16.
        """
        maps = [image]
        for part in self.semantic:
            maps.append(part(maps[-1]))
        scores = [self.head(self.fuse(self.detail(image), maps[-1]))]
        if self.aux is not None and self.training:
            scores += [head(x) for head, x in zip(self.aux.values(), maps[1:-1], strict=True)]
        return scores


class Stem(nn.Module):
    """Downsample to 1/4 of the image by convolution and by max pooling.

    Args:
        channels: output channels.
    """

    def __init__(self, channels: int):
        super().__init__()
        half = channels // 2
        self.conv = conv_norm_act(3, channels, 3, stride=2, act=nn.ReLU(inplace=True))
        self.left = nn.Sequential(
            conv_norm_act(channels, half, 1, act=nn.ReLU(inplace=True)),
            conv_norm_act(half, channels, 3, stride=2, act=nn.ReLU(inplace=True)),
        )
        self.fuse = conv_norm_act(2 * channels, channels, 3, act=nn.ReLU(inplace=True))

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, 3, H, W) to (N, channels, H/4, W/4), rounded up."""
        x = self.conv(image)
        pooled = F.max_pool2d(x, 3, stride=2, padding=1)
        out: Tensor = self.fuse(torch.cat([self.left(x), pooled], 1))
        return out


def _detail_branch() -> nn.Sequential:
    """Build the branch that keeps detail: (N, 3, H, W) to (N, 128, H/8, W/8)."""
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    in_channels = 3
    for stage, (channels, count) in enumerate(((64, 2), (64, 3), (128, 3)), 1):
        convs = []
        for index in range(count):
            stride = 1 if index else 2
            act = nn.ReLU(inplace=True)
            convs.append(conv_norm_act(in_channels, channels, 3, stride=stride, act=act))
            in_channels = channels
        stages[f"stage{stage}"] = nn.Sequential(*convs)
    return nn.Sequential(stages)


def _stage(in_channels: int, out_channels: int, count: int) -> nn.Sequential:
    """Build a stage of the semantic branch, which halves the size in its first layer."""
    first = GatherExpansion(in_channels, out_channels, 2)
    rest = (GatherExpansion(out_channels, out_channels, 1) for _ in range(count - 1))
    return nn.Sequential(first, *rest)


def _booster(in_channels: int, stride: int, num_classes: int) -> nn.Sequential:
    """Build an auxiliary head on a map of a stride; its logits have twice the resolution."""
    mid = stride * stride
    return nn.Sequential(
        OrderedDict(
            enter=conv_norm_act(in_channels, 128, 3, act=nn.ReLU(inplace=True)),
            dropout=nn.Dropout(0.1),
            upsample=nn.Upsample(scale_factor=2),
            reduce=conv_norm_act(128, mid, 3, act=nn.ReLU(inplace=True)),
            classifier=nn.Conv2d(mid, num_classes, 1),
        )
    )
