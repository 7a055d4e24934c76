"""Recipes of DenseASPP."""

from __future__ import annotations

from dseg.recipes.recipe import Recipe

DENSEASPP: dict[str, Recipe] = {
    "denseaspp_cityscapes": Recipe(
        source="no training code was released: crop, batch, Adam, 3e-4, 1e-5 and 80 epochs are "
        "commonly reported and not verified against the paper; scales and mirror are ours",
        epochs=80,
        batch=8,
        crop=(512, 512),
        scales=(0.5, 2.0),
        optimizer="adam",
        lr=3e-4,
        weight_decay=1e-5,
    ),
    "denseaspp_voc": Recipe(
        source="the second public version's release: 50 to 80 epochs; its padding fills masks "
        "with background, ours with ignore",
        epochs=50,
        batch=4,
        crop=(480, 480),
        short_side=520,
        scales=(0.5, 2.0),
        blur=0.5,
        lr=1e-4,
        head_lr=10,
        weight_decay=1e-4,
        aux_weight=0.4,
    ),
}
