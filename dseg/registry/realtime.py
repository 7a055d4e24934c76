"""The table's rows of the real-time networks."""

from __future__ import annotations

from typing import Any

from dseg.registry.spec import ModelSpec, from_255

UNDIVIDED = from_255(1, 1, 1)  # 0..255 minus the mean, not divided
CAMVID: dict[str, Any] = {"num_classes": 11, "label_space": "camvid"}
FAST_SEG: dict[str, Any] = {"source": "github.com/lxtGH/Fast_Seg"}
CAFFE: dict[str, Any] = {
    "order": "BGR",
    "mean": from_255(122.67891434, 116.66876762, 104.00698793),
    "std": UNDIVIDED,
}
DABNET: dict[str, Any] = {
    "title": "DABNet",
    "paper": "Li et al., BMVC 2019",
    "target": "dabnet:DABNet",
    "std": UNDIVIDED,
    "source": "github.com/Reagan1311/DABNet",
}
DFSEG: dict[str, Any] = {
    **FAST_SEG,
    "title": "DFSeg",
    "paper": "Li et al., CVPR 2019",
    "target": "dfseg:DFSeg",
    "recipe": "fastseg",
}
BISENET: dict[str, Any] = {"title": "BiSeNet", "paper": "Yu et al., ECCV 2018"}
COINCHEUNG: dict[str, Any] = {
    "source": "github.com/CoinCheung/BiSeNet",
    "mean": (0.3257, 0.369, 0.3223),
    "std": (0.2112, 0.2148, 0.2115),
}
ESPNET: dict[str, Any] = {**FAST_SEG, "paper": "Mehta et al., ECCV 2018", "recipe": "espnet"}
SWIFTNET: dict[str, Any] = {"title": "SwiftNet", "paper": "Orsic et al., CVPR 2019"}
ORSIC: dict[str, Any] = {
    **SWIFTNET,
    "source": "github.com/orsic/swiftnet",
    "mean": from_255(73.15, 82.9, 72.3),
    "std": from_255(47.67, 48.49, 47.73),
}

REALTIME: dict[str, ModelSpec] = {
    "dabnet": ModelSpec(
        **DABNET,
        params=756_643,
        macs=40_881_520_640,
        mean=from_255(73.1583251953125, 82.90901947021484, 72.39240264892578),
        goldens=("dabnet_cityscapes_reagan",),
        published="Cityscapes val 69.57, test 70.07",
        score=69.57,
        recipe="dabnet_cityscapes",
    ),
    "dabnet_camvid": ModelSpec(
        **DABNET,
        **CAMVID,
        params=754_571,
        macs=40_813_625_344,
        mean=from_255(99.62540435791016, 103.329833984375, 105.65775299072266),
        goldens=("dabnet_camvid_reagan",),
        published="CamVid test 66.72 at 360x480, trained on train and val",
        recipe="dabnet_camvid",
    ),
    "icnet": ModelSpec(
        **FAST_SEG,
        **CAFFE,
        title="ICNet",
        paper="Zhao et al., ECCV 2018",
        target="icnet:ICNet",
        params=47_484_320,
        macs=129_043_337_216,
        goldens=("icnet_fastseg",),
        weights="icnet_final.pth",
        published="Cityscapes val 74.5 (whole image, ResNet-50 of full width)",
        score=74.5,
        recipe="icnet",
    ),
    "dfsegv1": ModelSpec(
        **DFSEG,
        kwargs={"version": 1},
        params=9_220_659,
        macs=35_972_120_576,
        goldens=("dfsegv1_fastseg",),
    ),
    "dfsegv2": ModelSpec(
        **DFSEG,
        kwargs={"version": 2},
        params=18_674_739,
        macs=92_269_117_440,
        goldens=("dfsegv2_fastseg",),
    ),
    "bisenetv1": ModelSpec(
        **BISENET,
        **COINCHEUNG,
        target="bisenet:BiSeNet",
        params=13_275_539,
        macs=118_338_256_896,
        goldens=("bisenetv1_coincheung",),
        weights="model_final_v1_city_new.pth",
        published="Cityscapes val 75.44 (single scale), 77.45 (multi-scale), 78.86 (and crops); "
        "the paper: test 74.7",
        score=75.44,
        recipe="bisenetv1",
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
        **COINCHEUNG,
        title="BiSeNetV2",
        paper="Yu et al., IJCV 2021",
        target="bisenetv2:BiSeNetV2",
        params=3_358_627,
        macs=98_413_199_360,
        goldens=("bisenetv2_coincheung",),
        weights="model_final_v2_city.pth",
        published="Cityscapes val 74.95 (single scale), 76.53 (multi-scale), 77.08 (and crops); "
        "the paper: test 72.6",
        score=74.95,
        recipe="bisenetv2",
    ),
    "dfanet": ModelSpec(
        **FAST_SEG,
        title="DFANet A",
        paper="Li et al., CVPR 2019",
        target="dfanet:DFANet",
        params=1_831_051,
        macs=7_335_736_320,
        goldens=("dfanet_fastseg",),
        published="Cityscapes test 71.3, CamVid test 64.7",
        score=71.3,
        recipe="dfanet",
    ),
    "espnet": ModelSpec(
        **ESPNET,
        title="ESPNet",
        target="espnet:ESPNet",
        kwargs={"p": 2, "q": 8},
        params=363_462,
        macs=18_681_135_104,
        published="Cityscapes val 61.4, test 60.3 (read at 512x1024)",
        score=61.4,
    ),
    "espnet_q3": ModelSpec(
        **ESPNET,
        title="ESPNet",
        target="espnet:ESPNet",
        kwargs={"p": 2, "q": 3},
        params=201_542,
        macs=13_438_255_104,
        goldens=("espnet_fastseg",),
    ),
    "espnet_c": ModelSpec(
        **ESPNET,
        title="ESPNet-C",
        target="espnet:ESPNetC",
        kwargs={"p": 2, "q": 8},
        params=349_193,
        macs=13_872_234_496,
        goldens=("espnetc_fastseg",),
        published="Cityscapes val 53.3 (read at 512x1024)",
        score=53.3,
    ),
    "swiftnet_r18": ModelSpec(
        **ORSIC,
        target="swiftnet:SwiftNet",
        kwargs={"depth": 18},
        params=11_797_071,
        macs=103_566_133_248,
        goldens=("swiftnet_rn18_single_orsic",),
        published="Cityscapes test 75.5",
        score=75.5,
        recipe="swiftnet",
    ),
    "swiftnet_r34": ModelSpec(
        **ORSIC,
        target="swiftnet:SwiftNet",
        kwargs={"depth": 34},
        params=21_905_231,
        macs=180_875_544_576,
        goldens=("swiftnet_rn34_single_orsic",),
        recipe="swiftnet",
    ),
    "swiftnet_pyramid_r18": ModelSpec(
        **ORSIC,
        target="swiftnet_pyramid:SwiftNetPyramid",
        kwargs={"depth": 18},
        params=12_056_275,
        macs=128_192_610_304,
        goldens=("swiftnet_rn18_pyramid_orsic",),
        recipe="swiftnet_pyramid",
    ),
    "swiftnet_pyramid_r34": ModelSpec(
        **ORSIC,
        target="swiftnet_pyramid:SwiftNetPyramid",
        kwargs={"depth": 34},
        params=22_179_283,
        macs=229_661_212_672,
        goldens=("swiftnet_rn34_pyramid_orsic",),
        recipe="swiftnet_pyramid",
    ),
    "swiftnet_fastseg": ModelSpec(
        **SWIFTNET,
        **FAST_SEG,
        target="swiftnet:NarrowSwiftNet",
        params=11_207_766,
        macs=76_658_696_912,
        goldens=("swiftnet_fastseg",),
        recipe="fastseg",
    ),
    "msfnet": ModelSpec(
        title="MSFNet",
        paper="Si et al., arXiv 1911.07217",
        target="msfnet:MSFNet",
        params=13_592_531,
        macs=91_442_642_944,
        published="Cityscapes test 77.1, CamVid test 75.4",
        score=77.1,
        recipe="msfnet",
    ),
    "fastscnn": ModelSpec(
        **FAST_SEG,
        title="Fast-SCNN",
        paper="Poudel et al., BMVC 2019",
        target="fastscnn:FastSCNN",
        params=1_138_051,
        macs=6_708_323_168,
        goldens=("fastscnn_fastseg",),
        published="Cityscapes test 68.0",
        score=68.0,
        recipe="fastscnn",
    ),
}
