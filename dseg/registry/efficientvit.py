"""Registry entries of EfficientViT-Seg."""

from __future__ import annotations

from typing import Any

from dseg.registry.spec import ModelSpec

EFFICIENTVIT: dict[str, Any] = {
    "paper": "Cai et al., ICCV 2023",
    "source": "github.com/mit-han-lab/efficientvit",
    "link": "huggingface.co/han-cai/efficientvit-seg",
    "licence": "Apache-2.0 (the repository's)",
    "recipe": "efficientvit",
}

EFFICIENTVITS: dict[str, ModelSpec] = {
    "efficientvit_b0": ModelSpec(
        **EFFICIENTVIT,
        title="EfficientViT-Seg B0",
        target="efficientvit:EfficientViT",
        kwargs={"size": "b0"},
        params=706_691,
        macs=4_391_436_288,
        goldens=("efficientvit_seg_b0_mithanlab",),
        published="Cityscapes val 75.653",
        score=75.653,
    ),
    "efficientvit_b1": ModelSpec(
        **EFFICIENTVIT,
        title="EfficientViT-Seg B1",
        target="efficientvit:EfficientViT",
        kwargs={"size": "b1"},
        params=4_803_443,
        macs=25_105_006_592,
        goldens=("efficientvit_seg_b1_mithanlab",),
        published="Cityscapes val 80.547",
        score=80.547,
    ),
    "efficientvit_b2": ModelSpec(
        **EFFICIENTVIT,
        title="EfficientViT-Seg B2",
        target="efficientvit:EfficientViT",
        kwargs={"size": "b2"},
        params=15_323_779,
        macs=73_641_492_480,
        goldens=("efficientvit_seg_b2_mithanlab",),
        published="Cityscapes val 82.073",
        score=82.073,
    ),
    "efficientvit_l1": ModelSpec(
        **EFFICIENTVIT,
        title="EfficientViT-Seg L1",
        target="efficientvit:EfficientViTLarge",
        kwargs={"size": "l1"},
        params=40_242_227,
        macs=282_480_082_944,
        goldens=("efficientvit_seg_l1_mithanlab",),
        published="Cityscapes val 82.716",
        score=82.716,
    ),
}
