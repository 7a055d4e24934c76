"""Recipes for own data: for few images, and those of U-Net and FPN."""

from __future__ import annotations

from typing import Any

from dseg.recipes.recipe import Recipe

MODERATE: dict[str, Any] = {
    "epochs": 100,
    "batch": 8,
    "crop": (512, 512),
    "scales": (0.5, 2.0),
    "jitter": 0.3,
    "optimizer": "adamw",
    "lr": 1e-4,  # learning rate of the backbone
    "head_lr": 10,
    "weight_decay": 1e-2,
    "decay_norms": False,
    "warmup": 200,
}

OWN_DATA: dict[str, Recipe] = {
    "small_data": Recipe(
        source="all values are ours, for any network from random weights on some hundred images: "
        "many steps on small crops at a high rate of Adam (docs/own-data.md has the trainings "
        "that they were chosen by)",
        epochs=200,
        batch=8,
        crop=(192, 256),
        scales=(0.5, 1.5),
        jitter=0.3,
        optimizer="adam",
        lr=3e-3,
        weight_decay=2e-4,
        warmup=200,
        class_weights="log",
        ema=0.995,
    ),
    "unet": Recipe(
        source="all values are ours, for own data; the paper (Ronneberger et al., MICCAI 2015) "
        "trained another encoder, from random weights, on images of cells",
        **MODERATE,
    ),
    "fpn": Recipe(
        source="all values are ours, those of unet; Kirillov et al., CVPR 2019, trained with SGD",
        **MODERATE,
    ),
}
