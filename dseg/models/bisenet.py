"""BiSeNet: a shallow path for detail and a deep one for context (Yu et al., ECCV 2018).

    image (N,3,H,W) ----------------------------+
      -> backbone    ResNet-18, maps at         | spatial   three convolutions of stride 2
         1/8, 1/16 and 1/32                     |           (N,128,H/8)
      -> context     mean + 1/32, 1/16,         |
         each refined by attention (N,128,H/8)  |
      -> fuse <---------------------------------+           (N,256,H/8)
      -> head        3x3, 1x1                               (N,K,H/8)

``BiSeNet`` and ``DeepStemBiSeNet`` are two public versions on ResNet-18. They differ in the
backbone's stem, in how the context path upsamples, in the gate of the fusion and in the widths of
the heads.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar

from torch import Tensor, nn

from dseg.models.base import KeyMap, SegModel
from dseg.nn.backbones.resnet import STEM_KEYS, ResNet
from dseg.nn.conv import conv_norm_act, fcn_head, init_convs
from dseg.nn.fuse import FeatureFusion, resize_like
from dseg.nn.gates import AttentionRefinement

WIDTH = 128  # channels of each path


class BiSeNet(SegModel):
    """The version with published checkpoints, on ResNet-18 with its own 7x7 stem.

    The release only accepts sides that are multiples of 32, since it doubles the maps of the
    context path; here they are resized to the next map's size, which is equal for such sides. Its
    evaluation therefore resizes images to such sides (bilinearly, with aligned corners), and so
    does ours; its demo does not align corners.

    Args:
        num_classes: number of outputs.
        aux: add heads on the context path at 1/8 and 1/16, read in training only.
        stem_width: see ``ResNet``.
        mid, aux_mid: hidden channels of the main and the auxiliary heads.
        gate_mid: hidden channels of the fusion's gate; see ``channel_gate``.
        context_align_corners: upsampling of the context path; see ``resize_like``.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"^cp\.resnet\.", "backbone."),
        (r"\.bn\.", ".norm."),
        (r"^sp\.conv(\d)\.", r"spatial.conv\1."),
        (r"^sp\.conv_out\.", "spatial.project."),
        (r"^cp\.conv_avg\.", "context.mean.1."),
        (r"^cp\.arm(\d+)\.conv\.", r"context.attend\1.reduce."),
        (r"^cp\.arm(\d+)\.conv_atten\.", r"context.attend\1.gate.conv."),
        (r"^cp\.arm(\d+)\.bn_atten\.", r"context.attend\1.gate.norm."),
        (r"^cp\.conv_head(\d+)\.", r"context.smooth\1."),
        (r"^ffm\.convblk\.", "fuse.reduce."),
        (r"^ffm\.", "fuse.gate."),
        (r"^conv_out\.", "head."),
        (r"^conv_out16\.", "aux.8."),
        (r"^conv_out32\.", "aux.16."),
        (r"^(head|aux\.\d+)\.conv\.", r"\1.reduce."),
        (r"^(head|aux\.\d+)\.conv_out\.", r"\1.classifier."),
    )
    AUX_STRIDES: ClassVar[tuple[str, str]] = (
        "8",
        "16",
    )  # strides of the maps, in the authors' order
    align_corners: ClassVar[bool] = False
    body = ("backbone.", "spatial.", "context.")
    classifiers = ("head.classifier.", "aux.8.classifier.", "aux.16.classifier.")

    def __init__(
        self,
        num_classes: int,
        aux: bool = False,
        *,
        stem_width: int = 0,
        mid: int = 256,
        aux_mid: int = 64,
        gate_mid: int = 0,
        context_align_corners: bool | None = None,
    ):
        super().__init__()
        self.backbone = ResNet(18, stem_width=stem_width)
        self.spatial = _spatial_path()
        self.context = ContextPath(256, 512, context_align_corners)
        self.fuse = FeatureFusion(2 * WIDTH, 256, gate_mid)
        self.head = fcn_head(256, num_classes, 0, mid=mid)
        self.aux: nn.ModuleDict | None = None
        if aux:
            self.aux = nn.ModuleDict(
                {s: fcn_head(WIDTH, num_classes, 0, mid=aux_mid) for s in self.AUX_STRIDES}
            )
        init_convs(self, skip="backbone.")

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the logits at 1/8 of the image, in training the auxiliary ones after them.

        The auxiliary logits are at 1/8 and 1/16, in the order of ``AUX_STRIDES``.
        """
        context = self.context(*self.backbone.maps(image)[1:])
        scores = [self.head(self.fuse(self.spatial(image), context["8"]))]
        if self.aux is not None and self.training:
            scores += [head(context[stride]) for stride, head in self.aux.items()]
        return scores


class DeepStemBiSeNet(BiSeNet):
    """The version with three 3x3 convolutions as stem, which reads images of any size.

    Its release returns features in training and does not use the auxiliary heads that it builds;
    here they read the features at the same position in its list.

    Args:
        num_classes: number of outputs.
        aux: add heads on the context path at 1/16 and 1/8, read in training only.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        *STEM_KEYS,
        (r"\.bn\.", ".norm."),
        (r"^spatial_path\.conv_7x7\.", "spatial.conv1."),
        (r"^spatial_path\.conv_3x3_1\.", "spatial.conv2."),
        (r"^spatial_path\.conv_3x3_2\.", "spatial.conv3."),
        (r"^spatial_path\.conv_1x1\.", "spatial.project."),
        (r"^global_context\.", "context.mean."),
        (r"^(arms|refines)\.0\.", r"\1.32."),
        (r"^(arms|refines)\.1\.", r"\1.16."),
        (r"^arms\.(\d+)\.conv_3x3\.", r"context.attend\1.reduce."),
        (r"^arms\.(\d+)\.channel_attention\.1\.", r"context.attend\1.gate."),
        (r"^refines\.(\d+)\.", r"context.smooth\1."),
        (r"^ffm\.conv_1x1\.", "fuse.reduce."),
        (r"^ffm\.channel_attention\.(\d)\.conv\.", r"fuse.gate.conv\1."),
        (r"^heads\.0\.", "aux.16."),
        (r"^heads\.1\.", "aux.8."),
        (r"^heads\.2\.", "head."),
        (r"^(head|aux\.\d+)\.conv_3x3\.", r"\1.reduce."),
        (r"^(head|aux\.\d+)\.conv_1x1\.", r"\1.classifier."),
    )
    AUX_STRIDES: ClassVar[tuple[str, str]] = ("16", "8")
    align_corners: ClassVar[bool] = True

    def __init__(self, num_classes: int, aux: bool = False):
        super().__init__(
            num_classes,
            aux,
            stem_width=64,
            mid=64,
            aux_mid=128,
            gate_mid=256,
            context_align_corners=True,
        )


class ContextPath(nn.Module):
    """The backbone's two coarsest maps, refined by attention and added up to 1/8.

    Args:
        channels16, channels32: channels of the maps at 1/16 and 1/32.
        align_corners: mode of the upsampling; see ``resize_like``.
    """

    def __init__(self, channels16: int, channels32: int, align_corners: bool | None):
        super().__init__()
        self.align_corners = align_corners
        self.mean = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            conv_norm_act(channels32, WIDTH, 1, act=nn.ReLU(inplace=True)),
        )
        self.attend32 = AttentionRefinement(channels32, WIDTH)
        self.smooth32 = conv_norm_act(WIDTH, WIDTH, 3, act=nn.ReLU(inplace=True))
        self.attend16 = AttentionRefinement(channels16, WIDTH)
        self.smooth16 = conv_norm_act(WIDTH, WIDTH, 3, act=nn.ReLU(inplace=True))

    def forward(self, map8: Tensor, map16: Tensor, map32: Tensor) -> dict[str, Tensor]:
        """Return the context (N, 128, h, w) at strides "8" and "16" from the maps at 8, 16, 32."""
        x = self.attend32(map32) + self.mean(map32)
        at16 = self.smooth32(resize_like(x, map16, self.align_corners))
        x = self.attend16(map16) + at16
        at8 = self.smooth16(resize_like(x, map8, self.align_corners))
        return {"8": at8, "16": at16}


def _spatial_path() -> nn.Sequential:
    """Build the path that keeps detail: (N, 3, H, W) to (N, 128, H/8, W/8)."""
    return nn.Sequential(
        OrderedDict(
            conv1=conv_norm_act(3, 64, 7, stride=2, act=nn.ReLU(inplace=True)),
            conv2=conv_norm_act(64, 64, 3, stride=2, act=nn.ReLU(inplace=True)),
            conv3=conv_norm_act(64, 64, 3, stride=2, act=nn.ReLU(inplace=True)),
            project=conv_norm_act(64, WIDTH, 1, act=nn.ReLU(inplace=True)),
        )
    )
