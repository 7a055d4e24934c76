"""EMANet: a map reconstructed from a few bases that are fitted to it (Li et al., ICCV 2019).

image (N,3,H,W)
  -> backbone    ResNet with a deep stem, stride 8        (N,2048,h,w)
  -> context     3x3                                      (N,512,h,w)
                 expectation-maximisation on 64 bases
                 3x3                                      (N,256,h,w)
  -> classifier  1x1                                      (N,K,h,w)
"""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar

from torch import nn

from dseg.models.base import KeyMap
from dseg.models.dilated import DilatedNetwork
from dseg.nn.backbones.resnet import STEM_KEYS, Layout, ResNet
from dseg.nn.conv import conv_norm_act
from dseg.nn.emau import ExpectationMaximisation

# the first block of a dilated stage has the previous stage's rate, not the grid's first rate
LAYOUT: Layout = ((1, (1,)), (2, (1,)), (1, (1, 2)), (1, (2, 8, 16)))
NORM_MOMENTUM = 3e-4  # as in the release, in the backbone too; statistics hardly change


class EMANet(DilatedNetwork):
    """The network of the release; it has no auxiliary head.

    The release's evaluation zero-pads the normalised image to sides of 8 k + 1, and crops the
    logits.

    Args:
        num_classes: number of outputs.
        depth: depth of the ResNet, 50 or 101.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"^extractor\.0\.", "backbone.conv1."),
        (r"^extractor\.1\.", "backbone.bn1."),
        (r"^extractor\.4\.", "backbone.layer1."),
        (r"^extractor\.5\.", "backbone.layer2."),
        (r"^extractor\.6\.", "backbone.layer3."),
        (r"^extractor\.7\.", "backbone.layer4."),
        *STEM_KEYS,
        (r"^fc0\.", "context.reduce."),
        (r"^fc1\.0\.", "context.refine."),
        (r"^(context\.(?:reduce|refine))\.bn\.", r"\1.norm."),
        (r"^fc2\.", "classifier."),
        (r"^emau\.", "context.attend."),
        (r"^context\.attend\.conv1\.", "context.attend.project."),
        (r"^context\.attend\.conv2\.0\.", "context.attend.restore.conv."),
        (r"^context\.attend\.conv2\.1\.", "context.attend.restore.norm."),
    )

    def __init__(self, num_classes: int, depth: int = 50):
        context = OrderedDict(
            reduce=conv_norm_act(2048, 512, 3, act=nn.ReLU(inplace=True)),
            attend=ExpectationMaximisation(512),
            refine=conv_norm_act(512, 256, 3, act=nn.ReLU(inplace=True)),
            dropout=nn.Dropout2d(0.1),
        )
        super().__init__(
            ResNet(depth, 8, stem_width=64, layout=LAYOUT),
            nn.Sequential(context),
            nn.Conv2d(256, num_classes, 1),
        )
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = NORM_MOMENTUM
