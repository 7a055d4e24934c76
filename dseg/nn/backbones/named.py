"""Backbones by torchvision's names, at stride 32, for networks that accept several of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from dseg.errors import DsegError
from dseg.nn.backbones.base import Backbone
from dseg.nn.backbones.mobilenet import MobileNetV2
from dseg.nn.backbones.resnet import CONFIGS, ResNet

WITH_PYRAMID: dict[str, Callable[[], Backbone]] = {
    **{f"resnet{depth}": partial(ResNet, depth) for depth in CONFIGS},
    "mobilenet_v2": partial(MobileNetV2, 32),
}


def build_pyramid_backbone(name: str) -> Backbone:
    """Build a backbone whose ``pyramid`` has five maps, at 1/2, 1/4, 1/8, 1/16 and 1/32.

    Args:
        name: torchvision's name, such as ``resnet34`` or ``mobilenet_v2``.

    Raises:
        DsegError: unknown name.
    """
    if name not in WITH_PYRAMID:
        raise DsegError(
            f"There is no backbone {name!r} with five maps.",
            hint=f"backbones: {', '.join(WITH_PYRAMID)}.",
        )
    return WITH_PYRAMID[name]()
