"""DFN: a Smooth Network down from the mean, a Border Network up from the detail (CVPR 2018).

Yu et al., "Learning a Discriminative Feature Network for Semantic Segmentation".

    image (N,3,H,W)
      -> backbone    ResNet, maps at 1/4 to 1/32
      -> context     mean of the last one, 1x1           (N,512,1,1)
      -> fuse        from 1/32 to 1/4: a block refines the map, the coarser stage's result is
                     added to it and weights its channels, a block refines that  (N,512,h,w)
      -> head        refinement, 1x1                     (N,K,H/4)
         aux.smooth  the same on the coarser stages, in training
         aux.border  from 1/4 to 1/32: maps refined and summed up at 1/4, a border predicted
                     after each, in training             (N,1,H/4)
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from dseg.models.base import KeyMap, SegModel
from dseg.nn.backbones.resnet import STEM_KEYS, ResNet
from dseg.nn.conv import conv_norm_act, init_convs
from dseg.nn.dfn import AuxiliaryHeads, SmoothStage, refined_head

SMOOTH = 512  # channels of the Smooth Network in the release
BORDER = 21  # channels of the Border Network


class DFN(SegModel):
    """The network of the release, on ResNet with a deep stem.

    In evaluation the release returns log-probabilities, this class logits; the release also runs
    the Border Network then, without effect. It only accepts sides that are multiples of 32. No
    output of its Border Network was recorded: the connections follow common descriptions of the
    paper, which agree with the release's number of operations, and the heads are the Smooth
    Network's.

    Args:
        num_classes: number of outputs.
        depth: depth of ResNet; 101 in paper and release.
        aux: add the heads of the coarser stages and the Border Network, read in training only.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        *STEM_KEYS,
        (r"^border_aft_rrbs\.0\.", None),  # not used by the release
        (r"^global_context\.", "context."),
        (r"^smooth_heads\.3\.", "head."),
        (r"^smooth_heads\.", "aux.smooth."),
        (r"^smooth_(pre|aft)_rrbs\.(\d)\.", r"fuse.\2.\1."),
        (r"^cabs\.(\d)\.channel_attention\.fc\.0\.", r"fuse.\1.attend.gate.fc1."),
        (r"^cabs\.(\d)\.channel_attention\.fc\.2\.", r"fuse.\1.attend.gate.fc2."),
        (r"^border_(pre|aft)_rrbs\.(\d)\.", r"aux.border.\2.\1."),
        (r"^border_heads\.(\d)\.", r"aux.border.\1.head."),
        (r"\.pre\.", ".before."),
        (r"\.aft\.", ".after."),
        (r"^(head|aux\.smooth\.\d|aux\.border\.\d\.head)\.rrb\.", r"\1.refine."),
        (r"^(head|aux\.smooth\.\d|aux\.border\.\d\.head)\.conv\.", r"\1.classifier."),
        (r"\.conv_1x1\.", ".project."),
        (r"\.cbr\.", ".branch.inner."),
        (r"\.conv_refine\.", ".branch.outer."),
        (r"\.bn\.", ".norm."),
    )
    num_edges = 4
    classifiers = ("head.classifier.", "head.", "aux.smooth.")

    def __init__(self, num_classes: int, depth: int = 50, aux: bool = False):
        super().__init__()
        self.backbone = ResNet(depth, stem_width=64)
        channels = self.backbone.stage_channels
        self.context = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            conv_norm_act(channels[-1], SMOOTH, 1, act=nn.ReLU(inplace=True)),
        )
        self.fuse = nn.ModuleList(SmoothStage(each, SMOOTH) for each in reversed(channels))
        self.head = refined_head(SMOOTH, num_classes)
        self.aux = AuxiliaryHeads(channels, SMOOTH, BORDER, num_classes) if aux else None
        init_convs(self, skip="backbone.")

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the logits at 1/4 of the image, in training the auxiliary ones after them.

        The auxiliary logits are those of classes at 1/32, 1/16 and 1/8, then those of borders,
        (N, 1, H/4, W/4), after the maps of stride 4, 8, 16 and 32.
        """
        maps = self.backbone.maps(image)
        x = self.context(maps[-1])
        stages = []
        for stage, feature in zip(self.fuse, reversed(maps), strict=True):
            x = stage(feature, x)
            stages.append(x)
        scores = [self.head(x)]
        if self.aux is not None and self.training:
            scores += self.aux(maps, stages[:-1])
        return scores
