"""SwiftNet: a light ladder on an ImageNet backbone (Orsic et al., CVPR 2019, section 3).

    image (N,3,H,W)
      -> backbone    ResNet-18 or -34, maps at 1/4, 1/8, 1/16 and 1/32
      -> fuse        pooling of the last over grids, steps up to 1/4   (N,C,H/4,W/4)
      -> classifier  norm, ReLU, 1x1                                   (N,K,H/4,W/4)
      -> to the image's size

The paper uses the backbone's maps before their last ReLU. In both releases that ReLU is in-place,
so that theirs, and ours, are the maps after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from dseg.models.base import RGB, KeyMap, SegModel
from dseg.nn.backbones.resnet import ResNet
from dseg.nn.conv import fcn_head, init_convs, norm_relu_conv
from dseg.nn.ladder import Ladder


class SwiftNet(SegModel):
    """The authors' network.

    Args:
        num_classes: number of outputs.
        depth: depth of the ResNet: 18 or 34.
        width: channels of the ladder.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"^backbone\.img_(mean|std|scale)$", None),  # the release normalises in the network
        (r"^backbone\.spp\.spp\.spp_bn\.", "fuse.context.reduce."),
        (r"^backbone\.spp\.spp\.spp_fuse\.", "fuse.context.fuse."),
        (r"^backbone\.spp\.spp\.spp(\d)\.", r"fuse.context.levels.\1."),
        (r"^backbone\.upsample\.(\d)\.bottleneck\.", r"fuse.steps.\1.lateral."),
        (r"^backbone\.upsample\.(\d)\.blend_conv\.", r"fuse.steps.\1.blend."),
        (r"^logits\.", "classifier."),
    )
    align_corners: ClassVar[bool] = False
    classifiers = ("classifier.conv.",)

    def __init__(self, num_classes: int, depth: int, width: int = 128):
        super().__init__()
        self.backbone = ResNet(depth)
        self.fuse = Ladder(self.backbone.stage_channels, width, align_corners=self.align_corners)
        self.classifier = norm_relu_conv(width, num_classes, 1, bias=True)
        init_convs(self, skip="backbone.")

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the logits at 1/4 of the image."""
        return [self.classifier(self.fuse(self.backbone.maps(image)))]

    @classmethod
    def statistics_in(cls, state: Mapping[str, Tensor]) -> tuple[RGB, RGB] | None:
        """Return the mean and standard deviation in the file."""
        return statistics_in(state)


def statistics_in(state: Mapping[str, Tensor]) -> tuple[RGB, RGB] | None:
    """Return the RGB mean and standard deviation in 0..1 from buffers that hold them in 0..255.

    The release multiplies the image by ``img_scale``, if it exists, subtracts ``img_mean`` and
    divides by ``img_std``.
    """
    mean, std = (state.get(f"backbone.img_{name}") for name in ("mean", "std"))
    if mean is None or std is None or not mean.numel() == std.numel() == 3:
        return None
    scale = state.get("backbone.img_scale")
    factor = 255 / (float(scale.flatten()[0]) if scale is not None and scale.numel() else 1.0)
    (r, g, b), (red, green, blue) = ((n / factor).flatten().tolist() for n in (mean, std))
    return (r, g, b), (red, green, blue)


class NarrowSwiftNet(SegModel):
    """A second public version: the ladder has one channel per class, and returns logits.

    Args:
        num_classes: number of outputs.
        aux: add an auxiliary head on the map at 1/16, read in training only.
        depth: depth of the ResNet: 18 or 34.
    """

    KEY_MAP: ClassVar[KeyMap] = (
        (r"^(conv1|bn1|layer\d|spp|upsample)\.", r"backbone.\1."),
        *SwiftNet.KEY_MAP,
        (r"^dsn\.0\.", "aux.reduce.conv."),
        (r"^dsn\.1\.", "aux.reduce.norm."),
        (r"^dsn\.4\.", "aux.classifier."),
    )
    classifiers = ("fuse.steps.2.blend.conv.", "fuse.", "aux.classifier.")

    def __init__(self, num_classes: int, aux: bool = False, depth: int = 18):
        super().__init__()
        self.backbone = ResNet(depth)
        channels = self.backbone.stage_channels
        self.fuse = Ladder(channels, num_classes, align_corners=self.align_corners)
        self.aux: nn.Module | None = None
        if aux:
            self.aux = fcn_head(channels[2], num_classes, mid=channels[2], bias=True)
        init_convs(self, skip="backbone.")

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the logits at 1/4 of the image, in training the auxiliary ones at 1/16 too."""
        maps = self.backbone.maps(image)
        scores = [self.fuse(maps)]
        if self.aux is not None and self.training:
            scores.append(self.aux(maps[2]))
        return scores
