"""FPN: a feature pyramid and the semantic branch of Panoptic FPN (Kirillov et al., CVPR 2019).

    image (N,3,H,W)
      -> backbone    maps at 1/4, 1/8, 1/16 and 1/32
      -> pyramid     1x1 each, added up from the coarsest, 3x3        (N,256,..) each
      -> branch      3x3, group norm, ReLU, x2 until 1/4; sum         (N,128,H/4,W/4)
      -> classifier  1x1                                              (N,K,H/4,W/4)
      -> to the image's size

The pyramid is that of Lin et al., CVPR 2017, section 3. Written from the two papers; a map is
resized to the next finer one rather than to twice its size, for odd sides.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from dseg.models.base import SegModel
from dseg.nn.backbones.named import build_pyramid_backbone
from dseg.nn.conv import init_convs
from dseg.nn.feature_pyramid import FeaturePyramid, SemanticBranch


class FPN(SegModel):
    """Panoptic FPN without its instance branch.

    Args:
        num_classes: number of outputs.
        backbone: torchvision's name of the backbone, such as ``resnet50``.
        width: channels of the pyramid.
        branch_width: channels of the semantic branch, a multiple of 32.

    Raises:
        DsegError: unknown backbone.
    """

    align_corners: ClassVar[bool] = False

    def __init__(
        self,
        num_classes: int,
        backbone: str = "resnet50",
        width: int = 256,
        branch_width: int = 128,
    ):
        super().__init__()
        self.backbone = build_pyramid_backbone(backbone)
        channels = self.backbone.pyramid_channels[1:]
        self.pyramid = FeaturePyramid(channels, width)
        self.branch = SemanticBranch(len(channels), width, branch_width)
        self.classifier = nn.Conv2d(branch_width, num_classes, 1)
        init_convs(self, skip="backbone.")

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the logits at 1/4 of the image."""
        _, *maps = self.backbone.pyramid(image)
        return [self.classifier(self.branch(self.pyramid(maps)))]
