"""SFNet: a feature pyramid whose levels are aligned by a semantic flow (Li et al., ECCV 2020).

    image (N,3,H,W)
      -> backbone    ResNet-18 with a deep stem               1/4, 1/8, 1/16, 1/32
      -> context     pooling pyramid and 1x1 on the last map  (N,128,H/32,W/32)
      -> lateral     1x1 on the other maps                    (N,128,..)
      -> align       from the context up: the result so far,
                     warped to each lateral map, plus that    (N,128,..)
         refine      3x3 on each sum                          (N,128,..)
      -> reduce      3x3 of all four levels at 1/4            (N,128,H/4,W/4)
      -> classifier  1x1                                      (N,K,H/4,W/4)

``SFNetLite`` (Li et al., IJCV 2023) aligns once: the context and the map at 1/4 are both warped
and blended by a gate, and ``reduce`` reads the result with the lateral map at 1/16.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from dseg.models.base import KeyMap, SegModel
from dseg.models.dilated import TOP_LEVEL_KEYS
from dseg.nn.backbones.resnet import ResNet
from dseg.nn.conv import conv_norm_act, init_convs
from dseg.nn.flow import ALIGN_KEYS, FlowAlignment, GatedFlowAlignment
from dseg.nn.gated import concat_at
from dseg.nn.pooling import RELEASE_KEYS, PoolingPyramid, pooling_context

SECOND_DILATIONS = {"layer3.": 2, "layer4.": 4}  # of the second 3x3 of each block
RELEASE: KeyMap = (
    (r"^head\.dsn\.", None),  # auxiliary heads, unused in Lite
    (r"^layer0\.0\.", "backbone.conv1."),
    (r"^layer0\.1\.", "backbone.conv1.7."),
    *TOP_LEVEL_KEYS,
    (r"^head\.ppm\.", "context."),
    *RELEASE_KEYS,
    (r"^head\.conv_last\.0\.0\.", "reduce.conv."),
    (r"^head\.conv_last\.0\.1\.", "reduce.norm."),
    (r"^head\.conv_last\.1\.", "classifier."),
    (r"^head\.fpn_in\.(\d)\.0\.", r"lateral.\1.conv."),
    (r"^head\.fpn_in\.(\d)\.1\.", r"lateral.\1.norm."),
)


class SFNet(SegModel):
    """The authors' network on ResNet-18.

    Args:
        num_classes: number of outputs.
        width: channels of every level.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        *RELEASE,
        (r"^head\.fpn_out\.(\d)\.0\.0\.", r"refine.\1.conv."),
        (r"^head\.fpn_out\.(\d)\.0\.1\.", r"refine.\1.norm."),
        (r"^head\.fpn_out_align\.", "align."),
        *ALIGN_KEYS,
    )

    def __init__(self, num_classes: int, width: int = 128):
        super().__init__()
        self.backbone = deep_resnet18()
        *finer, last = self.backbone.stage_channels
        self.context = _context(last, width)
        self.lateral = nn.ModuleList(_lateral(channels, width) for channels in finer)
        self.align = nn.ModuleList(FlowAlignment(width, width // 2) for _ in finer)
        self.refine = nn.ModuleList(_conv3x3(width, width) for _ in finer)
        self.reduce = _conv3x3((1 + len(finer)) * width, width)
        self.classifier = nn.Conv2d(width, num_classes, 1)
        init_convs(self, skip="backbone.")

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the logits at 1/4 of the image."""
        *finer, last = self.backbone.maps(image)
        x = self.context(last)
        levels = [x]
        for index in reversed(range(len(finer))):
            lateral = self.lateral[index](finer[index])
            x = lateral + self.align[index](x, lateral)
            levels.insert(0, self.refine[index](x))
        return [self.classifier(self.reduce(concat_at(levels, levels[0])))]


class SFNetLite(SegModel):
    """The authors' smaller network on ResNet-18.

    Args:
        num_classes: number of outputs.
        width: channels of every level.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"^head\.fpn_in\.2\.", None),  # a layer that is never read
        *RELEASE,
        (r"^head\.flow_align_module\.", "align."),
        *ALIGN_KEYS,
    )

    def __init__(self, num_classes: int, width: int = 128):
        super().__init__()
        self.backbone = deep_resnet18()
        fine, _, middle, last = self.backbone.stage_channels
        self.context = _context(last, width)
        self.lateral = nn.ModuleList(_lateral(channels, width) for channels in (fine, middle))
        self.align = GatedFlowAlignment(width, width // 2)
        self.reduce = _conv3x3(2 * width, width)
        self.classifier = nn.Conv2d(width, num_classes, 1)
        init_convs(self, skip="backbone.")

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the logits at 1/4 of the image."""
        fine, _, middle, last = self.backbone.maps(image)
        fine, middle = (part(x) for part, x in zip(self.lateral, (fine, middle), strict=True))
        fused = self.align(self.context(last), fine)
        return [self.classifier(self.reduce(concat_at([fused, middle], fused)))]


def deep_resnet18() -> ResNet:
    """Build the release's ResNet-18: every stride is kept, and some convolutions are dilated too.

    The second 3x3 convolutions of the last two stages have dilations of 2 and 4.
    """
    backbone = ResNet(18, stem_width=64)
    for name, module in backbone.named_modules():
        for stage, rate in SECOND_DILATIONS.items():
            if name.startswith(stage) and name.endswith("conv2") and isinstance(module, nn.Conv2d):
                module.dilation = module.padding = (rate, rate)
    return backbone


def _context(in_channels: int, width: int) -> nn.Sequential:
    pyramid = PoolingPyramid(in_channels, width, relu=False, input_last=True)
    return pooling_context(pyramid, width, 1, dropout=0.1)


def _lateral(in_channels: int, width: int) -> nn.Sequential:
    return conv_norm_act(in_channels, width, 1, bias=True, act=nn.ReLU(inplace=True))


def _conv3x3(in_channels: int, width: int) -> nn.Sequential:
    return conv_norm_act(in_channels, width, 3, act=nn.ReLU(inplace=True))
