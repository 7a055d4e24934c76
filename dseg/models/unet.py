"""U-Net: step by step back to the image's size (Ronneberger et al., MICCAI 2015, figure 1).

    image (N,3,H,W)
      -> backbone    maps at 1/2, 1/4, 1/8, 1/16 and 1/32
      -> up          x2, concatenated with the next finer map, two 3x3:
                     1/16 (N,256,..), 1/8 (N,128,..), 1/4 (N,64,..), 1/2 (N,32,..);
                     x2, two 3x3                                     (N,32,H,W)
      -> classifier  1x1                                             (N,K,H,W)

The form in common use. From the paper: concatenation
with the maps of the contracting path at each resolution, two 3x3 with ReLU after it, channels that
halve at each step, a 1x1 at full resolution. Chosen here: an ImageNet backbone as the contracting
path; norms; zero padding, so that sides do not shrink and nothing is cropped; nearest-neighbour
upsampling in place of the learned 2x2, since the 3x3 after it computes each of the four positions
by weights of its own; the size of the next map rather than twice the size, for odd sides; and no
map of the contracting path at full resolution, which a backbone does not have.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from dseg.models.base import SegModel
from dseg.nn.backbones.named import build_pyramid_backbone
from dseg.nn.conv import init_convs
from dseg.nn.expansive_path import ExpansivePath

WIDTHS = (256, 128, 64, 32, 32)


class UNet(SegModel):
    """U-Net on a classification network.

    Args:
        num_classes: number of outputs.
        backbone: torchvision's name of the backbone, such as ``resnet34``.
        widths: channels of the steps at 1/16, 1/8, 1/4, 1/2 and 1. The last is not the paper's
            half of the one before, 16, which would be fewer than Cityscapes' classes.

    Raises:
        DsegError: unknown backbone.
    """

    align_corners: ClassVar[bool] = False

    def __init__(
        self, num_classes: int, backbone: str = "resnet34", widths: tuple[int, ...] = WIDTHS
    ):
        super().__init__()
        self.backbone = build_pyramid_backbone(backbone)
        self.up = ExpansivePath(self.backbone.pyramid_channels, widths)
        self.classifier = nn.Conv2d(widths[-1], num_classes, 1)
        init_convs(self, skip="backbone.")

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the logits at the size of the image."""
        return [self.classifier(self.up(self.backbone.pyramid(image), image))]
