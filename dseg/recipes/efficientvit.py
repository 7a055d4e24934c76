"""The recipe of EfficientViT-Seg."""

from __future__ import annotations

from dseg.recipes.recipe import Recipe

EFFICIENTVIT: dict[str, Recipe] = {
    "efficientvit": Recipe(
        source="Cai et al., ICCV 2023: AdamW, cosine, a backbone trained on ImageNet; the release "
        "has no training for segmentation: all other values are ours",
        steps=80_000,
        batch=16,
        crop=(512, 1024),
        scales=(0.5, 2.0),
        jitter=0.4,
        optimizer="adamw",
        lr=1e-3,
        weight_decay=0.05,
        decay_norms=False,
        schedule="cosine",
        warmup=1500,
        warmup_from=1e-3,
        clip=1.0,
    ),
}
