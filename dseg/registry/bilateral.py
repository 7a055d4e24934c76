"""Registry entries of DDRNet and PIDNet."""

from __future__ import annotations

from typing import Any

from dseg.registry.spec import ModelSpec

DDRNET: dict[str, Any] = {
    "paper": "Hong et al., arXiv 2101.06085",
    "target": "ddrnet:DDRNet",
    "source": "github.com/ydhongHIT/DDRNet",
    "licence": "MIT (the repository's)",
    "recipe": "ddrnet",
}
PIDNET: dict[str, Any] = {
    "paper": "Xu et al., CVPR 2023",
    "target": "pidnet:PIDNet",
    "source": "github.com/XuJiacong/PIDNet",
    "licence": "MIT (the repository's)",
    "recipe": "pidnet",
}

BILATERAL: dict[str, ModelSpec] = {
    "ddrnet_23_slim": ModelSpec(
        **DDRNET,
        title="DDRNet-23-slim",
        kwargs={"width": 32, "head_width": 64},
        params=5_695_987,
        macs=36_281_319_424,
        goldens=("ddrnet_23_slim_ydhonghit", "ddrnet_23_slim_aug_ydhonghit"),
        published="Cityscapes val 77.8, test 77.4",
        score=77.8,
        measured="CamVid test 59.7 (209 epochs, small crops, a high rate)",
    ),
    "ddrnet_23": ModelSpec(
        **DDRNET,
        title="DDRNet-23",
        kwargs={"width": 64, "head_width": 128},
        params=20_148_947,
        macs=143_060_500_480,
        goldens=("ddrnet_23_ydhonghit", "ddrnet_23_aug_ydhonghit"),
        published="Cityscapes val 79.5, test 79.4",
        score=79.5,
    ),
    "pidnet_s": ModelSpec(
        **PIDNET,
        title="PIDNet-S",
        kwargs={
            "width": 32,
            "blocks": 2,
            "semantic_blocks": 3,
            "pyramid_width": 96,
            "head_width": 128,
        },
        params=7_625_715,
        macs=47_194_226_688,
        goldens=("pidnet_s_xujiacong", "pidnet_s_aug_xujiacong"),
        weights="PIDNet_S_Cityscapes_val.pt",
        link="drive.google.com/file/d/1JakgBam_GrzyUMp-NbEVVBPEIXLSCssH",
        published="Cityscapes val 78.8, test 78.6; CamVid test 80.1",
        score=78.8,
    ),
    "pidnet_m": ModelSpec(
        **PIDNET,
        title="PIDNet-M",
        kwargs={
            "width": 64,
            "blocks": 2,
            "semantic_blocks": 3,
            "pyramid_width": 96,
            "head_width": 128,
        },
        params=28_538_515,
        macs=177_328_717_824,
        goldens=("pidnet_m_xujiacong", "pidnet_m_aug_xujiacong"),
        weights="PIDNet_M_Cityscapes_val.pt",
        link="drive.google.com/file/d/1q0i4fVWmO7tpBKq_eOyIXe-mRf_hIS7q",
        published="Cityscapes val 79.9, test 79.8; CamVid test 82.0",
        score=79.9,
    ),
    "pidnet_l": ModelSpec(
        **PIDNET,
        title="PIDNet-L",
        kwargs={
            "width": 64,
            "blocks": 3,
            "semantic_blocks": 4,
            "pyramid_width": 112,
            "head_width": 256,
            "large": True,
        },
        params=36_939_571,
        macs=274_933_465_088,
        goldens=("pidnet_l_xujiacong", "pidnet_l_aug_xujiacong"),
        weights="PIDNet_L_Cityscapes_val.pt",
        link="drive.google.com/file/d/1AR8LHC3613EKwG23JdApfTGsyOAcH0_L",
        published="Cityscapes val 80.9, test 80.6",
        score=80.9,
    ),
}
