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
    "espnet": ModelSpec(
        **ESPNET,
        title="ESPNet",
        target="espnet:ESPNet",
        kwargs={"p": 2, "q": 8},
        params=363_462,
        macs=18_681_135_104,
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
    ),
    "fastscnn": ModelSpec(
        **FAST_SEG,
        title="Fast-SCNN",
        paper="Poudel et al., BMVC 2019",
        target="fastscnn:FastSCNN",
        params=1_138_051,
        macs=6_708_323_168,
        goldens=("fastscnn_fastseg",),
        recipe="fastscnn",
    ),
}
