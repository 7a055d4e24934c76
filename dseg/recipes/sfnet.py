"""Recipes of SFNet."""

from __future__ import annotations

from typing import Any

from dseg.recipes.recipe import Recipe

RELEASE: dict[str, Any] = {
    "batch": 16,
    "crop": (1024, 1024),
    "scales": (0.5, 2.0),
    "jitter": 0.25,
    "blur": 0.5,
    "lr": 0.01,
    "weight_decay": 1e-4,
    "power": 1.0,
    "loss": "ohem",
    "ohem_threshold": 0.7,
}

SFNET: dict[str, Recipe] = {
    "sfnet": Recipe(
        source="the SFSegNets release: 8 GPUs of 2 images each, 10,000 hard pixels of these; val "
        "79.0 with half of its samples drawn evenly over the classes, 78.4 without, as here; the "
        "blur's probability is ours",
        **RELEASE,
        epochs=300,
        ohem_keep=10_000 / (2 * 1024 * 1024),
    ),
    "sfnet_lite": Recipe(
        source="the SFSegNets release: as sfnet, with 1000 epochs and 100,000 hard pixels",
        **RELEASE,
        epochs=1000,
        ohem_keep=100_000 / (2 * 1024 * 1024),
    ),
}
