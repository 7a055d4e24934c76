"""OCNet: attention of each position to those of its object (Yuan et al., arXiv 1809.00916).

    image (N,3,H,W)
      -> backbone    ResNet with a deep stem, stride 8             (N,2048,h,w)
      -> context     3x3                                           (N,512,h,w)
                     object context pooling (base), also in
                     smaller regions (pyramid), or with
                     atrous convolutions (asp)                     (N,512,h,w)
      -> classifier  1x1                                           (N,K,h,w)
         aux         on the third stage, in training               (N,K,h,w)

``OCNetBase``, ``OCNetPyramid`` and ``OCNetASP`` are the authors' versions, with leaky activations
in the head; the ``Tramac`` classes are those of a model zoo. They differ in the stem's pooling, in
the dilation of the stages' first blocks, in the activations, and in the width of asp.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar

from torch import nn

from dseg.models.base import KeyMap
from dseg.models.dilated import AUX_KEYS, TOP_LEVEL_KEYS, TRAMAC_KEYS, DilatedNetwork
from dseg.nn.backbones.resnet import DEEP_STEM_KEYS, DILATED, ResNet
from dseg.nn.conv import conv_norm_act, fcn_head, rectifier
from dseg.nn.object_context import SLOPE, ObjectAtrousPyramid, ObjectPyramid, start_closed
from dseg.nn.pooling import SIZES

# keys below ``context.objects`` in both versions, to ours
OBJECT_KEYS: KeyMap = (
    (r"^context\.objects\.context\.([01])\.", r"context.objects.reduce.\1."),
    (r"^context\.objects\.context\.[23]\.", "context.objects.attend."),
    (r"^context\.objects\.(conv2|b4)\.", "context.objects.rate1."),
    (r"^context\.objects\.(conv3|b1)\.", "context.objects.rate12."),
    (r"^context\.objects\.(conv4|b2)\.", "context.objects.rate24."),
    (r"^context\.objects\.(conv5|b3)\.", "context.objects.rate36."),
    (r"\.stages\.0\.", ".grid1."),
    (r"\.stages\.1\.", ".grid2."),
    (r"\.stages\.2\.", ".grid3."),
    (r"\.stages\.3\.", ".grid6."),
    (r"\.f_key\.", None),  # the same module as f_query, whose values are loaded last
    (r"\.f_query\.", ".key."),
    (r"\.f_value\.", ".value."),
    (r"\.W\.", ".out."),
    (r"\.conv_bn_dropout\.", ".project."),
    (r"\.up_dr\.", ".widen."),
    (r"^(context\..*(?:reduce|key|widen|project|rate\d+))\.0\.", r"\1.conv."),
    (r"^(context\..*(?:reduce|key|widen|project|rate\d+))\.1\.", r"\1.norm."),
)


class OCNet(DilatedNetwork):
    """Base class of the authors' three networks.

    Args:
        objects: object context module on (N, 512, h, w).
        num_classes: number of outputs.
        depth: depth of the ResNet, 50 or 101.
        aux: add the auxiliary head, read in training only.
        slope: negative slope in the reduction before ``objects`` and in the auxiliary head; see
            ``rectifier``.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        *TOP_LEVEL_KEYS,
        *DEEP_STEM_KEYS,
        *AUX_KEYS,
        (r"^cls\.", "classifier."),
        (r"^layer5\.", "context.reduce."),
        (r"^context\.([01])\.", r"context.reduce.\1."),
        (r"^context\.2\.", "context.objects."),
        (r"^context\.(stages|conv_bn_dropout|up_dr)\.", r"context.objects.\1."),
        *OBJECT_KEYS,
    )

    def __init__(
        self,
        objects: nn.Module,
        num_classes: int,
        depth: int,
        aux: bool,
        *,
        slope: float | None = SLOPE,
    ):
        reduce = conv_norm_act(2048, 512, 3, bias=True, act=rectifier(slope))
        # the release's dropout is known for the pyramid's head only
        head = fcn_head(1024, num_classes, 0.05, mid=512, bias=True, slope=slope, of_maps=True)
        super().__init__(
            ResNet(depth, 8, stem_width=64, ceil_mode=True, layout=DILATED),
            nn.Sequential(OrderedDict(reduce=reduce, objects=objects)),
            nn.Conv2d(512, num_classes, 1),
            head if aux else None,
        )
        start_closed(self)


class OCNetBase(OCNet):
    """Object context pooling over the whole map (Base-OC).

    Args:
        num_classes: number of outputs.
        depth: depth of the ResNet, 50 or 101.
        aux: add the auxiliary head, read in training only.
    """

    def __init__(self, num_classes: int, depth: int = 50, aux: bool = False):
        super().__init__(ObjectPyramid(512, 256, beside=True), num_classes, depth, aux)


class OCNetPyramid(OCNet):
    """Object context pooling in grids of 1, 2, 3 and 6 regions per side (Pyramid-OC).

    For this network the release has no activation in the reduction and in the auxiliary head.

    Args:
        num_classes: number of outputs.
        depth: depth of the ResNet, 50 or 101.
        aux: add the auxiliary head, read in training only.
    """

    def __init__(self, num_classes: int, depth: int = 50, aux: bool = False):
        objects = ObjectPyramid(512, 512, SIZES, widened=2048)
        super().__init__(objects, num_classes, depth, aux, slope=None)


class OCNetASP(OCNet):
    """Object context pooling with convolutions of rates 1, 12, 24 and 36 (ASP-OC).

    Args:
        num_classes: number of outputs.
        depth: depth of the ResNet, 50 or 101.
        aux: add the auxiliary head, read in training only.
    """

    def __init__(self, num_classes: int, depth: int = 50, aux: bool = False):
        super().__init__(ObjectAtrousPyramid(512, 256, 512), num_classes, depth, aux)


class TramacOCNetBase(DilatedNetwork):
    """The model zoo's Base-OC: ReLU, and the first block of a stage has the previous stage's rate.

    Args:
        num_classes: number of outputs.
        depth: depth of the ResNet, 50 or 101.
        aux: add the auxiliary head, read in training only.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        *TRAMAC_KEYS,
        (r"^head\.out\.", "classifier."),
        (r"^head\.context\.([01])\.", r"context.reduce.\1."),
        (r"^head\.context\.3\.", "context.objects."),
        (r"^head\.context\.", "context.objects."),
        *OBJECT_KEYS,
    )

    def __init__(self, num_classes: int, depth: int = 50, aux: bool = False):
        super().__init__(
            ResNet(depth, 8, stem_width=64),
            self.build_context(),
            nn.Conv2d(512, num_classes, 1),
            fcn_head(1024, num_classes) if aux else None,
        )
        start_closed(self)

    @staticmethod
    def build_context() -> nn.Sequential:
        """Build the context module: (N, 2048, h, w) to (N, 512, h, w)."""
        return _reduced(ObjectPyramid(512, 256, beside=True, slope=0.0))


class TramacOCNetPyramid(TramacOCNetBase):
    """The model zoo's Pyramid-OC, whose reduction has an activation."""

    @staticmethod
    def build_context() -> nn.Sequential:
        """Build the context module: (N, 2048, h, w) to (N, 512, h, w)."""
        return _reduced(ObjectPyramid(512, 512, SIZES, widened=2048, slope=0.0))


class TramacOCNetASP(TramacOCNetBase):
    """The model zoo's ASP-OC: without a reduction before it, and with twice the width."""

    @staticmethod
    def build_context() -> nn.Sequential:
        """Build the context module: (N, 2048, h, w) to (N, 512, h, w)."""
        objects = ObjectAtrousPyramid(2048, 512, 512, (12, 24, 36, 1), slope=0.0)
        return nn.Sequential(OrderedDict(objects=objects))


def _reduced(objects: nn.Module) -> nn.Sequential:
    reduce = conv_norm_act(2048, 512, 3, act=nn.ReLU(inplace=True))
    return nn.Sequential(OrderedDict(reduce=reduce, objects=objects))
