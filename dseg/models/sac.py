"""SAC: convolutions with a patch size predicted per position (Zhang et al., ICCV 2017).

    image (N,3,H,W)
      -> backbone    ResNet at 1/8, scale-adaptive 3x3 in the last stage    (N,2048,h,w)
      -> context     scale-adaptive 3x3                                     (N,512,h,w)
      -> classifier  1x1                                                    (N,K,h,w)
         aux         on the third stage, in training                        (N,K,h,w)

The convolution and the ResNet are the paper's. The choice of layers with it is ours, as are the
rates, the head (that of Zhao et al., CVPR 2017, without its pyramid), the auxiliary head and
align_corners; no release exists to compare with.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from dseg.models.dilated import DilatedNetwork
from dseg.nn.backbones.resnet import DILATED, ResNet
from dseg.nn.conv import fcn_head
from dseg.nn.scale_adaptive import ScaleAdaptiveConv


class SACNet(DilatedNetwork):
    """A fully convolutional ResNet-101 with four scale-adaptive convolutions.

    Args:
        num_classes: number of outputs.
        depth: depth of the ResNet; 101 in the paper, 50, or 152.
        aux: add the auxiliary head, read in training only.
    """

    def __init__(self, num_classes: int, depth: int = 101, aux: bool = False):
        backbone = ResNet(depth, 8, layout=DILATED)
        _adapt_last_stage(backbone)
        parts: OrderedDict[str, nn.Module] = OrderedDict(
            conv=ScaleAdaptiveConv(2048, 512, 3, bias=False),
            norm=nn.BatchNorm2d(512),
            act=nn.ReLU(inplace=True),
            dropout=nn.Dropout(0.1),
        )
        super().__init__(
            backbone,
            nn.Sequential(parts),
            nn.Conv2d(512, num_classes, 1),
            fcn_head(1024, num_classes) if aux else None,
        )
        for module in self.modules():
            if isinstance(module, ScaleAdaptiveConv):
                module.reset_scale()


def _adapt_last_stage(backbone: ResNet) -> None:
    """Replace the 3x3 convolutions of the fourth stage by scale-adaptive ones of equal weights."""
    blocks = backbone.get_submodule("layer4").children()
    for block in blocks:
        old = block.get_submodule("conv2")
        assert isinstance(old, nn.Conv2d)
        new = ScaleAdaptiveConv(
            *(old.in_channels, old.out_channels, 3), dilation=old.dilation[0], bias=False
        )
        new.weight = old.weight
        block.conv2 = new
    # keys that ImageNet files lack
    backbone.ABSENT = tuple(
        f"{name}." for name, _ in backbone.named_modules() if name.endswith("conv2.scale")
    )
