"""Registry entries of LR-ASPP."""

from __future__ import annotations

from typing import Any

from dseg.registry.pyramids import TORCHVISION
from dseg.registry.spec import ModelSpec

LRASPP: dict[str, Any] = {
    "title": "LR-ASPP",
    "paper": "Howard et al., ICCV 2019",
    "target": "lraspp:LRASPP",
    "source": "github.com/pytorch/vision",
    "recipe": "lraspp",
}

LRASPP_NETS: dict[str, ModelSpec] = {
    "lraspp_mobilenetv3": ModelSpec(
        **LRASPP,
        params=3_221_198,
        macs=15_774_900_096,
    ),
    "lraspp_mobilenetv3_voc": ModelSpec(
        **LRASPP,
        **TORCHVISION,
        params=3_221_538,
        macs=15_785_910_144,
        goldens=("lraspp_mobilenet_v3_large_torchvision",),
        weights="lraspp_mobilenet_v3_large-d234d4ea.pth",
        link="download.pytorch.org/models/lraspp_mobilenet_v3_large-d234d4ea.pth",
        published="COCO val2017 57.9, of Pascal VOC's 21 classes",
    ),
}
