"""Registry entries of the accurate networks with pyramids, large receptive fields or ladders."""

from __future__ import annotations

from typing import Any

from dseg.protocol import Protocol
from dseg.registry.semseg import PSP
from dseg.registry.sources import DECOUPLE, GALD_RELEASE, SCALES_TO_175, TRAMAC, VOC
from dseg.registry.spec import ModelSpec

PSPNET_GALD: dict[str, Any] = {
    **PSP,
    **GALD_RELEASE,
    "target": "pspnet:GALDPSPNet",
    "recipe": "gald",
}
PSPNET_TRAMAC: dict[str, Any] = {
    **PSP,
    **TRAMAC,
    "target": "pspnet:TramacPSPNet",
    "recipe": "semseg",
}
V3: dict[str, Any] = {"title": "DeepLabV3", "paper": "Chen et al., arXiv 1706.05587"}
DEEPLABV3: dict[str, Any] = {
    **V3,
    "target": "deeplabv3:DeepLabV3",
    "source": "github.com/pytorch/vision",
    "recipe": "deeplabv3",
}
TORCHVISION: dict[str, Any] = {  # the preset of its weights
    **VOC,
    "protocol": Protocol(short_side=520, resample="bilinear-antialias"),
    "licence": "BSD-3-Clause",
}
DEEPLABV3_TRAMAC: dict[str, Any] = {
    **V3,
    **TRAMAC,
    "target": "deeplabv3:TramacDeepLabV3",
    "recipe": "deeplabv3",
}
V3PLUS: dict[str, Any] = {"title": "DeepLabV3+", "paper": "Chen et al., ECCV 2018"}
DEEPLABV3PLUS: dict[str, Any] = {
    **V3PLUS,
    **DECOUPLE,
    "target": "deeplabv3plus:DeepLabV3Plus",
    "recipe": "deeplabv3plus",
}
DEEPLABV3PLUS_NVIDIA: dict[str, Any] = {
    **V3PLUS,
    "source": "github.com/NVIDIA/semantic-segmentation",
    "target": "deeplabv3plus:PlainStemDeepLabV3Plus",
    "recipe": "deeplabv3plus",
}
DFN: dict[str, Any] = {
    "title": "DFN",
    "paper": "Yu et al., CVPR 2018",
    "source": "github.com/ycszen/TorchSeg",
    "licence": "MIT",
    "multi_scales": SCALES_TO_175,
    "target": "dfn:DFN",
    "recipe": "dfn",
}


def _dfn(crop: int) -> Protocol:
    """Return TorchSeg's evaluation: probabilities of crops, summed where they overlap.

    Its network returns log-probabilities; those of an image and its flip are added before ``exp``.
    """
    return Protocol(
        resample="bilinear",
        restore="bilinear",
        tile=(crop, crop),
        sliding=True,
        fusion="product",
        per_tile=True,
        small="center",
        fill="mean-if-whole",
        overlaps="sum",
    )


REFINENET: dict[str, Any] = {
    "title": "RefineNet",
    "paper": "Lin et al., CVPR 2017",
    "source": "github.com/DrSleep/refinenet-pytorch",
    "protocol": Protocol(upsample="bicubic"),
    "target": "refinenet:RefineNet",
    "recipe": "refinenet",
}
DUC: dict[str, Any] = {
    "title": "DUC-HDC",
    "paper": "Wang et al., WACV 2018",
    "target": "duc:DUCHDC",
    "recipe": "duc_hdc",
}
SAC: dict[str, Any] = {
    "title": "SAC",
    "paper": "Zhang et al., ICCV 2017",
    "target": "sac:SACNet",
    "recipe": "sac",
}
DSSPN: dict[str, Any] = {
    "title": "DSSPN",
    "paper": "Liang et al., CVPR 2018",
    "target": "dsspn:DSSPN",
    "recipe": "dsspn",
}

PYRAMIDS: dict[str, ModelSpec] = {
    "pspnet_r50_gald": ModelSpec(
        **PSPNET_GALD,
        kwargs={"depth": 50},
        params=46_715_347,
        macs=1_489_247_352_320,
        goldens=(
            "pspnet_r50_gald",
            "pspnet50_fastseg",
        ),
    ),
    "pspnet_r101_gald": ModelSpec(
        **PSPNET_GALD,
        kwargs={"depth": 101},
        params=65_707_475,
        macs=2_117_161_989_632,
        goldens=(
            "pspnet_r101_gald",
            "pspnet101_fastseg",
        ),
        published="none of this version; the paper: Cityscapes test 78.4",
    ),
    "pspnet_r50_tramac": ModelSpec(
        **PSPNET_TRAMAC,
        kwargs={"depth": 50},
        params=46_715_347,
        macs=1_472_840_335_360,
        goldens=("pspnet_r50_tramac",),
    ),
    "deeplabv3_r50": ModelSpec(
        **DEEPLABV3,
        kwargs={"depth": 50},
        params=39_638_355,
        macs=1_308_614_983_680,
        goldens=("deeplabv3_r50_torchvision",),
    ),
    "deeplabv3_r101": ModelSpec(
        **DEEPLABV3,
        kwargs={"depth": 101},
        params=58_630_483,
        macs=1_929_237_757_952,
        published="the paper, with its own multi-grid: Cityscapes test 81.3, with coarse labels",
    ),
    "deeplabv3_r50_voc": ModelSpec(
        **DEEPLABV3,
        **TORCHVISION,
        kwargs={"depth": 50},
        params=39_638_869,
        macs=1_308_631_760_896,
        weights="deeplabv3_resnet50_coco-cd0a2569.pth",
        link="download.pytorch.org/models/deeplabv3_resnet50_coco-cd0a2569.pth",
        published="COCO val2017 66.4, of Pascal VOC's 21 classes",
    ),
    "deeplabv3_r101_voc": ModelSpec(
        **DEEPLABV3,
        **TORCHVISION,
        kwargs={"depth": 101},
        params=58_630_997,
        macs=1_929_254_535_168,
        weights="deeplabv3_resnet101_coco-586e9e4e.pth",
        link="download.pytorch.org/models/deeplabv3_resnet101_coco-586e9e4e.pth",
        published="COCO val2017 67.4, of Pascal VOC's 21 classes",
    ),
    "deeplabv3_r50_tramac": ModelSpec(
        **DEEPLABV3_TRAMAC,
        kwargs={"depth": 50},
        params=39_762_131,
        macs=1_365_254_864_896,
        goldens=("deeplabv3_r50_tramac",),
    ),
    "deeplabv3plus_r50": ModelSpec(
        **DEEPLABV3PLUS,
        kwargs={"depth": 50},
        params=40_474_816,
        macs=1_517_130_612_736,
        goldens=("deeplabv3plus_r50_decouple",),
    ),
    "deeplabv3plus_r101": ModelSpec(
        **DEEPLABV3PLUS,
        kwargs={"depth": 101},
        params=59_466_944,
        macs=2_137_753_387_008,
        goldens=("deeplabv3plus_r101_decouple",),
    ),
    "deeplabv3plus_r50_nvidia": ModelSpec(
        **DEEPLABV3PLUS_NVIDIA,
        kwargs={"depth": 50},
        params=40_351_040,
        macs=1_460_490_731_520,
        goldens=("deeplabv3plus_r50_nvidia",),
    ),
    "dfn_r50": ModelSpec(
        **DFN,
        authors=_dfn(800),
        kwargs={"depth": 50},
        params=69_220_316,
        macs=2_029_030_604_800,
        goldens=("dfn_r50_torchseg",),
    ),
    "dfn_r101": ModelSpec(
        **DFN,
        authors=_dfn(800),
        kwargs={"depth": 101},
        params=88_212_444,
        macs=2_184_186_298_368,
        goldens=("dfn_r101_torchseg",),
        link="drive.google.com/open?id=1QGM652rWQWZx83oe2A5r48HGYtfZCRrm",
        published="Cityscapes val 79.09 (single scale), 80.41 (multi-scale and flip); "
        "the paper: test 79.3, with coarse labels 80.3",
        score=79.09,
    ),
    "refinenet_r50": ModelSpec(
        **REFINENET,
        kwargs={"depth": 50},
        params=99_055_699,
        macs=1_947_432_124_416,
        goldens=("refinenet_r50_drsleep",),
    ),
    "refinenet_r101": ModelSpec(
        **REFINENET,
        kwargs={"depth": 101},
        params=118_047_827,
        macs=2_102_587_817_984,
        goldens=("refinenet_r101_drsleep",),
        published="none of this version on Cityscapes; the paper: Cityscapes test 73.6",
        score=73.6,
    ),
    "duc_hdc_r101": ModelSpec(
        **DUC,
        kwargs={"depth": 101},
        params=76_121_952,
        macs=2_519_635_853_312,
        published="Cityscapes test 77.6 (fine labels)",
        score=77.6,
    ),
    "sac_r101": ModelSpec(
        **SAC,
        kwargs={"depth": 101},
        params=51_980_375,
        macs=1_728_590_118_912,
        published="Cityscapes test 78.1",
        score=78.1,
    ),
    "dsspn_r101": ModelSpec(
        **DSSPN,
        kwargs={"depth": 101},
        params=55_143_257,
        macs=1_831_982_694_400,
        published="Cityscapes test 77.8, as later papers quote it",
        score=77.8,
    ),
    "dfn_r101_voc": ModelSpec(
        **DFN,
        **VOC,
        authors=_dfn(512),
        kwargs={"depth": 101},
        params=88_339_058,
        macs=2_200_776_867_840,
        link="drive.google.com/open?id=1dK5v1oakTMP1UKMARfYf5kdBP15mEgiL",
        published="VOC 2012 val 79.40 (single scale)",
    ),
    "refinenet_r101_voc": ModelSpec(
        **REFINENET,
        **VOC,
        kwargs={"depth": 101},
        params=118_052_437,
        macs=2_103_191_797_760,
        weights="rf101_voc.pth.tar",
        link="cloudstor.aarnet.edu.au/plus/s/Owmttk9bdPROwc6/download",
        licence="BSD-2-Clause, academic use",
        published="VOC 2012 val 80.5",
    ),
}
