"""GFF: pyramid levels fused by gates, then densely connected (Li et al., AAAI 2020).

    image (N,3,H,W)
      -> backbone    ResNet, four maps                          1/4, 1/8, 1/8, 1/8
      -> reduce      1x1 on each map                            (N,256,..)
      -> fuse        each level with the gated maps of the others
      -> context     pooling pyramid and 3x3 on the last map      (N,256,h,w)
      -> pyramid     from the context up, two 3x3 a level,
                     each reading all levels before it          (N,256,..)
      -> classifier  3x3, 1x1 on all five maps at 1/4           (N,K,H/4,W/4)
         aux         on the third stage, in training            (N,K,h,w)

``GFFNet`` is the network of the paper, ``WideGFFNet`` the authors' later release: three levels on
WideResNet-38, gates with one value per channel, and levels fused one after the other. That
release's evaluation divides overlapping tiles by counts of the wrong axes; ours averages them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from dseg.models.base import KeyMap, SegModel
from dseg.nn.backbones.resnet import DILATED, ResNet
from dseg.nn.backbones.wide_resnet import WideResNet
from dseg.nn.conv import conv_norm_act, fcn_head, init_convs, two_3x3
from dseg.nn.gated import DenseFeaturePyramid, GatedFusion, concat_at
from dseg.nn.pooling import PoolingPyramid, pooling_context
from dseg.nn.pyramid import ATROUS_KEYS, AtrousPyramid, PreNormBranch


class GFFNet(SegModel):
    """The network of the paper, which was not released: PSPNet with gated and dense fusion.

    From the paper: the gates, the four levels of 256 channels, the dense order and the two 3x3 per
    level. Chosen here, since the paper leaves them open: the deep stem and the dilations of
    PSPNet's release, norm and ReLU after every convolution but the gates', 256 output channels of
    the context, and a 3x3 with dropout before the classifier.

    Args:
        num_classes: number of outputs.
        depth: depth of the ResNet, 50 or 101.
        aux: add the auxiliary head, read in training only.
    """

    classifiers = ("classifier.classifier.", "aux.classifier.")

    def __init__(self, num_classes: int, depth: int = 50, aux: bool = False):
        super().__init__()
        channels, count = 256, 4
        self.backbone = ResNet(depth, 8, stem_width=64, layout=DILATED)
        self.reduce = _reductions(self.backbone.stage_channels, channels)
        self.fuse = GatedFusion((channels,) * count)
        self.context = pooling_context(PoolingPyramid(2048, 512), channels, 3)
        self.pyramid = DenseFeaturePyramid(
            [two_3x3((2 + before) * channels, channels) for before in range(count)]
        )
        self.classifier = fcn_head((1 + count) * channels, num_classes, mid=channels)
        self.aux = fcn_head(1024, num_classes) if aux else None
        init_convs(self, skip="backbone.")

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the logits at 1/4 of the image, in training the auxiliary ones at 1/8 too."""
        maps = self.backbone.maps(image)
        aux = [self.aux(maps[2])] if self.aux is not None and self.training else []
        context = self.context(maps[-1])
        fused = self.fuse(_apply(self.reduce, maps))
        del maps  # frees the largest maps
        outputs = self.pyramid(fused[::-1], context)
        return [self.classifier(concat_at(outputs, outputs[-1])), *aux]


class WideGFFNet(SegModel):
    """The network of the release, on WideResNet-38, trained on the main output only.

    Levels are the maps of the second and the fifth stage, at 1/2 and 1/8, and an atrous pyramid on
    the last map; the dense pyramid is at 1/2. The classifier reads the coarsest level twice, the
    second time without the fusion.

    Args:
        num_classes: number of outputs.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"^mod(\d)\.", r"backbone.mod\1."),
        *ATROUS_KEYS,
        (r"^bot_aspp\.", "context.project."),
        (r"^gff_head\.d_in(\d)\.", r"reduce.level\1."),
        (r"^gff_head\.gate(\d)\.0\.", r"fuse.level\1."),
        (r"^gff_head\.dense_3\.", "pyramid.level3."),
        (r"^gff_head\.dense_6\.", "pyramid.level2."),
        (r"^gff_head\.dense_9\.", "pyramid.level1."),
        (r"^gff_head\.cls\.6\.", "classifier."),
        (r"^gff_head\.cls\.0\.", "refine.0.conv."),
        (r"^gff_head\.cls\.1\.", "refine.0.norm."),
        (r"^gff_head\.cls\.3\.", "refine.1.conv."),
        (r"^gff_head\.cls\.4\.", "refine.1.norm."),
        (r"^(reduce\.level\d)\.0\.", r"\1.conv."),
        (r"^(reduce\.level\d)\.1\.", r"\1.norm."),
    )

    def __init__(self, num_classes: int):
        super().__init__()
        channels, sources = 128, (128, 1024, 256)
        self.backbone = WideResNet()
        pyramid = AtrousPyramid(self.backbone.out_channels, pooled_first=True)
        project = nn.Conv2d(pyramid.out_channels, sources[-1], 3, padding=1, bias=False)
        self.context = nn.Sequential(OrderedDict(pyramid=pyramid, project=project))
        self.reduce = _reductions(sources, channels)
        self.fuse = GatedFusion(sources, channels, in_sequence=True)
        self.pyramid = DenseFeaturePyramid(
            [
                PreNormBranch(before * channels, channels, channels, rate, dropout=0, momentum=0.1)
                for before, rate in enumerate((3, 6, 9), start=1)
            ]
        )
        self.refine = two_3x3(4 * channels, 256)
        self.classifier = nn.Conv2d(256, num_classes, 1, bias=False)
        init_convs(self, skip="backbone.")

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the logits at 1/2 of the image."""
        return [self.classifier(self.refine(self._joined(image)))]

    def _joined(self, image: Tensor) -> Tensor:
        """Return the input of the classifier's convolutions; the maps of levels are freed here."""
        fine, middle, last = self.backbone.maps(image)
        sources = [fine, middle, self.context(last)]
        del fine, middle, last  # frees the largest maps after their reduction
        maps = _apply(self.reduce, sources)
        fused = self.fuse(maps, sources)
        coarsest = maps[-1]
        del maps, sources
        outputs = self.pyramid(fused[::-1], like=fused[0])
        return concat_at([outputs[0], coarsest, *outputs[1:]], fused[0])


def _reductions(sources: Sequence[int], channels: int) -> nn.ModuleDict:
    return nn.ModuleDict(
        {
            f"level{level}": conv_norm_act(source, channels, 1, act=nn.ReLU(inplace=True))
            for level, source in enumerate(sources, start=1)
        }
    )


def _apply(parts: nn.ModuleDict, maps: Sequence[Tensor]) -> list[Tensor]:
    return [part(x) for part, x in zip(parts.values(), maps, strict=True)]
