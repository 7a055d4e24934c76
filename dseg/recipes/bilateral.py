"""Recipes of DDRNet and PIDNet."""

from __future__ import annotations

from typing import Any

from dseg.recipes.recipe import Recipe

CROP = 1024
HARD_PIXELS = 131_072  # of the images of one GPU

# optimizer, augmentation and loss, which the releases share
COMMON: dict[str, Any] = {
    "scales": tuple(round(0.5 + 0.1 * step, 1) for step in range(17)),
    "continuous": False,
    "lr": 0.01,
    "weight_decay": 5e-4,
    "loss": "ohem",
    "loss_mean": "pixels",
    "ohem_threshold": 0.9,
    "ohem_strict": True,
}
# class weights of HRNet's release, which these and GCNet's use
CITYSCAPES_WEIGHTS: dict[str, Any] = {
    "class_weights": "published",
    "published_weights": (
        *(0.8373, 0.918, 0.866, 1.0345, 1.0166, 0.9969, 0.9754, 1.0489, 0.8786, 1.0023),
        *(0.9539, 0.9843, 1.1116, 0.9037, 1.0865, 1.0955, 1.0865, 1.1529, 1.0507),
    ),
}
CITYSCAPES: dict[str, Any] = {"epochs": 484, "crop": (CROP, CROP), **CITYSCAPES_WEIGHTS}
PIDNET: dict[str, Any] = {
    "batch": 12,
    "ohem_keep": HARD_PIXELS / (6 * CROP * CROP),
    "edge_weight": 20.0,
    "edge_loss": "balanced",
    "edge_reach": 1,
    "edge_aware_weight": 1.0,
}

BILATERAL: dict[str, Recipe] = {
    "ddrnet": Recipe(
        source="chenjun2hao's release, 2 GPUs of 8 images each, whose losses are weighted 0.4 for "
        "the main output and 1 for the auxiliary one by mistake, ours as in the paper; the "
        "authors' training was not published: val 77.8 (slim) and 79.5",
        **COMMON,
        **CITYSCAPES,
        batch=16,
        ohem_keep=HARD_PIXELS / (8 * CROP * CROP),
    ),
    "pidnet": Recipe(
        source="the PIDNet release, 2 GPUs of 6 images each from ImageNet weights: val 78.8 (S), "
        "79.9 (M), 80.9 (L, 4 GPUs of 3); without these 76.4, 78.2, 78.8, as GCNet's authors "
        "report; its borders are those of an edge detector in the whole image, ours changes of "
        "class in the crop",
        **COMMON,
        **CITYSCAPES,
        **PIDNET,
    ),
    "pidnet_camvid": Recipe(
        source="the PIDNet release, from its Cityscapes weights, trained on train and val and "
        "ended after 121 epochs of a schedule of 200: test 80.1 (S), 82.0 (M); batch and scales "
        "are those of pidnet, not verified",
        **{**COMMON, "lr": 0.005},
        **{**PIDNET, "ohem_keep": HARD_PIXELS / (6 * 720 * 960)},
        epochs=200,
        crop=(720, 960),
    ),
}
