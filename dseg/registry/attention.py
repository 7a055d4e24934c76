"""Registry entries of the accurate networks with attention."""

from __future__ import annotations

from typing import Any

from dseg.protocol import Protocol
from dseg.registry.sources import CAFFE, SCALES_TO_175, TRAMAC, UNDIVIDED, VOC, sliding
from dseg.registry.spec import ModelSpec, from_255

DA: dict[str, Any] = {"title": "DANet", "paper": "Fu et al., CVPR 2019"}
DANET: dict[str, Any] = {
    **DA,
    "source": "github.com/junfu1115/DANet",
    "licence": "MIT",
    "recipe": "danet",
    "authors": Protocol(
        long_side=2048,
        resample="bilinear-corners",
        tile=(768, 768),
        sliding=True,
        flip=True,
        fusion="exp",
        per_tile=True,
        small="corner",
        fill="black",
        last="pad",
    ),
    "multi_scales": SCALES_TO_175,
}
DANET_TRAMAC: dict[str, Any] = {**DA, **TRAMAC, "target": "danet:TramacDANet", "recipe": "danet"}
CCNET: dict[str, Any] = {
    **CAFFE,
    "source": "github.com/speedinghzl/CCNet",
    "licence": "MIT",
    "authors": sliding(769),
    "inplace_abn": True,
    "title": "CCNet",
    "paper": "Huang et al., ICCV 2019",
    "target": "ccnet:CCNet",
    "recipe": "ccnet",
}
EMANET: dict[str, Any] = {
    "source": "github.com/XiaLiPKU/EMANet",
    "protocol": Protocol(pad_multiple=8, pad_remainder=1),
    "title": "EMANet",
    "paper": "Li et al., ICCV 2019",
    "target": "emanet:EMANet",
    "recipe": "emanet",
}
GLORE: dict[str, Any] = {
    "title": "GloRe",
    "paper": "Chen et al., CVPR 2019",
    "target": "glore:GloReNet",
    "recipe": "glore",
}
OC: dict[str, Any] = {"title": "OCNet", "paper": "Yuan et al., arXiv 1809.00916"}
REGIONS = "its regions are cut to the size of the image"
OCNET: dict[str, Any] = {
    **OC,
    "source": "github.com/PkuRainBow/OCNet.pytorch",
    "mean": from_255(102.9801, 115.9465, 122.7717),  # blue's first, as in the release
    "std": UNDIVIDED,
    "authors": Protocol(resample="bilinear-corners"),
    "multi_scales": (0.75, 1.0, 1.25),
    "inplace_abn": True,
    "recipe": "ocnet",
}
OCNET_TRAMAC: dict[str, Any] = {**OC, **TRAMAC, "recipe": "ocnet"}

ATTENTION: dict[str, ModelSpec] = {
    "danet_r50": ModelSpec(
        **DANET,
        target="danet:DeepStemDANet",
        kwargs={"depth": 50},
        params=47_566_933,
        macs=2_273_799_307_264,
        goldens=("danet_r50_danet",),
    ),
    "danet_r101": ModelSpec(
        **DANET,
        target="danet:DANet",
        kwargs={"depth": 101},
        params=66_435_285,
        macs=2_837_782_200_320,
        goldens=("danet_r101_danet",),
        weights="DANet101.pth.tar",
        link="drive.google.com/open?id=1XmpFEF-tbPH0Rmv4eKRxYJngr3pTbj6p",
        published="Cityscapes val 79.93 (single scale), test 81.5",
        score=79.93,
    ),
    "danet_r50_tramac": ModelSpec(
        **DANET_TRAMAC,
        kwargs={"depth": 50},
        params=47_566_933,
        macs=2_273_799_307_264,
        goldens=("danet_r50_tramac",),
    ),
    "ccnet_r50": ModelSpec(
        **CCNET,
        kwargs={"depth": 50},
        params=47_565_908,
        macs=1_682_099_764_992,
        goldens=("ccnet_r50_ccnet",),
    ),
    "ccnet_r101": ModelSpec(
        **CCNET,
        kwargs={"depth": 101},
        params=66_558_036,
        macs=2_310_014_402_304,
        goldens=("ccnet_r101_ccnet",),
        link="drive.google.com/open?id=1IxXm8qxKmfDPVRtT8uuDNEvSQsNVTfLC",
        published="Cityscapes val 79.74 (single scale), 80.0 (with OHEM), test 81.4",
        score=79.74,
    ),
    "ccnet_r101_r1": ModelSpec(
        **CCNET,
        kwargs={"depth": 101, "recurrence": 1},
        params=66_558_036,
        macs=2_291_779_721_856,
        link="drive.google.com/open?id=13j06I4e50T41j_2HQl4sksrLZihax94L",
        published="Cityscapes val 77.91 (single scale)",
        score=77.91,
    ),
    "emanet_r50": ModelSpec(
        **EMANET,
        kwargs={"depth": 50},
        params=34_780_883,
        macs=1_226_741_645_312,
        goldens=("emanet_r50_emanet",),
    ),
    "emanet_r101": ModelSpec(
        **EMANET,
        kwargs={"depth": 101},
        params=53_773_011,
        macs=1_847_364_419_584,
        goldens=("emanet_r101_emanet",),
        published="Cityscapes val 81.14 (single scale, OHEM), test 81.9 (multi-scale)",
        score=81.14,
    ),
    "emanet_r101_voc": ModelSpec(
        **EMANET,
        **VOC,
        kwargs={"depth": 101},
        params=53_773_525,
        macs=1_847_381_196_800,
        weights="emanet/final.pth",
        link="drive.google.com/open?id=11GbUBfpWnt000Hy6FI32tppHc7QxczPO",
        licence="GPL-3.0 (the repository's)",
    ),
    "glore_r50": ModelSpec(
        **GLORE,
        kwargs={"depth": 50},
        params=35_501_907,
        macs=1_190_126_944_256,
        published="Cityscapes test 79.5",
        score=79.5,
    ),
    "glore_r101": ModelSpec(
        **GLORE,
        kwargs={"depth": 101},
        params=54_494_035,
        macs=1_810_749_718_528,
        published="Cityscapes test 80.9",
        score=80.9,
    ),
    "ocnet_base_r50": ModelSpec(
        **OCNET,
        target="ocnet:OCNetBase",
        kwargs={"depth": 50},
        params=34_000_851,
        macs=1_769_492_133_888,
        goldens=("ocnet_base_r50_ocnet",),
    ),
    "ocnet_base_r101": ModelSpec(
        **OCNET,
        target="ocnet:OCNetBase",
        kwargs={"depth": 101},
        params=52_992_979,
        macs=2_397_406_771_200,
        goldens=("ocnet_base_r101_ocnet",),
        published="Cityscapes val 79.3, test 78.1 (single scale)",
        score=79.3,
    ),
    "ocnet_base_r50_tramac": ModelSpec(
        **OCNET_TRAMAC,
        target="ocnet:TramacOCNetBase",
        kwargs={"depth": 50},
        params=34_000_339,
        macs=1_743_370_846_208,
        goldens=("ocnet_base_r50_tramac",),
    ),
    "ocnet_pyramid_r50": ModelSpec(
        **OCNET,
        target="ocnet:OCNetPyramid",
        kwargs={"depth": 50},
        params=38_862_291,
        macs=2_540_054_192_640,
        goldens=("ocnet_pyramid_r50_ocnet",),
        one_size=REGIONS,
    ),
    "ocnet_pyramid_r101": ModelSpec(
        **OCNET,
        target="ocnet:OCNetPyramid",
        kwargs={"depth": 101},
        params=57_854_419,
        macs=3_167_968_829_952,
        goldens=("ocnet_pyramid_r101_ocnet",),
        one_size=REGIONS,
    ),
    "ocnet_pyramid_r50_tramac": ModelSpec(
        **OCNET_TRAMAC,
        target="ocnet:TramacOCNetPyramid",
        kwargs={"depth": 50},
        params=38_861_779,
        macs=2_497_956_929_536,
        goldens=("ocnet_pyramid_r50_tramac",),
        one_size=REGIONS,
    ),
    "ocnet_asp_r50": ModelSpec(
        **OCNET,
        target="ocnet:OCNetASP",
        kwargs={"depth": 50},
        params=38_820_179,
        macs=1_388_116_719_104,
        goldens=("ocnet_asp_r50_ocnet",),
    ),
    "ocnet_asp_r101": ModelSpec(
        **OCNET,
        target="ocnet:OCNetASP",
        kwargs={"depth": 101},
        params=57_812_307,
        macs=2_016_031_356_416,
        goldens=("ocnet_asp_r101_ocnet",),
        published="Cityscapes val 79.5, test 78.3 (single scale), test 81.7 (multi-scale)",
        score=79.5,
    ),
    "ocnet_asp_r50_tramac": ModelSpec(
        **OCNET_TRAMAC,
        target="ocnet:TramacOCNetASP",
        kwargs={"depth": 50},
        params=64_677_075,
        macs=2_234_070_859_776,
        goldens=("ocnet_asp_r50_tramac",),
    ),
}
