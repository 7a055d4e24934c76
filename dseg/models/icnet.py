"""ICNet: a cascade of three resolutions (Zhao et al., ECCV 2018).

    image at 1    -> detail    three strided 3x3 -----------------------+  (N,64,H/8)
    image at 1/2  -> backbone  first half, ResNet-50 ----+              |  (N,512,H/16)
    its map at 1/2                                       |              |
      -> backbone  second half, dilated 2 and 4          |              |  (N,2048,H/32)
      -> context   pooling pyramid 1 2 3 6, 3x3          |              |  (N,512,H/32)
      -> reduce4   1x1 -> fuse24 with half, 1x1 <--------+              |  (N,128,H/16)
                       -> fuse12 with the detail <----------------------+  (N,128,H/8)
      -> x2 -> classifier  1x1                                             (N,K,H/4)
      -> x4

Coarse maps are supervised too, each by its own classifier (cascade label guidance). The registry
has the mean of the release's evaluation; its script for other image sizes rounds it (103.939,
116.779, 123.68).
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from dseg.models.base import KeyMap, SegModel
from dseg.nn.backbones.resnet import DEEP_STEM_KEYS, DILATED, ResNet
from dseg.nn.conv import conv_norm_act, init_convs
from dseg.nn.fuse import resize_like
from dseg.nn.pooling import RELEASE_KEYS, PoolingPyramid, pooling_context

AUX = ("fuse12", "fuse24")  # fusions whose coarse maps have classifiers


class ICNet(SegModel):
    """The network of the release, 47.5 M parameters: ResNet-50 at full width (half in the paper).

    Args:
        num_classes: number of outputs.
        aux: add the classifiers of the two coarse maps, read in training only.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"^backbone\.head\.", "context."),
        *DEEP_STEM_KEYS,
        *RELEASE_KEYS,
        (r"^conv_sub1\.", "detail."),
        (r"^conv_sub([24])\.", r"reduce\1."),
        (r"^(detail\.\d|reduce\d)\.bn\.", r"\1.norm."),
        (r"^head\.cff_(12|24)\.conv_low_cls\.", r"aux.fuse\1."),
        (r"^head\.cff_(12|24)\.conv_low\.0\.", r"fuse\1.coarse.conv."),
        (r"^head\.cff_(12|24)\.conv_low\.1\.", r"fuse\1.coarse.norm."),
        (r"^head\.cff_(12|24)\.conv_high\.0\.", r"fuse\1.fine.conv."),
        (r"^head\.cff_(12|24)\.conv_high\.1\.", r"fuse\1.fine.norm."),
        (r"^head\.conv_cls\.", "classifier."),
    )
    classifiers = ("classifier.", "aux.")

    def __init__(self, num_classes: int, aux: bool = False):
        super().__init__()
        self.detail = nn.Sequential(*(_strided(*pair) for pair in ((3, 32), (32, 32), (32, 64))))
        self.backbone = ResNet(50, 8, stem_width=64, ceil_mode=True, layout=DILATED)
        pyramid = PoolingPyramid(2048, 512, relu=False, input_last=True)
        self.context = pooling_context(pyramid, 512, 3, dropout=0.1)
        self.reduce2 = conv_norm_act(512, 256, 1, act=nn.ReLU(inplace=True))
        self.reduce4 = conv_norm_act(512, 256, 1, act=nn.ReLU(inplace=True))
        self.fuse24 = CascadeFeatureFusion(256, 256, 128)
        self.fuse12 = CascadeFeatureFusion(128, 64, 128)
        self.classifier = nn.Conv2d(128, num_classes, 1, bias=False)
        self.aux: nn.ModuleDict | None = None
        if aux:
            heads = {name: nn.Conv2d(128, num_classes, 1, bias=False) for name in AUX}
            self.aux = nn.ModuleDict(heads)
        init_convs(self, skip="backbone.")

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return logits of 8 * ceil(H / 8) rows, in training with the auxiliary ones.

        The auxiliary logits are, as in the release's loss: the same logits before the last
        upsampling, then those of fuse12's and of fuse24's coarse map, at 1/4, 1/8 and 1/16 of the
        image.
        """
        layer1, layer2, layer3, layer4 = (
            self.backbone.get_submodule(f"layer{number}") for number in (1, 2, 3, 4)
        )
        half = layer2(layer1(self.backbone.stem(_scale(image, 0.5))))
        quarter = self.context(layer4(layer3(_scale(half, 0.5))))
        fused24, coarse24 = self.fuse24(self.reduce4(quarter), self.reduce2(half))
        fused12, coarse12 = self.fuse12(fused24, self.detail(image))
        scores = self.classifier(_scale(fused12, 2))
        full = _scale(scores, 4)
        if self.aux is None or not self.training:
            return [full]
        return [full, scores, self.aux["fuse12"](coarse12), self.aux["fuse24"](coarse24)]


class CascadeFeatureFusion(nn.Module):
    """The paper's cascade feature fusion unit: both maps projected, added, ReLU.

    Args:
        coarse, fine: channels of the two maps.
        channels: output channels.
    """

    def __init__(self, coarse: int, fine: int, channels: int):
        super().__init__()
        self.coarse = conv_norm_act(coarse, channels, 3, dilation=2)
        self.fine = conv_norm_act(fine, channels, 1)

    def forward(self, coarse: Tensor, fine: Tensor) -> tuple[Tensor, Tensor]:
        """Return sum and projected coarse map, (N, channels, h, w) in the fine map's size."""
        projected = self.coarse(resize_like(coarse, fine, True))
        return (projected + self.fine(fine)).relu_(), projected


def _strided(in_channels: int, out_channels: int) -> nn.Sequential:
    return conv_norm_act(in_channels, out_channels, 3, stride=2, act=nn.ReLU(inplace=True))


def _scale(x: Tensor, factor: float) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=True)
