"""Registry entries of ESPNet, in both public versions."""

from __future__ import annotations

from typing import Any

from dseg.protocol import Protocol
from dseg.registry.sources import FAST_SEG
from dseg.registry.spec import ModelSpec, from_255

ESP: dict[str, Any] = {"paper": "Mehta et al., ECCV 2018", "recipe": "espnet"}
ESPNET: dict[str, Any] = {
    **ESP,
    "source": "github.com/sacmehta/ESPNet",
    "licence": "MIT",
    "order": "BGR",
}
# The release divides by standard deviations in 0..255, and then once more by 255.
ESPNET_CITYSCAPES: dict[str, Any] = {
    **ESPNET,
    "num_classes": 20,  # the last class is everything else
    "outputs": (*range(19), 255),
    "mean": from_255(73.15840149, 82.90893555, 72.3923111),
    "std": (44.91483307, 46.15289307, 45.3192215),
    "protocol": Protocol(input_size=(512, 1024), resample="bilinear", restore="nearest"),
}
ESPNET_CAMVID: dict[str, Any] = {  # statistics of the 367 training frames, which were not published
    **ESPNET,
    "num_classes": 12,
    "label_space": "camvid",
    "outputs": (*range(11), 255),
    "mean": from_255(104.9607, 108.3521, 110.2119),
    "std": (69.8297, 72.6156, 72.0496),
}
ESPNET_FASTSEG: dict[str, Any] = {**ESP, **FAST_SEG}
PRETRAINED = "raw.githubusercontent.com/sacmehta/ESPNet/master/pretrained/"

ESPNETS: dict[str, ModelSpec] = {
    "espnet": ModelSpec(
        **ESPNET_CITYSCAPES,
        title="ESPNet",
        target="espnet:ESPNet",
        kwargs={"p": 2, "q": 8, "fuse_image": False},
        params=364_569,
        macs=18_837_766_144,
        real_files=("espnet/espnet_p_2_q_8.pth",),
        weights="espnet_p_2_q_8.pth",
        link=PRETRAINED + "decoder/espnet_p_2_q_8.pth",
        published="Cityscapes val 61.4, test 60.3 (read at 512x1024)",
        score=61.4,
    ),
    "espnet_q5": ModelSpec(
        **ESPNET_CITYSCAPES,
        title="ESPNet",
        target="espnet:ESPNet",
        kwargs={"p": 2, "q": 5, "fuse_image": False},
        params=267_417,
        macs=15_692_038_144,
        weights="espnet_p_2_q_5.pth",
        link=PRETRAINED + "decoder/espnet_p_2_q_5.pth",
    ),
    "espnet_q3": ModelSpec(
        **ESPNET_CITYSCAPES,
        title="ESPNet",
        target="espnet:ESPNet",
        kwargs={"p": 2, "q": 3, "fuse_image": False},
        params=202_649,
        macs=13_594_886_144,
        weights="espnet_p_2_q_3.pth",
        link=PRETRAINED + "decoder/espnet_p_2_q_3.pth",
    ),
    "espnet_camvid": ModelSpec(
        **ESPNET_CAMVID,
        title="ESPNet",
        target="espnet:ESPNet",
        kwargs={"p": 2, "q": 8, "fuse_image": True},
        params=354_517,
        macs=16_205_840_384,
        real_files=("espnet/espnet_p_2_q_8_camvid.pth",),
        weights="espnet_p_2_q_8_camvid.pth",
        link=PRETRAINED + "decoder/espnet_p_2_q_8_camvid.pth",
        published="CamVid test 55.64 (by their own average)",
        measured="CamVid test 37.1 (45 epochs, ImageNet's mean and deviation)",
    ),
    "espnet_fastseg": ModelSpec(
        **ESPNET_FASTSEG,
        title="ESPNet",
        target="espnet:ESPNet",
        kwargs={"p": 2, "q": 3, "fuse_image": True},
        params=201_542,
        macs=13_438_255_104,
        goldens=("espnet_fastseg",),
    ),
    "espnet_c": ModelSpec(
        **ESPNET_CITYSCAPES,
        title="ESPNet-C",
        target="espnet:ESPNetC",
        kwargs={"p": 2, "q": 8},
        params=349_449,
        macs=13_880_623_104,
        real_files=("espnet/espnet_c_p_2_q_8.pth",),
        weights="encoder/espnet_p_2_q_8.pth",
        link=PRETRAINED + "encoder/espnet_p_2_q_8.pth",
        published="Cityscapes val 53.3 (read at 512x1024)",
        score=53.3,
    ),
    "espnet_c_q5": ModelSpec(
        **ESPNET_CITYSCAPES,
        title="ESPNet-C",
        target="espnet:ESPNetC",
        kwargs={"p": 2, "q": 5},
        params=252_297,
        macs=10_734_895_104,
        weights="encoder/espnet_p_2_q_5.pth",
        link=PRETRAINED + "encoder/espnet_p_2_q_5.pth",
    ),
    "espnet_c_q3": ModelSpec(
        **ESPNET_CITYSCAPES,
        title="ESPNet-C",
        target="espnet:ESPNetC",
        kwargs={"p": 2, "q": 3},
        params=187_529,
        macs=8_637_743_104,
        weights="encoder/espnet_p_2_q_3.pth",
        link=PRETRAINED + "encoder/espnet_p_2_q_3.pth",
    ),
    "espnet_c_fastseg": ModelSpec(
        **ESPNET_FASTSEG,
        title="ESPNet-C",
        target="espnet:ESPNetC",
        kwargs={"p": 2, "q": 8},
        params=349_193,
        macs=13_872_234_496,
        goldens=("espnetc_fastseg",),
    ),
}
