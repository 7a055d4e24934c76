"""SwiftNet with pyramidal fusion: one backbone on three sizes (Orsic et al., CVPR 2019, section 3).

image (N,3,H,W), and resized to 1/2 and 1/4
  -> backbone    ResNet-18 or -34 on each, four maps before their last ReLU
  -> lateral     1x1, summed where sizes agree: strides 4 8 16 32 64 128  (N,C,h,w) each
  -> fuse        steps up to 1/4                                          (N,C,H/4,W/4)
  -> classifier  norm, ReLU, 1x1                                          (N,K,H/4,W/4)
  -> to the image's size
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from dseg.models.base import RGB, KeyMap, SegModel
from dseg.models.swiftnet import statistics_in
from dseg.nn.backbones.pyramid_resnet import PyramidResNet
from dseg.nn.conv import init_convs, norm_relu_conv
from dseg.nn.fuse import resize_like


class SwiftNetPyramid(SegModel):
    """The authors' network.

    The release only accepts sides at which maps of equal stride have equal sizes, such as multiples
    of 4; here the smaller level's maps are resized if they differ.

    Args:
        num_classes: number of outputs.
        depth: depth of the ResNet: 18 or 34.
        width: channels of the ladder.
        levels: number of image sizes.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"^backbone\.img_(mean|std|scale)$", None),  # the release normalises in the network
        (r"^backbone\.upsample_bottlenecks\.", "lateral."),
        (r"^backbone\.upsample_blends\.(\d)\.blend_conv\.", r"fuse.\1."),
        (r"^logits\.", "classifier."),
    )
    align_corners: ClassVar[bool] = False
    classifiers = ("classifier.conv.",)

    def __init__(self, num_classes: int, depth: int, width: int = 128, levels: int = 3):
        super().__init__()
        self.backbone = PyramidResNet(depth, levels)
        stages = self.backbone.stage_channels[::-1]
        self.lateral = nn.ModuleList(nn.Conv2d(wide, width, 1, bias=False) for wide in stages)
        strides = len(stages) + levels - 1
        self.fuse = nn.ModuleList(norm_relu_conv(width, width, 3) for _ in range(strides - 1))
        self.classifier = norm_relu_conv(width, num_classes, 1, bias=True)
        init_convs(self, skip="backbone.")

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the logits at 1/4 of the image."""
        skips: list[Tensor] = []  # at strides 4, 8, ...
        for level, maps in enumerate(self.backbone(image)):
            for stage, (project, x) in enumerate(zip(reversed(self.lateral), maps, strict=True)):
                place, skip = level + stage, project(x)
                if place == len(skips):
                    skips.append(skip)
                    continue
                if skip.shape != skips[place].shape:
                    skip = resize_like(skip, skips[place], self.align_corners)
                skips[place] = skips[place] + skip
        *finer, out = skips
        for blend, skip in zip(self.fuse, reversed(finer), strict=True):
            out = blend(skip + resize_like(out, skip, self.align_corners))
        return [self.classifier(out)]

    @classmethod
    def statistics_in(cls, state: Mapping[str, Tensor]) -> tuple[RGB, RGB] | None:
        """Return the mean and standard deviation in the file."""
        return statistics_in(state)
