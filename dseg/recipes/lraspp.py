"""Recipe of LR-ASPP."""

from __future__ import annotations

from dseg.recipes.recipe import Recipe

LRASPP: dict[str, Recipe] = {
    "lraspp": Recipe(
        source="torchvision's reference command for COCO: 8 GPUs of 4 images each, a rate of 0.01, "
        "a decay of 1e-6, no class weights; 200 epochs, batch of 16 and crops of 768 are ours, for "
        "Cityscapes (COCO: 30, 32 and 480)",
        epochs=200,
        batch=16,
        crop=(768, 768),
        scales=(0.5, 2.0),
        lr=0.01,
        weight_decay=1e-6,
    ),
}
