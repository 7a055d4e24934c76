"""Registry entries of U-Net and FPN, on several backbones, for own data."""

from __future__ import annotations

from typing import Any

from dseg.registry.spec import ModelSpec

UNET: dict[str, Any] = {
    "title": "U-Net",
    "paper": "Ronneberger et al., MICCAI 2015",
    "target": "unet:UNet",
    "recipe": "unet",
}
FPN: dict[str, Any] = {
    "title": "FPN",
    "paper": "Kirillov et al., CVPR 2019",
    "target": "fpn:FPN",
    "recipe": "fpn",
}

OWN_DATA: dict[str, ModelSpec] = {
    "unet_r18": ModelSpec(
        **UNET,
        kwargs={"backbone": "resnet18"},
        params=14_340_275,
        macs=197_870_485_504,
    ),
    "unet_r34": ModelSpec(
        **UNET,
        kwargs={"backbone": "resnet34"},
        params=24_448_435,
        macs=275_179_896_832,
    ),
    "unet_r50": ModelSpec(
        **UNET,
        kwargs={"backbone": "resnet50"},
        params=32_533_171,
        macs=365_374_210_048,
    ),
    "unet_mobilenetv2": ModelSpec(
        **UNET,
        kwargs={"backbone": "mobilenet_v2"},
        params=4_018_099,
        macs=113_751_359_488,
    ),
    "fpn_r18": ModelSpec(
        **FPN,
        kwargs={"backbone": "resnet18", "width": 128},
        params=12_926_675,
        macs=140_341_411_840,
    ),
    "fpn_r50": ModelSpec(
        **FPN,
        kwargs={"backbone": "resnet50"},
        params=28_478_675,
        macs=352_136_986_624,
    ),
    "fpn_r101": ModelSpec(
        **FPN,
        kwargs={"backbone": "resnet101"},
        params=47_470_803,
        macs=507_292_680_192,
    ),
    "fpn_mobilenetv2": ModelSpec(
        **FPN,
        kwargs={"backbone": "mobilenet_v2", "width": 128},
        params=3_500_499,
        macs=75_465_752_576,
    ),
}
