"""LR-ASPP: a head of two 1x1 convolutions and a gate on MobileNetV3 (Howard et al., ICCV 2019).

    image (N,3,H,W)
      -> backbone    MobileNetV3-Large: block 4 at 1/8, last at 1/16    (N,40,..), (N,960,h,w)
      -> reduce      1x1 on the last map                                (N,128,h,w)
       * gate        1x1 of the last map's mean, sigmoid                (N,128,1,1)
      -> to 1/8
      -> classifier  1x1 of each map, added                             (N,K,H/8,W/8)
      -> to the image's size

This is torchvision's version of section 6.4 and figure 10, and loads its files. The paper's gate
averages over windows of 49x49, this one over the whole map.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from dseg.models.base import KeyMap, SegModel
from dseg.nn.backbones.mobilenetv3 import TORCHVISION_KEYS, MobileNetV3
from dseg.nn.conv import conv_norm_act, init_convs
from dseg.nn.fuse import resize_like

LOW = "block4"  # the first block with 40 channels


class LRASPP(SegModel):
    """Torchvision's lraspp_mobilenet_v3_large.

    Args:
        num_classes: number of outputs.
        width: channels of the reduced map and of the gate.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        *TORCHVISION_KEYS,
        (r"^classifier\.cbr\.0\.", "reduce.conv."),
        (r"^classifier\.cbr\.1\.", "reduce.norm."),
        (r"^classifier\.scale\.1\.", "gate.1."),
        (r"^classifier\.(low|high)_classifier\.", r"classifier.\1."),
    )
    align_corners: ClassVar[bool] = False
    classifiers = ("classifier.low.", "classifier.high.")

    def __init__(self, num_classes: int, width: int = 128):
        super().__init__()
        self.backbone = MobileNetV3(16)
        channels = self.backbone.out_channels
        self.reduce = conv_norm_act(channels, width, 1, act=nn.ReLU(inplace=True))
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, width, 1, bias=False), nn.Sigmoid()
        )
        self.classifier = nn.ModuleDict(
            {"low": nn.Conv2d(40, num_classes, 1), "high": nn.Conv2d(width, num_classes, 1)}
        )
        init_convs(self, skip="backbone.")

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the logits at 1/8 of the image."""
        low, last = self.backbone.maps(image, (LOW, "last"))
        high = resize_like(self.reduce(last) * self.gate(last), low, self.align_corners)
        return [self.classifier["low"](low) + self.classifier["high"](high)]
