"""Fast-SCNN: one stem for detail and context (Poudel et al., BMVC 2019).

image (N,3,H,W)
  -> stem        learning to downsample: 3x3, two separable 3x3       (N,64,h,w), stride 8
  -> backbone    nine inverted bottlenecks        (N,128,h/4,w/4) |
  -> context     pyramid pooling 1 2 3 6, 1x1     (N,128,h/4,w/4) |
  -> fuse        upsampled, added to the stem's <-----------------+   (N,128,h,w)
  -> refine      two separable 3x3                                    (N,128,h,w)
  -> classifier  1x1                                                  (N,K,h,w)
  -> to the image's size
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

from dseg.models.base import KeyMap, SegModel
from dseg.nn.backbones.mobilenet import InvertedResidual
from dseg.nn.conv import conv_norm_act, depthwise_separable, fcn_head, init_convs
from dseg.nn.fuse import resize_like
from dseg.nn.pooling import PoolingPyramid, pooling_context

STAGES = ((64, 2), (96, 2), (128, 1))  # channels and stride of three bottlenecks each, table 1


class FastSCNN(SegModel):
    """The network of the paper, 1.14 M parameters.

    The release upsamples the coarse branch by 4 and only accepts images whose maps then fit; here
    it is resized to the finer map's size, which is equal for such images.

    Args:
        num_classes: number of outputs.
        stem_padding: padding of the first 3x3: 0 in the release, 1 by the paper's sizes (table 1).
        fuse_dilation: dilation of the depth-wise 3x3 on the coarse branch, 1 in the release and
            4 in the paper (section 3.2.3).
        inner_relu: whether a ReLU follows the depth-wise half of a separable convolution, as in
            the release; the paper (section 3.2.1) has none.
        aux: add an auxiliary head on the stem's map, read in training only.
        aux_mid: hidden channels of that head; 32 in github.com/Tramac/Fast-SCNN-pytorch.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"^learning_to_downsample\.", "stem."),
        (r"^classifier\.ds", "refine.ds"),
        (r"\.dsconv(\d)\.conv\.0\.", r".separable\1.depthwise.conv."),
        (r"\.dsconv(\d)\.conv\.1\.", r".separable\1.depthwise.norm."),
        (r"\.dsconv(\d)\.conv\.3\.", r".separable\1.pointwise.conv."),
        (r"\.dsconv(\d)\.conv\.4\.", r".separable\1.pointwise.norm."),
        (r"^global_feature_extractor\.bottleneck(\d)\.", r"backbone.stage\1."),
        (r"\.block\.0\.", ".expand."),
        (r"\.block\.1\.", ".depthwise."),
        (r"\.block\.2\.", ".project.conv."),
        (r"\.block\.3\.", ".project.norm."),
        (r"^global_feature_extractor\.ppm\.out\.", "context.reduce."),
        (r"^global_feature_extractor\.ppm\.conv([123])\.", r"context.pyramid.size\1."),
        (r"^global_feature_extractor\.ppm\.conv4\.", "context.pyramid.size6."),
        (r"^feature_fusion\.dwconv\.", "fuse.depthwise."),
        (r"^feature_fusion\.conv_lower_res\.0\.", "fuse.coarse.conv."),
        (r"^feature_fusion\.conv_lower_res\.1\.", "fuse.coarse.norm."),
        (r"^feature_fusion\.conv_higher_res\.0\.", "fuse.fine.conv."),
        (r"^feature_fusion\.conv_higher_res\.1\.", "fuse.fine.norm."),
        (r"^classifier\.conv\.1\.", "classifier."),
        (r"\.conv\.0\.", ".conv."),
        (r"\.conv\.1\.", ".norm."),
        (r"^auxlayer\.0\.", "aux.reduce.conv."),
        (r"^auxlayer\.1\.", "aux.reduce.norm."),
        (r"^auxlayer\.4\.", "aux.classifier."),
    )
    classifiers = ("classifier.", "aux.classifier.")

    def __init__(
        self,
        num_classes: int,
        stem_padding: int = 0,
        fuse_dilation: int = 1,
        inner_relu: bool = True,
        aux: bool = False,
        aux_mid: int = 64,
    ):
        super().__init__()
        separable = partial(depthwise_separable, inner_relu=inner_relu)
        relu = nn.ReLU(inplace=True)
        self.stem = nn.Sequential(
            OrderedDict(
                conv=conv_norm_act(3, 32, 3, stride=2, padding=stem_padding, act=relu),
                separable1=separable(32, 48, stride=2),
                separable2=separable(48, 64, stride=2),
            )
        )
        self.backbone = _bottlenecks(64)
        self.context = pooling_context(PoolingPyramid(128, 32), 128, 1)
        self.fuse = SumFusion(64, 128, 128, fuse_dilation)
        self.refine = nn.Sequential(
            OrderedDict(separable1=separable(128, 128), separable2=separable(128, 128))
        )
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Conv2d(128, num_classes, 1)
        self.aux = fcn_head(64, num_classes, mid=aux_mid) if aux else None
        init_convs(self)

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the logits at 1/8 of the image, in training the auxiliary ones after them."""
        fine = self.stem(image)
        fused = self.fuse(fine, self.context(self.backbone(fine)))
        scores = [self.classifier(self.dropout(self.refine(fused)))]
        if self.aux is not None and self.training:
            scores.append(self.aux(fine))
        return scores

    @classmethod
    def options_for(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Also return the width of the auxiliary head."""
        head = state.get("aux.reduce.conv.weight")
        width = {"aux_mid": head.shape[0]} if head is not None and head.ndim else {}
        return {**super().options_for(state), **width}


class SumFusion(nn.Module):
    """The feature fusion module (section 3.2.3): both maps projected, added, ReLU.

    Args:
        fine, coarse: channels of the two maps.
        channels: output channels.
        dilation: dilation of the depth-wise 3x3 on the upsampled coarse map.
    """

    def __init__(self, fine: int, coarse: int, channels: int, dilation: int):
        super().__init__()
        act = nn.ReLU(inplace=True)
        self.depthwise = conv_norm_act(coarse, coarse, 3, dilation=dilation, groups=coarse, act=act)
        self.coarse = conv_norm_act(coarse, channels, 1, bias=True)
        self.fine = conv_norm_act(fine, channels, 1, bias=True)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Map (N, fine, h, w) and (N, coarse, any, any) to (N, channels, h, w)."""
        low = self.coarse(self.depthwise(resize_like(coarse, fine, True)))
        out: Tensor = (low + self.fine(fine)).relu_()
        return out


def _bottlenecks(in_channels: int) -> nn.Sequential:
    """Build the stages of MobileNetV2's blocks, here with ReLU in place of ReLU6."""
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    for index, (channels, stride) in enumerate(STAGES):
        blocks: list[nn.Module] = []
        for number in range(3):
            steps = 1 if number else stride
            blocks.append(InvertedResidual(in_channels, channels, 6, steps, act=nn.ReLU))
            in_channels = channels
        stages[f"stage{index + 1}"] = nn.Sequential(*blocks)
    return nn.Sequential(stages)
