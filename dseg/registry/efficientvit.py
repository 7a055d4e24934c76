"""Registry entries of EfficientViT-Seg."""

from __future__ import annotations

from typing import Any

from dseg.registry.spec import ModelSpec

FILES = "huggingface.co/han-cai/efficientvit-seg/resolve/main"
EFFICIENTVIT: dict[str, Any] = {
    "paper": "Cai et al., ICCV 2023",
    "source": "github.com/mit-han-lab/efficientvit",
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
        weights="efficientvit_seg_b0_cityscapes.pt",
        link=f"{FILES}/efficientvit_seg_b0_cityscapes.pt",
        published="Cityscapes val 75.65",
        score=75.65,
    ),
    "efficientvit_b1": ModelSpec(
        **EFFICIENTVIT,
        title="EfficientViT-Seg B1",
        target="efficientvit:EfficientViT",
        kwargs={"size": "b1"},
        params=4_803_443,
        macs=25_105_006_592,
        goldens=("efficientvit_seg_b1_mithanlab",),
        weights="efficientvit_seg_b1_cityscapes.pt",
        link=f"{FILES}/efficientvit_seg_b1_cityscapes.pt",
        published="Cityscapes val 80.55",
        score=80.55,
    ),
    "efficientvit_b2": ModelSpec(
        **EFFICIENTVIT,
        title="EfficientViT-Seg B2",
        target="efficientvit:EfficientViT",
        kwargs={"size": "b2"},
        params=15_323_779,
        macs=73_641_492_480,
        goldens=("efficientvit_seg_b2_mithanlab",),
        weights="efficientvit_seg_b2_cityscapes.pt",
        link=f"{FILES}/efficientvit_seg_b2_cityscapes.pt",
        published="Cityscapes val 82.07",
        score=82.07,
    ),
    "efficientvit_l1": ModelSpec(
        **EFFICIENTVIT,
        title="EfficientViT-Seg L1",
        target="efficientvit:EfficientViTLarge",
        kwargs={"size": "l1"},
        params=40_242_227,
        macs=282_480_082_944,
        goldens=("efficientvit_seg_l1_mithanlab",),
        weights="efficientvit_seg_l1_cityscapes.pt",
        link=f"{FILES}/efficientvit_seg_l1_cityscapes.pt",
        published="Cityscapes val 82.72",
        score=82.72,
    ),
}
