"""Registry entries of DenseASPP, in both public versions."""

from __future__ import annotations

from typing import Any

from dseg.registry.spec import ModelSpec

PAPER: dict[str, Any] = {"title": "DenseASPP", "paper": "Yang et al., CVPR 2018"}
DEEPMOTION: dict[str, Any] = {
    **PAPER,
    "mean": (0.290101, 0.328081, 0.286964),
    "std": (0.182954, 0.186566, 0.184475),
    "source": "github.com/DeepMotionAIResearch/DenseASPP",
}
TRAMAC: dict[str, Any] = {
    **PAPER,
    "target": "denseaspp:PostNormDenseASPP",
    "source": "github.com/Tramac/awesome-semantic-segmentation-pytorch",
    "recipe": "denseaspp_voc",
}
VOC: dict[str, Any] = {"num_classes": 21, "label_space": "voc"}

D121: dict[str, Any] = {
    **DEEPMOTION,
    "target": "denseaspp:DenseASPP",
    "kwargs": {"depth": 121, "mid": 128, "growth": 64},
    "params": 8_280_851,
}
D161: dict[str, Any] = {
    **DEEPMOTION,
    "target": "denseaspp:DenseASPP",
    "kwargs": {"depth": 161, "mid": 512, "growth": 128},
    "params": 35_395_427,
    "weights": "denseASPP161.pkl",
    "link": "drive.google.com/file/d/1sCr-OkMUayaHAijdQrzndKk2WW78MVZG",
}
D169: dict[str, Any] = {
    **DEEPMOTION,
    "target": "denseaspp:DenseASPP",
    "kwargs": {"depth": 169, "mid": 336, "growth": 168},
    "params": 18_420_675,
}
D201: dict[str, Any] = {
    **DEEPMOTION,
    "target": "denseaspp:DenseASPP",
    "kwargs": {"depth": 201, "mid": 480, "growth": 240},
    "params": 28_639_987,
}
MOBILE: dict[str, Any] = {
    **DEEPMOTION,
    "title": "MobileNetDenseASPP",
    "target": "denseaspp:MobileNetDenseASPP",
    "params": 2_486_419,
}


def _at_stride_16(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the entry of the same network at output stride 16, which has the same weights."""
    return {**entry, "kwargs": {**entry.get("kwargs", {}), "output_stride": 16}}


DENSEASPP: dict[str, ModelSpec] = {
    "denseaspp121": ModelSpec(**D121, macs=308_782_563_328, goldens=("denseaspp121_deepmotion",)),
    "denseaspp121_os16": ModelSpec(
        **_at_stride_16(D121),
        macs=161_814_151_168,
    ),
    "denseaspp161": ModelSpec(
        **D161,
        macs=1_239_479_222_272,
        goldens=("denseaspp161_deepmotion",),
        published="Cityscapes val 79.9 (single scale), 80.6 (multi-scale), test 79.5",
        score=79.9,
    ),
    "denseaspp161_os16": ModelSpec(
        **_at_stride_16(D161), macs=612_434_968_576, goldens=("denseaspp161_os16_deepmotion",)
    ),
    "denseaspp169": ModelSpec(**D169, macs=638_302_552_064, goldens=("denseaspp169_deepmotion",)),
    "denseaspp169_os16": ModelSpec(
        **_at_stride_16(D169),
        macs=336_111_337_472,
    ),
    "denseaspp201": ModelSpec(**D201, macs=970_682_007_552, goldens=("denseaspp201_deepmotion",)),
    "denseaspp201_os16": ModelSpec(
        **_at_stride_16(D201),
        macs=521_119_727_616,
    ),
    "mobilenetdenseaspp": ModelSpec(
        **MOBILE,
        macs=83_773_358_080,
        goldens=("mobilenetdenseaspp_deepmotion",),
        published="Cityscapes val 74.5 (single scale), 75.0 (multi-scale)",
        score=74.5,
    ),
    "mobilenetdenseaspp_os16": ModelSpec(
        **_at_stride_16(MOBILE),
        macs=41_452_306_432,
    ),
    "denseaspp_densenet121_citys": ModelSpec(
        **TRAMAC,
        macs=338_897_666_048,
        kwargs={"depth": 121},
        params=9_196_051,
        goldens=("denseaspp_densenet121_citys_tramac", "denseaspp_densenet121_citys_aux_tramac"),
    ),
    "denseaspp_densenet161_citys": ModelSpec(
        **TRAMAC,
        macs=1_071_507_308_544,
        kwargs={"depth": 161},
        params=30_252_211,
        goldens=("denseaspp_densenet161_citys_tramac",),
    ),
    "denseaspp_densenet169_citys": ModelSpec(
        **TRAMAC,
        macs=544_917_684_224,
        kwargs={"depth": 169},
        params=15_558_035,
        goldens=("denseaspp_densenet169_citys_tramac",),
    ),
    "denseaspp_densenet201_citys": ModelSpec(
        **TRAMAC,
        macs=737_276_854_272,
        kwargs={"depth": 201},
        params=21_499_027,
        goldens=("denseaspp_densenet201_citys_tramac",),
    ),
    "denseaspp_densenet121_voc": ModelSpec(
        **TRAMAC,
        **VOC,
        macs=338_985_746_432,
        kwargs={"depth": 121},
        params=9_198_741,
        goldens=("denseaspp_densenet121_voc_tramac", "denseaspp_densenet121_voc_aux_tramac"),
        published="VOC 2012 60.1 at 320x320 (another zoo's redeployment)",
    ),
    "denseaspp_densenet161_voc": ModelSpec(
        **TRAMAC,
        **VOC,
        macs=1_071_672_983_552,
        kwargs={"depth": 161},
        params=30_257_269,
        goldens=("denseaspp_densenet161_voc_tramac",),
        published="VOC 2012 68.5 at 320x320 (another zoo's redeployment)",
    ),
    "denseaspp_densenet169_voc": ModelSpec(
        **TRAMAC, **VOC, macs=545_047_707_648, kwargs={"depth": 169}, params=15_562_005
    ),
    "denseaspp_densenet201_voc": ModelSpec(
        **TRAMAC, **VOC, macs=737_423_654_912, kwargs={"depth": 201}, params=21_503_509
    ),
}
