"""Registry entries of semseg: PSPNet and PSANet of their authors."""

from __future__ import annotations

from typing import Any

from dseg.protocol import Protocol
from dseg.registry.sources import ADE20K, SCALES_TO_175, VOC
from dseg.registry.spec import ModelSpec, from_255

SEMSEG: dict[str, Any] = {
    "source": "github.com/hszhao/semseg",
    "link": "drive.google.com/open?id=15wx9vOM0euyizq-M1uINgN0_wjVRf9J3",
    "licence": "MIT",
    "mean": from_255(123.675, 116.28, 103.53),
    "std": from_255(58.395, 57.12, 57.375),
}


def _semseg(crop: int, side: int) -> Protocol:
    """Return semseg's evaluation: crops of the image at a long side, averaged with their flips."""
    return Protocol(
        long_side=side,
        resample="bilinear",
        restore="bilinear",
        tile=(crop, crop),
        sliding=True,
        flip=True,
        fusion="prob",
        per_tile=True,
        small="center",
    )


def semseg_protocols(crop: int, photo_crop: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return semseg's protocols for Cityscapes, and for VOC and ADE20K.

    Photos of the latter are always resized to a long side of 512 pixels.
    """
    at_512 = Protocol(long_side=512, resample="bilinear", restore="bilinear")
    city = {"authors": _semseg(crop, 2048), "multi_scales": SCALES_TO_175}
    photo = {"protocol": at_512, "authors": _semseg(photo_crop, 512)}
    return city, {**photo, "multi_scales": SCALES_TO_175}


PSP: dict[str, Any] = {"title": "PSPNet", "paper": "Zhao et al., CVPR 2017"}
PSPNET: dict[str, Any] = {**PSP, **SEMSEG, "target": "pspnet:PSPNet", "recipe": "semseg"}
PSP_ON_CITYSCAPES, PSP_ON_PHOTOS = semseg_protocols(713, 473)
PSANET: dict[str, Any] = {
    **SEMSEG,
    "title": "PSANet",
    "paper": "Zhao et al., ECCV 2018",
    "target": "psanet:PSANet",
    "one_size": "its attention masks are cut to the size of the image",
    "recipe": "psanet",
}
PSA_ON_CITYSCAPES, PSA_ON_PHOTOS = semseg_protocols(709, 465)

SEMSEG_NETS: dict[str, ModelSpec] = {
    "pspnet_r50": ModelSpec(
        **PSPNET,
        **PSP_ON_CITYSCAPES,
        kwargs={"depth": 50},
        params=46_715_347,
        macs=1_472_840_335_360,
        goldens=("pspnet_r50_semseg",),
        published="Cityscapes val 77.30 (single scale), 78.38 (multi-scale)",
        score=77.3,
    ),
    "pspnet_r101": ModelSpec(
        **PSPNET,
        **PSP_ON_CITYSCAPES,
        kwargs={"depth": 101},
        params=65_707_475,
        macs=2_093_463_109_632,
        goldens=("pspnet_r101_semseg",),
        published="Cityscapes val 78.63 (single scale), 79.29 (multi-scale); the paper: test 78.4",
        score=78.63,
    ),
    "pspnet_r50_voc": ModelSpec(
        **PSPNET,
        **PSP_ON_PHOTOS,
        **VOC,
        kwargs={"depth": 50},
        params=46_716_373,
        macs=1_472_873_889_792,
        published="VOC 2012 val 77.05 (single scale)",
    ),
    "pspnet_r50_ade20k": ModelSpec(
        **PSPNET,
        **PSP_ON_PHOTOS,
        **ADE20K,
        kwargs={"depth": 50},
        params=46_782_550,
        macs=1_475_038_150_656,
        published="ADE20K val 41.89 (single scale)",
    ),
    "pspnet_r101_voc": ModelSpec(
        **PSPNET,
        **PSP_ON_PHOTOS,
        **VOC,
        kwargs={"depth": 101},
        params=65_708_501,
        macs=2_093_496_664_064,
        published="VOC 2012 val 79.07 (single scale)",
    ),
    "pspnet_r101_ade20k": ModelSpec(
        **PSPNET,
        **PSP_ON_PHOTOS,
        **ADE20K,
        kwargs={"depth": 101},
        params=65_774_678,
        macs=2_095_660_924_928,
        published="ADE20K val 43.10 (single scale)",
    ),
    "psanet_r50": ModelSpec(
        **PSANET,
        **PSA_ON_CITYSCAPES,
        kwargs={"depth": 50},
        params=55_354_835,
        macs=1_679_016_591_360,
        goldens=("psanet_r50_semseg",),
        published="Cityscapes val 77.45 (single scale), 78.18 (multi-scale)",
        score=77.45,
    ),
    "psanet_r101": ModelSpec(
        **PSANET,
        **PSA_ON_CITYSCAPES,
        kwargs={"depth": 101},
        params=74_346_963,
        macs=2_299_639_365_632,
        goldens=("psanet_r101_semseg",),
        published="Cityscapes val 78.42 (single scale), 79.40 (multi-scale); the paper: test 80.1",
        score=78.42,
    ),
    "psanet_r50_voc": ModelSpec(
        **PSANET,
        **PSA_ON_PHOTOS,
        **VOC,
        kwargs={"depth": 50, "mask_size": 59},
        params=50_809_301,
        macs=1_655_924_850_688,
        published="VOC 2012 val 77.25 (single scale)",
    ),
    "psanet_r50_ade20k": ModelSpec(
        **PSANET,
        **PSA_ON_PHOTOS,
        **ADE20K,
        kwargs={"depth": 50, "mask_size": 59},
        params=50_875_478,
        macs=1_658_089_111_552,
        published="ADE20K val 42.29 (single scale)",
    ),
    "psanet_r101_voc": ModelSpec(
        **PSANET,
        **PSA_ON_PHOTOS,
        **VOC,
        kwargs={"depth": 101, "mask_size": 59},
        params=69_801_429,
        macs=2_276_547_624_960,
        published="VOC 2012 val 78.70 (single scale)",
    ),
    "psanet_r101_ade20k": ModelSpec(
        **PSANET,
        **PSA_ON_PHOTOS,
        **ADE20K,
        kwargs={"depth": 101, "mask_size": 59},
        params=69_867_606,
        macs=2_278_711_885_824,
        published="ADE20K val 43.37 (single scale)",
    ),
}
