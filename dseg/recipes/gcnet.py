"""Recipe of GCNet."""

from __future__ import annotations

from dseg.recipes.bilateral import CITYSCAPES_WEIGHTS
from dseg.recipes.recipe import Recipe

GCNET: dict[str, Recipe] = {
    "gcnet": Recipe(
        source="gyyang23's release: val 76.9 (S), 78.9 (M), 79.6 (L) without ImageNet; 4 GPUs of 3 "
        "images each, 131,072 hard pixels of each 3 crops; a jitter of 0.5 stands for its "
        "photometric distortion, which changes brightness less and hue too; its crops have at "
        "most 3/4 of one class, ours any share",
        steps=120_000,
        batch=12,
        crop=(1024, 1024),
        scales=(0.5, 2.0),
        jitter=0.5,
        lr=0.01,
        weight_decay=5e-4,
        loss="ohem",
        loss_mean="pixels",
        ohem_strict=True,
        ohem_threshold=0.9,
        ohem_keep=131_072 / (3 * 1024 * 1024),
        aux_weight=0.4,
        aux_loss="ohem",
        **CITYSCAPES_WEIGHTS,
    ),
}
