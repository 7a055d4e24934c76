"""DenseASPP: a densely connected atrous pyramid (Yang et al., CVPR 2018).

    image (N,3,H,W)
      -> backbone    DenseNet or MobileNetV2, stride 8, or 16 and upsampled x2   (N,C,h,w)
      -> context     rates 3 6 12 18 24, each branch reads all before it
      -> classifier  1x1                                                         (N,K,h,w)
      -> x8, align_corners

``DenseASPP`` and ``MobileNetDenseASPP`` are those of the paper's authors; ``PostNormDenseASPP``
is a second public version with another head: other widths, another order within a branch, the
ImageNet DenseNet without the fourth transition, and an auxiliary head for training.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from dseg.models.base import KeyMap, SegModel
from dseg.nn.backbones.densenet import DenseNet
from dseg.nn.backbones.mobilenet import MobileNetV2
from dseg.nn.conv import fcn_head
from dseg.nn.pyramid import DenseAtrousPyramid, PostNormBranch, PreNormBranch

RATES = (3, 6, 12, 18, 24)


class PreNormDenseASPP(SegModel):
    """The authors' pyramid and classifier on any backbone.

    Args:
        num_classes: number of outputs.
        backbone: feature extractor with ``out_channels`` and the given output stride.
        mid, growth: hidden and output channels of each branch of the pyramid.
        output_stride: stride of the backbone's map, upsampled x2 before the pyramid if 16.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"^features\.", "backbone."),
        (r"^(.*layer\d+|ASPP_\d+)\.(norm|conv)\.(\d)\.", r"\1.\2\3."),  # norm.1 of torch 0.3
        (r"^ASPP_(\d+)\.", r"context.rate\1."),
        (r"^classification\.1\.", "classifier."),
    )

    def __init__(
        self,
        num_classes: int,
        backbone: DenseNet | MobileNetV2,
        mid: int,
        growth: int,
        output_stride: int,
    ):
        super().__init__()
        self.backbone = backbone
        self.upsample = output_stride // 8
        self.context = DenseAtrousPyramid(
            backbone.out_channels,
            RATES,
            lambda read, rate: PreNormBranch(read, mid, growth, rate, leading_norm=rate > RATES[0]),
            growth,
        )
        self.dropout = nn.Dropout2d(0.1)
        self.classifier = nn.Conv2d(self.context.out_channels, num_classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight)

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return logits upsampled eightfold: multiples of 8 (or 16), near the image's size.

        The ReLU here is that of the pyramid's first branch: in the release it is in-place and so
        changes the input of all later branches and of the classifier.
        """
        feature = _upsample(self.backbone(image), self.upsample).relu_()
        scores = self.classifier(self.dropout(self.context(feature)))
        return [_upsample(scores, 8)]


class DenseASPP(PreNormDenseASPP):
    """The authors' network on DenseNet.

    Args:
        num_classes: number of outputs.
        depth: depth of the DenseNet: 121, 161, 169 or 201.
        mid, growth: hidden and output channels of each branch of the pyramid.
        output_stride: 8, or 16 for about half the operations.
    """

    def __init__(self, num_classes: int, depth: int, mid: int, growth: int, output_stride: int = 8):
        backbone = DenseNet(depth, output_stride, halve_last=True)
        super().__init__(num_classes, backbone, mid, growth, output_stride)


class MobileNetDenseASPP(PreNormDenseASPP):
    """The authors' network on MobileNetV2.

    At output stride 16 the release lacks the x2 upsampling of the feature; this network has it.

    Args:
        num_classes: number of outputs.
        mid, growth: hidden and output channels of each branch of the pyramid.
        output_stride: 8 or 16.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"^features\.features\.0\.0\.", "backbone.stem.conv."),
        (r"^features\.features\.0\.1\.", "backbone.stem.norm."),
        (r"^features\.features\.(\d+)\.conv\.0\.", r"backbone.block\1.expand.conv."),
        (r"^features\.features\.(\d+)\.conv\.1\.", r"backbone.block\1.expand.norm."),
        (r"^features\.features\.(\d+)\.conv\.3\.", r"backbone.block\1.depthwise.conv."),
        (r"^features\.features\.(\d+)\.conv\.4\.", r"backbone.block\1.depthwise.norm."),
        (r"^features\.features\.(\d+)\.conv\.6\.", r"backbone.block\1.project.conv."),
        (r"^features\.features\.(\d+)\.conv\.7\.", r"backbone.block\1.project.norm."),
        *PreNormDenseASPP.KEY_MAP,
    )

    def __init__(self, num_classes: int, mid: int = 128, growth: int = 64, output_stride: int = 8):
        super().__init__(num_classes, MobileNetV2(output_stride), mid, growth, output_stride)


class PostNormDenseASPP(SegModel):
    """The second version: convolution before norm in every branch, one width for all backbones.

    Args:
        num_classes: number of outputs.
        depth: depth of the DenseNet: 121, 161, 169 or 201.
        mid, growth: hidden and output channels of each branch of the pyramid.
        output_stride: 8 or 16.
        aux: add an auxiliary head on the backbone's feature, read in training only.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"^pretrained\.classifier\.", None),  # the ImageNet classifier, never read
        (r"^pretrained\.features\.", "backbone."),
        (r"^(.*layer\d+)\.(norm|conv)\.(\d)\.", r"\1.\2\3."),
        (r"^head\.dense_aspp_block\.aspp_(\d+)\.", r"context.rate\1."),
        (r"^(context\.rate\d+)\.bn(\d)\.", r"\1.norm\2."),
        (r"^head\.block\.1\.", "classifier."),
        (r"^auxlayer\.block\.0\.", "aux.reduce.conv."),
        (r"^auxlayer\.block\.1\.", "aux.reduce.norm."),
        (r"^auxlayer\.block\.4\.", "aux.classifier."),
    )
    classifiers = ("classifier.", "aux.classifier.")

    def __init__(
        self,
        num_classes: int,
        depth: int,
        mid: int = 256,
        growth: int = 64,
        output_stride: int = 8,
        aux: bool = False,
    ):
        super().__init__()
        self.backbone = DenseNet(depth, output_stride)
        self.upsample = output_stride // 8
        channels = self.backbone.out_channels
        self.context = DenseAtrousPyramid(
            channels, RATES, lambda read, rate: PostNormBranch(read, mid, growth, rate), growth
        )
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Conv2d(self.context.out_channels, num_classes, 1)
        self.aux = fcn_head(channels, num_classes) if aux else None

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the logits at 1/8 of the image, in training the auxiliary ones after them."""
        feature = _upsample(self.backbone(image), self.upsample)
        scores = [self.classifier(self.dropout(self.context(feature)))]
        if self.aux is not None and self.training:
            scores.append(self.aux(feature))
        return scores


def _upsample(x: Tensor, factor: int) -> Tensor:
    if factor == 1:
        return x
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=True)
