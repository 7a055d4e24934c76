"""Registry entries of BiSeNet and BiSeNetV2, in both public versions."""

from __future__ import annotations

from typing import Any

from dseg.protocol import Protocol
from dseg.registry.sources import ADE20K, CAFFE, COCOSTUFF, FAST_SEG, SCALES_TO_175
from dseg.registry.spec import ModelSpec

BISENET: dict[str, Any] = {"title": "BiSeNet", "paper": "Yu et al., ECCV 2018"}
TO_32: dict[str, Any] = {
    "multiple": 32,
    "resample": "bilinear",
    "rescale": "bilinear-corners",
    "restore": "bilinear-corners",
}
COINCHEUNG: dict[str, Any] = {
    "source": "github.com/CoinCheung/BiSeNet",
    "licence": "MIT",
    "multi_scales": SCALES_TO_175,
}
ON_CITYSCAPES: dict[str, Any] = {
    **COINCHEUNG,
    "mean": (0.3257, 0.369, 0.3223),
    "std": (0.2112, 0.2148, 0.2115),
    "protocol": Protocol(**TO_32),
    "authors": Protocol(fusion="prob", **TO_32),
}
ON_PHOTOS: dict[str, Any] = {
    **COINCHEUNG,
    "protocol": Protocol(short_side=512, **TO_32),
    "authors": Protocol(short_side=512, fusion="prob", **TO_32),
}
ON_COCOSTUFF: dict[str, Any] = {
    **ON_PHOTOS,
    **COCOSTUFF,
    "mean": (0.46962251, 0.4464104, 0.40718787),
    "std": (0.27469736, 0.27012361, 0.28515933),
}
ON_ADE20K: dict[str, Any] = {
    **ON_PHOTOS,
    **ADE20K,
    "mean": (0.49343230, 0.46819794, 0.43106043),
    "std": (0.25680755, 0.25506608, 0.27422913),
}
BISENETV1: dict[str, Any] = {**BISENET, "target": "bisenet:BiSeNet", "recipe": "bisenetv1"}
BISENETV2: dict[str, Any] = {
    "title": "BiSeNetV2",
    "paper": "Yu et al., IJCV 2021",
    "target": "bisenetv2:BiSeNetV2",
    "recipe": "bisenetv2",
}
RELEASED = "github.com/CoinCheung/BiSeNet/releases/download/0.0.0/"

BISENETS: dict[str, ModelSpec] = {
    "bisenetv1": ModelSpec(
        **BISENETV1,
        **ON_CITYSCAPES,
        params=13_275_539,
        macs=118_338_256_896,
        goldens=("bisenetv1_coincheung",),
        weights="model_final_v1_city_new.pth",
        link=RELEASED + "model_final_v1_city_new.pth",
        published="Cityscapes val 75.44 (single scale), 77.45 (multi-scale), 78.86 (and crops); "
        "the paper: test 74.7",
        score=75.44,
    ),
    "bisenetv1_coco": ModelSpec(
        **BISENETV1,
        **ON_COCOSTUFF,
        params=13_314_603,
        macs=119_613_325_312,
        weights="model_final_v1_coco_new.pth",
        link=RELEASED + "model_final_v1_coco_new.pth",
    ),
    "bisenetv1_ade20k": ModelSpec(
        **BISENETV1,
        **ON_ADE20K,
        params=13_309_206,
        macs=119_437_164_544,
        weights="model_final_v1_ade20k.pth",
        link=RELEASED + "model_final_v1_ade20k.pth",
    ),
    "bisenet_fastseg": ModelSpec(
        **BISENET,
        **FAST_SEG,
        **CAFFE,
        target="bisenet:DeepStemBiSeNet",
        params=13_042_643,
        macs=163_584_376_832,
        goldens=("bisenet_fastseg",),
        published="none of this version; the paper: Cityscapes test 74.7",
        recipe="fastseg",
    ),
    "bisenetv2": ModelSpec(
        **BISENETV2,
        **ON_CITYSCAPES,
        params=3_358_627,
        macs=98_413_199_360,
        goldens=("bisenetv2_coincheung",),
        weights="model_final_v2_city.pth",
        link=RELEASED + "model_final_v2_city.pth",
        published="Cityscapes val 74.95 (single scale), 76.53 (multi-scale), 77.08 (and crops); "
        "the paper: test 72.6",
        score=74.95,
        measured="CamVid test 47.4 (25 epochs)",
    ),
    "bisenetv2_coco": ModelSpec(
        **BISENETV2,
        **ON_COCOSTUFF,
        params=3_514_427,
        macs=103_513_473_024,
        weights="model_final_v2_coco.pth",
        link=RELEASED + "model_final_v2_coco.pth",
    ),
    "bisenetv2_ade20k": ModelSpec(
        **BISENETV2,
        **ON_ADE20K,
        params=3_492_902,
        macs=102_808_829_952,
        weights="model_final_v2_ade20k.pth",
        link=RELEASED + "model_final_v2_ade20k.pth",
    ),
}
