"""DANet: attention between positions and between channels (Fu et al., CVPR 2019).

    image (N,3,H,W)
      -> backbone    ResNet, stride 8                                       (N,2048,h,w)
      -> context     position: 3x3, attention among positions, 3x3 ---+     (N,512,h,w)
                     channel:  3x3, attention among channels, 3x3 ----+     (N,512,h,w)
      -> classifier  1x1 on the sum of both                                 (N,K,h,w)
         aux         1x1 on each of the two, in training                    (N,K,h,w) each

``DANet`` and ``DeepStemDANet`` are the authors' two versions; ``TramacDANet`` is a model zoo's.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar

from torch import Tensor, nn

from dseg.models.base import KeyMap
from dseg.models.dilated import TRAMAC_KEYS, DilatedNetwork
from dseg.nn.attention import ChannelAttention, PositionAttention
from dseg.nn.backbones.resnet import LAYOUTS, MULTI_GRID, STEM_KEYS, Layout, ResNet
from dseg.nn.conv import conv_norm_act

# the first block of the third stage has the rate of the second; the last has 4, 8 and 16
LAYOUT: Layout = (*LAYOUTS[8][:3], *MULTI_GRID[3:])
# keys of a branch's convolutions, which are numbered, to ours
BRANCH_KEYS: KeyMap = (
    (r"^(context\.\w+\.(?:reduce|refine))\.0\.", r"\1.conv."),
    (r"^(context\.\w+\.(?:reduce|refine))\.1\.", r"\1.norm."),
)


class DualAttention(nn.Module):
    """The two branches of the paper's figure 2: 3x3, attention, 3x3.

    Args:
        in_channels: channels of the backbone's map.
        channels: channels of each branch.
    """

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.position = _branch(in_channels, channels, PositionAttention(channels))
        self.channel = _branch(in_channels, channels, ChannelAttention())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, in_channels, h, w) to the two branches' (N, channels, h, w)."""
        return self.position(x), self.channel(x)


class DANet(DilatedNetwork):
    """The authors' version with a 7x7 stem, that of their published Cityscapes network.

    The sum of the branches is classified; in training each branch is too, as in the release.

    Args:
        num_classes: number of outputs.
        depth: depth of the ResNet, 50 or 101.
        aux: add the classifiers of the two branches, read in training only.
        stem_width, layout: see ``ResNet``.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"^pretrained\.", "backbone."),
        (r"^head\.conv5a\.", "context.position.reduce."),
        (r"^head\.conv5c\.", "context.channel.reduce."),
        (r"^head\.conv51\.", "context.position.refine."),
        (r"^head\.conv52\.", "context.channel.refine."),
        *BRANCH_KEYS,
        (r"^head\.sa\.gamma", "context.position.attend.gamma"),
        (r"^head\.sa\.(query|key|value)_conv\.", r"context.position.attend.\1."),
        (r"^head\.sc\.gamma", "context.channel.attend.gamma"),
        (r"^head\.conv6\.1\.", "aux.position."),
        (r"^head\.conv7\.1\.", "aux.channel."),
        (r"^head\.conv8\.1\.", "classifier."),
    )
    classifiers = ("classifier.", "aux.")

    def __init__(
        self,
        num_classes: int,
        depth: int = 50,
        aux: bool = False,
        *,
        stem_width: int = 0,
        layout: Layout = LAYOUT,
    ):
        heads = {name: nn.Conv2d(512, num_classes, 1) for name in ("position", "channel")}
        super().__init__(
            ResNet(depth, 8, stem_width=stem_width, layout=layout),
            DualAttention(2048, 512),
            nn.Conv2d(512, num_classes, 1),
            nn.ModuleDict(heads) if aux else None,
        )
        self.dropout: nn.Module = nn.Dropout2d(0.1)

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the logits at 1/8, in training those of the two branches too."""
        position, channel = self.context(self.backbone(image))
        scores = [self.classifier(self.dropout(position + channel))]
        if self.aux is not None and self.training:
            heads = zip(self.aux.children(), (position, channel), strict=True)
            scores += [head(self.dropout(x)) for head, x in heads]
        return scores


class DeepStemDANet(DANet):
    """The authors' version with a deep stem, the default of their code.

    Args:
        num_classes: number of outputs.
        depth: depth of the ResNet, 50 or 101.
        aux: add the classifiers of the two branches, read in training only.
    """

    KEY_MAP: ClassVar[KeyMap] = (*DANet.KEY_MAP, *STEM_KEYS)

    def __init__(self, num_classes: int, depth: int = 50, aux: bool = False):
        super().__init__(num_classes, depth, aux, stem_width=64)


class TramacDANet(DANet):
    """The model zoo's version: a deep stem, dilations 2 and 4, and element-wise dropout.

    Args:
        num_classes: number of outputs.
        depth: depth of the ResNet, 50 or 101.
        aux: add the classifiers of the two branches, read in training only.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        *TRAMAC_KEYS,
        (r"^head\.conv_p1\.", "context.position.reduce."),
        (r"^head\.conv_c1\.", "context.channel.reduce."),
        (r"^head\.conv_p2\.", "context.position.refine."),
        (r"^head\.conv_c2\.", "context.channel.refine."),
        *BRANCH_KEYS,
        (r"^head\.pam\.alpha", "context.position.attend.gamma"),
        (r"^head\.pam\.conv_b\.", "context.position.attend.query."),
        (r"^head\.pam\.conv_c\.", "context.position.attend.key."),
        (r"^head\.pam\.conv_d\.", "context.position.attend.value."),
        (r"^head\.cam\.beta", "context.channel.attend.gamma"),
        (r"^head\.conv_p3\.1\.", "aux.position."),
        (r"^head\.conv_c3\.1\.", "aux.channel."),
        (r"^head\.out\.1\.", "classifier."),
    )

    def __init__(self, num_classes: int, depth: int = 50, aux: bool = False):
        super().__init__(num_classes, depth, aux, stem_width=64, layout=LAYOUTS[8])
        self.dropout = nn.Dropout(0.1)


def _branch(in_channels: int, channels: int, attend: nn.Module) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            reduce=conv_norm_act(in_channels, channels, 3, act=nn.ReLU(inplace=True)),
            attend=attend,
            refine=conv_norm_act(channels, channels, 3, act=nn.ReLU(inplace=True)),
        )
    )
