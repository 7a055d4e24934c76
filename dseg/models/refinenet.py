"""RefineNet: every map of the backbone refines the coarser ones (Lin et al., CVPR 2017).

image (N,3,H,W)
  -> backbone    ResNet, maps at 1/4 to 1/32
  -> fuse        stage4  the map at 1/32             (N,512,H/32), projected to 256
                 stage3  the map at 1/16 + stage4    (N,256,H/16)
                 stage2  the map at 1/8 + stage3     (N,256,H/8)
                 stage1  the map at 1/4 + stage2     (N,256,H/4)
  -> classifier  3x3                                 (N,K,H/4)
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from dseg.models.base import KeyMap, SegModel
from dseg.models.dilated import TOP_LEVEL_KEYS
from dseg.nn.backbones.resnet import ResNet
from dseg.nn.refine import RefineBlock, conv3x3

INIT_STD = 0.01  # standard deviation of initial weights


class RefineNet(SegModel):
    """The four-cascaded network, in the release that ports its authors' Matlab code to PyTorch.

    The release's evaluation resizes logits to the image's size by bicubic interpolation.

    The decoder has no norms, and the initialisation of He et al. (ICCV 2015) would roughly double
    the variance at every residual unit; initial weights have a standard deviation of 0.01 instead,
    which is our choice.

    Args:
        num_classes: number of outputs.
        depth: depth of ResNet.
        dropout: dropout probability of the two coarsest maps and of the classifier's input.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        *TOP_LEVEL_KEYS,
        (r"^p_ims1d2_outl(\d)_dimred\.", r"fuse.l\1.reduce."),
        (r"^adapt_stage(\d)_b\.0\.", r"fuse.l\1.adapt."),
        (r"^adapt_stage(\d)_b2_joint_varout_dimred\.", r"fuse.l\1.join."),
        (r"^mflow_conv_g(\d)_pool\.0\.(\d)_outvar_dimred\.", r"fuse.l\1.pool.conv\2."),
        (r"^mflow_conv_g(\d)_b\.0\.", r"fuse.l\1.refine."),
        (r"^mflow_conv_g(\d)_b3_joint_varout_dimred\.", r"fuse.l\1.project."),
        (r"\.(\d)_conv\.", r".unit\1.conv1."),
        (r"\.(\d)_conv_relu_varout_dimred\.", r".unit\1.conv2."),
        (r"^fuse\.l1\.", "fuse.stage4."),  # numbered from the coarsest stage there
        (r"^fuse\.l2\.", "fuse.stage3."),
        (r"^fuse\.l3\.", "fuse.stage2."),
        (r"^fuse\.l4\.", "fuse.stage1."),
        (r"^clf_conv\.", "classifier."),
    )

    def __init__(self, num_classes: int, depth: int = 50, *, dropout: float = 0.5):
        super().__init__()
        self.backbone = ResNet(depth)
        first, second, third, fourth = self.backbone.stage_channels
        self.fuse = nn.ModuleDict(
            {
                "stage4": RefineBlock(fourth, 512, 256, joins=False),
                "stage3": RefineBlock(third, 256, 256),
                "stage2": RefineBlock(second, 256, 256),
                "stage1": RefineBlock(first, 256, None),
            }
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = conv3x3(256, num_classes, bias=True)
        for part in (self.fuse, self.classifier):
            for module in part.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.normal_(module.weight, std=INIT_STD)

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the logits at 1/4 of the image."""
        first, second, third, fourth = self.backbone.maps(image)
        x = self.fuse["stage4"](self.dropout(fourth))
        x = self.fuse["stage3"](self.dropout(third), x)
        x = self.fuse["stage2"](second, x)
        x = self.fuse["stage1"](first, x)
        return [self.classifier(self.dropout(x))]
