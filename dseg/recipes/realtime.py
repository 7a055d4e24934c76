"""Recipes of the real-time networks."""

from __future__ import annotations

from typing import Any

from dseg.recipes.recipe import Recipe

DABNET_SCALES: dict[str, Any] = {"scales": (0.75, 1.0, 1.25, 1.5, 1.75, 2.0), "continuous": False}

FAST_SEG: dict[str, Any] = {
    "batch": 16,
    "scales": tuple(round(0.7 + 0.1 * step, 1) for step in range(15)),
    "continuous": False,
    "lr": 0.01,
    "weight_decay": 5e-4,
    "loss": "ohem",
    "ohem_threshold": 0.7,
    "ohem_keep": 100_000 / (4 * 832 * 832),
}
COINCHEUNG: dict[str, Any] = {
    "batch": 16,
    "jitter": 0.4,
    "head_lr": 10,
    "weight_decay": 5e-4,
    "decay_norms": False,
    "warmup": 1000,
    "warmup_from": 0.1,
    "warmup_shape": "exponential",
    "loss": "ohem",
    "ohem_threshold": 0.7,
    "ohem_keep": 1 / 16,
    "aux_weight": 1.0,
    "aux_loss": "ohem",
}
ORSIC: dict[str, Any] = {
    "epochs": 250,
    "batch": 14,
    "crop": (768, 768),
    "scales": (0.5, 2.0),
    "optimizer": "adam",
    "lr": 1e-4,  # learning rate of the backbone
    "head_lr": 4,
    "beta2": 0.99,
    "weight_decay": 1e-4,
    "backbone_decay": 0.25,
    "schedule": "cosine",
    "lr_end": 1e-6 / 4,
}

REALTIME: dict[str, Recipe] = {
    "dabnet_cityscapes": Recipe(
        source="Li et al., BMVC 2019, and the authors' release: val 69.57, test 70.07",
        epochs=1000,
        batch=8,
        crop=(512, 1024),
        **DABNET_SCALES,
        lr=4.5e-2,
        weight_decay=1e-4,
        warmup=500,
        warmup_from=1 / 3,
        loss="ohem",
        ohem_threshold=0.7,
        ohem_keep=1 / 16,
    ),
    "dabnet_camvid": Recipe(
        source="Li et al., BMVC 2019, and the authors' release: test 66.72 after "
        "training on train and val; the last class's weight counts void pixels as bicyclists",
        epochs=1000,
        batch=16,
        crop=(360, 480),
        **DABNET_SCALES,
        optimizer="adam",
        lr=1e-3,
        weight_decay=2e-4,
        warmup=500,
        warmup_from=1 / 3,
        class_weights="published",
        published_weights=(
            *(4.42865, 3.44323, 9.62717, 2.90823, 6.98834, 5.21192),
            *(9.49020, 9.15048, 7.16546, 9.88860, 7.54554),
        ),
    ),
    "fastseg": Recipe(
        source="the Fast_Seg release's common protocol: 4 GPUs of 4 images each, 50,000 steps; "
        "100,000 hard pixels of each 4 crops",
        **FAST_SEG,
        steps=50_000,
        crop=(832, 832),
    ),
    "icnet": Recipe(
        source="the Fast_Seg release: val 74.5; all three auxiliary outputs learn from hard "
        "pixels too",
        **FAST_SEG,
        steps=50_000,
        crop=(832, 832),
        aux_loss="ohem",
    ),
    "dfanet": Recipe(
        source="the Fast_Seg release; both auxiliary outputs learn from hard pixels too",
        **FAST_SEG,
        steps=60_000,
        crop=(1024, 1024),
        aux_loss="ohem",
    ),
    "bisenetv1": Recipe(
        source="CoinCheung's release: val 75.44; 2 GPUs of 8 images each; its decay spares norms "
        "and biases, its jitter is of 0.4, its hard pixels are 1/16 of the labelled ones, ours of "
        "all",
        **COINCHEUNG,
        steps=80_000,
        crop=(1024, 1024),
        scales=(0.75, 2.0),
        lr=1e-2,
    ),
    "bisenetv2": Recipe(
        source="CoinCheung's release: val 74.95, 73.1 to 75.1 between runs; 2 GPUs of 8 images "
        "each; the rest as bisenetv1",
        **COINCHEUNG,
        steps=150_000,
        crop=(512, 1024),
        scales=(0.25, 2.0),
        lr=5e-3,
    ),
    "swiftnet": Recipe(
        source="orsic's release: the pretrained backbone learns at a quarter of the rate and decay",
        **ORSIC,
    ),
    "swiftnet_pyramid": Recipe(
        source="orsic's release: as swiftnet, with a focal loss (gamma 0.5) whose weight is 8, 4 "
        "or 2 within 16, 64 and 128 pixels of a border; counting them along rows and columns is "
        "ours, and the form of the focal factor was not verified",
        **ORSIC,
        loss="boundary",
    ),
    "msfnet": Recipe(
        source="Si et al., arXiv 1911.07217, whose training was not found: all values are ours, "
        "after the Fast_Seg release's; the border stream learns within 8 pixels of borders",
        **FAST_SEG,
        steps=50_000,
        crop=(1024, 1024),
        aux_weight=1.0,
        aux_border=8,
    ),
    "espnet": Recipe(
        source="Mehta et al., ECCV 2018: trained and scored at 512x1024, val 61.4; 300 epochs, "
        "batch of 12 for ESPNet-C and then 6 for ESPNet from its weights, as its authors answered; "
        "Adam, its rate halved every 100 epochs, and its decay were not verified; scales are ours",
        epochs=300,
        batch=6,
        crop=(512, 1024),
        short_side=512,
        scales=(0.5, 1.5),
        optimizer="adam",
        lr=5e-4,
        weight_decay=5e-4,
        schedule="halving",
        class_weights="log",
    ),
    "fastscnn": Recipe(
        source="Poudel et al., BMVC 2019: SGD, 0.045, batch 12, 1000 epochs, as commonly reported "
        "and not verified against the paper; crop and decay too",
        epochs=1000,
        batch=12,
        crop=(768, 768),
        scales=(0.5, 2.0),
        jitter=0.25,
        lr=4.5e-2,
        weight_decay=4e-5,
    ),
}
