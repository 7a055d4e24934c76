"""ESPNet: an efficient spatial pyramid of dilated convolutions (Mehta et al., ECCV 2018).

    image (N,3,H,W) ------------------------+ average pooling to 1/2, 1/4
      -> stem    3x3, stride 2              |                                (N,16,h/2)
      -> down1   with the image at 1/2 -----+ block1: p ESP modules          (N,64,h/4)
      -> down2   with the image at 1/4 -----+ block2: q ESP modules          (N,128,h/8)
      -> classifier 1x1                                                      (N,K,h/8)
      -> x2, fused with block1 by an ESP module                              (N,K,h/4)
      -> x2, fused with the stem by a 3x3, in one release with               (N,K,h/2)
         the image at 1/2 too
      -> x2; each x2 is a transposed convolution                             (N,K,H)

``ESPNetC`` ends after the encoder's classifier; ``ESPNet`` has the decoder too. The paper trains
ESPNetC first, then ESPNet from its weights: a file of ``ESPNetC`` with the same p and q fits the
backbone of ``ESPNet``.

The authors' evaluation (Cityscapes) resizes the normalised image bilinearly to 512x1024, and
upsamples labels by nearest-neighbour interpolation.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dseg.errors import DsegError
from dseg.models.base import KeyMap, SegModel
from dseg.nn.backbones.base import Backbone
from dseg.nn.conv import conv_norm_act, init_convs, norm_prelu
from dseg.nn.esp import RATES, ESPModule

EPS = 1e-3


class ESPEncoder(Backbone):
    """ESPNet-C with its classifier; it also returns the inputs of its levels.

    Args:
        num_classes: number of outputs at 1/8.
        p, q: number of ESP modules at 1/4 and at 1/8, without the strided ones.
    """

    CLASSIFIERS = ("classifier.",)
    torchvision_name = ""

    def __init__(self, num_classes: int, p: int, q: int):
        super().__init__()
        self.stem = conv_norm_act(3, 16, 3, stride=2, act=nn.PReLU(16), eps=EPS)
        self.norm1 = norm_prelu(16 + 3, EPS)
        self.down1 = ESPModule(16 + 3, 64, stride=2, residual=False, eps=EPS)
        self.block1 = nn.Sequential(*(ESPModule(64, 64, eps=EPS) for _ in range(p)))
        self.norm2 = norm_prelu(64 + 64 + 3, EPS)
        self.down2 = ESPModule(64 + 64 + 3, 128, stride=2, residual=False, eps=EPS)
        self.block2 = nn.Sequential(*(ESPModule(128, 128, eps=EPS) for _ in range(q)))
        self.norm3 = norm_prelu(128 + 128, EPS)
        self.classifier = nn.Conv2d(128 + 128, num_classes, 1, bias=False)
        self.out_channels = num_classes

    def maps(self, image: Tensor) -> list[Tensor]:
        """Return the stem's map and the inputs of both levels, and the logits.

        They are (N, 16, H/2, W/2), (N, 19, H/2, W/2), (N, 131, H/4, W/4), (N, K, H/8, W/8), each
        rounded up.
        """
        half = F.avg_pool2d(image, 3, stride=2, padding=1)
        quarter = F.avg_pool2d(half, 3, stride=2, padding=1)
        stem = self.stem(image)
        first = self.norm1(torch.cat([stem, half], 1))
        x = self.down1(first)
        second = self.norm2(torch.cat([self.block1(x), x, quarter], 1))
        x = self.down2(second)
        third = self.norm3(torch.cat([x, self.block2(x)], 1))
        return [stem, first, second, self.classifier(third)]

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, 3, H, W) to (N, K, H/8, W/8), rounded up."""
        return self.maps(image)[-1]


class ESPNetC(SegModel):
    """The encoder only; logits at 1/8 of the image.

    Args:
        num_classes: number of outputs.
        p, q: number of ESP modules at 1/4 and at 1/8, 2 and 8 in the authors' best network.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"^(encoder\.)?level1\.bn\.", "backbone.stem.norm."),
        (r"^(encoder\.)?level1\.", "backbone.stem."),
        (r"^(encoder\.)?b(\d)\.bn\.", r"backbone.norm\2.norm."),
        (r"^(encoder\.)?b(\d)\.act\.", r"backbone.norm\2.act."),
        (r"^(encoder\.)?level2_0\.", "backbone.down1."),
        (r"^(encoder\.)?level3_0\.", "backbone.down2."),
        (r"^(encoder\.)?level2\.", "backbone.block1."),
        (r"^(encoder\.)?level3\.", "backbone.block2."),
        (r"^(encoder\.)?classifier\.conv\.", "backbone.classifier."),
        (r"^(backbone\.down\d)\.bn\.", r"\1.norm.norm."),
        (r"^(backbone\.down\d)\.act\.", r"\1.norm.act."),
        (r"\.bn\.bn\.", ".norm.norm."),
        (r"\.bn\.act\.", ".norm.act."),
        (r"\.c1\.conv\.", ".reduce."),
        (r"\.d(\d+)\.conv\.", r".rate\1."),
    )
    align_corners: ClassVar[bool] = False
    classifiers = ("backbone.classifier.",)

    def __init__(self, num_classes: int, p: int = 2, q: int = 8):
        super().__init__()
        self.backbone = ESPEncoder(num_classes, p, q)
        init_convs(self)  # the initial slope of PReLU is 0.25, near ReLU

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the logits at 1/8 of the image."""
        return [self.backbone(image)]

    @classmethod
    def options_for(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return p and q, from the number of modules."""
        return {"p": _count(state, "backbone.block1."), "q": _count(state, "backbone.block2.")}


class ESPNet(SegModel):
    """The encoder and the decoder; logits at the image's size.

    The release only accepts sides that are multiples of 8, or one less. Here the excess of a
    transposed convolution is cut off on the right and at the bottom, so that any size is accepted.
    As in the release, the stem's map enters the last fusion without a 1x1 convolution.

    The release has two decoders: that of its training code and its CamVid file concatenates the
    image at 1/2 to that map and normalises both; that of its test code and Cityscapes files
    does not.

    Args:
        num_classes: number of outputs, at least five; the decoder has as many channels.
        p, q: as of ``ESPNetC``.
        fuse_image: whether the last fusion also reads the image at 1/2.

    Raises:
        DsegError: fewer than five classes.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        *ESPNetC.KEY_MAP,
        (r"^level3_C\.conv\.", "project."),
        (r"^br\.", "norm."),
        (r"^up_l3\.0\.", "double3."),
        (r"^combine_l2_l3\.0\.bn\.", "fuse2.enter.norm."),
        (r"^combine_l2_l3\.0\.act\.", "fuse2.enter.act."),
        (r"^combine_l2_l3\.1\.", "fuse2.esp."),
        (r"^up_l2\.0\.", "double2."),
        (r"^up_l2\.1\.bn\.", "norm2.norm."),
        (r"^up_l2\.1\.act\.", "norm2.act."),
        (r"^conv\.bn\.", "fuse1.norm."),
        (r"^conv\.", "fuse1."),
    )
    classifiers = (
        *("classifier.", "backbone.classifier.", "project.", "norm.", "double3.", "fuse2."),
        *("double2.", "norm2.", "fuse1."),
    )

    def __init__(self, num_classes: int, p: int = 2, q: int = 8, *, fuse_image: bool = True):
        super().__init__()
        if num_classes < len(RATES):
            raise DsegError(
                f"ESPNet's decoder cannot be built for {num_classes} classes: its {len(RATES)} "
                "branches split as many channels as there are classes.",
                hint=f"use {len(RATES)} classes or more, or espnet_c, which has no decoder.",
            )
        self.backbone = ESPEncoder(num_classes, p, q)
        self.norm = nn.BatchNorm2d(num_classes, eps=EPS)
        self.double3 = _doubling(num_classes)
        self.project = nn.Conv2d(64 + 64 + 3, num_classes, 1, bias=False)
        self.fuse2 = nn.Sequential(
            OrderedDict(
                enter=norm_prelu(2 * num_classes, EPS),
                esp=ESPModule(2 * num_classes, num_classes, residual=False, eps=EPS),
            )
        )
        self.double2 = _doubling(num_classes)
        self.norm2 = norm_prelu(num_classes, EPS)
        self.fuse_image = fuse_image
        stem = 16 + 3 if fuse_image else 16
        self.fuse1 = conv_norm_act(
            num_classes + stem, num_classes, 3, act=nn.PReLU(num_classes), eps=EPS
        )
        self.classifier = _doubling(num_classes)
        init_convs(self)  # the initial slope of PReLU is 0.25, near ReLU

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the logits at the image's size."""
        stem, first, second, third = self.backbone.maps(image)
        x = _cut(self.double3(self.norm(third)), second)
        x = self.fuse2(torch.cat([self.project(second), x], 1))
        x = self.norm2(_cut(self.double2(x), first))
        x = self.fuse1(torch.cat([x, first if self.fuse_image else stem], 1))
        return [_cut(self.classifier(x), image)]

    @classmethod
    def options_for(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return p and q, from the number of modules, and ``fuse_image``."""
        options = ESPNetC.options_for(state)
        fusion, last = state.get("fuse1.conv.weight"), state.get("classifier.weight")
        if fusion is not None and last is not None and fusion.ndim == last.ndim == 4:
            options["fuse_image"] = fusion.shape[1] != last.shape[1] + 16
        return options


def _doubling(channels: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels, channels, 2, stride=2, bias=False)


def _cut(x: Tensor, like: Tensor) -> Tensor:
    """Crop the bottom and right of x to the size of ``like``."""
    return x[..., : like.shape[-2], : like.shape[-1]]


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """Return the number of numbered modules under a prefix."""
    numbers = (re.match(re.escape(prefix) + r"(\d+)\.", key) for key in state)
    return len({found[1] for found in numbers if found})
