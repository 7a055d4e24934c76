"""Recipes of the accurate networks.

The batch size is that of all GPUs together, with synchronised norms. On fewer devices the batch is
split into micro-batches (``accumulate``); norms then have the statistics of a micro-batch.
"""

from __future__ import annotations

from typing import Any

from dseg.recipes.recipe import Recipe

CONTINUOUS: dict[str, Any] = {"scales": (0.5, 2.0), "continuous": True}
# GALD-Net's and DGCNet's release: 8 GPUs of one image each
GALD: dict[str, Any] = {
    "batch": 8,
    "scales": tuple(round(0.7 + 0.1 * step, 1) for step in range(15)),
    "continuous": False,
    "weight_decay": 5e-4,
    "loss": "ohem",
    "ohem_threshold": 0.7,
    "ohem_keep": 100_000 / (769 * 769),
}
SEMSEG: dict[str, Any] = {
    "epochs": 200,
    "batch": 16,
    **CONTINUOUS,
    "rotate": 10.0,
    "blur": 0.5,
    "weight_decay": 1e-4,
}
OCNET_WEIGHTS = (
    *(0.8373, 0.918, 0.866, 1.0345, 1.0166, 0.9969, 0.9754, 1.0489, 0.8786, 1.0023),
    *(0.9539, 0.9843, 1.1116, 0.9037, 1.0865, 1.0955, 1.0865, 1.1529, 1.0507),
)
RELEASE = "the GALD-DGCNet release: 8 GPUs of an image each"

ACCURATE: dict[str, Recipe] = {
    "gald": Recipe(
        source=f"{RELEASE}; 100,000 hard pixels of each crop",
        **GALD,
        steps=50_000,
        crop=(769, 769),
    ),
    "dgcnet": Recipe(
        source=f"{RELEASE}; 60,000 steps for ResNet-101",
        **{**GALD, "ohem_keep": 100_000 / (832 * 832)},
        steps=50_000,
        crop=(832, 832),
    ),
    "gald_coarse": Recipe(
        source="after the GALD-DGCNet release's advice, fine, then coarse, then fine: one turn on "
        "coarse labels, from weights of gald, to be followed by gald_fixed; its length is ours",
        **GALD,
        steps=50_000,
        crop=(769, 769),
        lr=1e-3,
    ),
    "gald_fixed": Recipe(
        source="after OCNet's release, 100,000 steps at a fixed rate on train and val, with the "
        "GALD-DGCNet release's values for the rest",
        **GALD,
        steps=100_000,
        crop=(769, 769),
        schedule="constant",
        lr=1e-4,
    ),
    "gff": Recipe(
        source="Li et al., AAAI 2020: crops of 864 and 8 images as commonly reported and not "
        "verified against the paper; the rest after the GALD-DGCNet release",
        **{**GALD, "ohem_keep": 100_000 / (864 * 864)},
        steps=50_000,
        crop=(864, 864),
    ),
    "semseg": Recipe(
        source="the semseg release: val 77.30 (ResNet-50), 78.63 (ResNet-101); it turns about "
        "the image's centre, ours about the crop's",
        **SEMSEG,
        crop=(713, 713),
    ),
    "psanet": Recipe(
        source="the semseg release: val 77.45 (ResNet-50), 78.42 (ResNet-101); as semseg, with "
        "crops of 705 pixels",
        **SEMSEG,
        crop=(705, 705),
    ),
    "deeplabv3": Recipe(
        source="Chen et al., arXiv 1706.05587, section 4: crops of 769, poly 0.9, 90,000 steps of "
        "16 images and a rate of 0.007, as commonly reported and not verified",
        steps=90_000,
        batch=16,
        crop=(769, 769),
        **CONTINUOUS,
        lr=0.007,
        weight_decay=1e-4,
    ),
    "deeplabv3plus": Recipe(
        source="the DecoupleSegNets release's baseline, whose values were not read: all are "
        "DeepLabV3's and ours",
        steps=90_000,
        batch=8,
        crop=(832, 832),
        **CONTINUOUS,
        lr=0.01,
        weight_decay=5e-4,
    ),
    "danet": Recipe(
        source="the DANet release: val 79.93 (ResNet-101); 0.01 for 16 images, heads ten times "
        "that, 240 epochs; crops of 768 and 8 images are ours",
        epochs=240,
        batch=8,
        crop=(768, 768),
        **CONTINUOUS,
        lr=0.005,
        head_lr=10,
        weight_decay=1e-4,
        aux_weight=1.0,
    ),
    "ccnet": Recipe(
        source="the CCNet release: val 79.74 (ResNet-101), 80.00 with hard pixels",
        steps=60_000,
        batch=8,
        crop=(769, 769),
        **CONTINUOUS,
        lr=0.01,
        weight_decay=5e-4,
        loss="ohem",
        ohem_threshold=0.7,
        ohem_keep=100_000,
    ),
    "emanet": Recipe(
        source="the EMANet release: val 81.14 (ResNet-101, hard pixels); its rate of biases is "
        "twice as large, ours not; the crop is that of its Pascal recipe",
        steps=30_000,
        batch=16,
        crop=(513, 513),
        **CONTINUOUS,
        lr=9e-3,
        weight_decay=1e-4,
        decay_norms=False,
        loss="ohem",
        ohem_threshold=0.7,
        ohem_keep=100_000 / (769 * 769),
    ),
    "ocnet": Recipe(
        source="the OCNet release: val 79.5 (ASP, ResNet-101), 80.4 with hard pixels; the class "
        "weights are those of Cityscapes that its authors quote",
        steps=40_000,
        batch=8,
        crop=(769, 769),
        **CONTINUOUS,
        lr=0.01,
        weight_decay=5e-4,
        class_weights="published",
        published_weights=OCNET_WEIGHTS,
    ),
    "glore": Recipe(
        source="Chen et al., CVPR 2019: poly 0.9, 0.006 and 8 images as remembered and not "
        "verified; crop, steps and decay are ours",
        steps=60_000,
        batch=8,
        crop=(769, 769),
        **CONTINUOUS,
        lr=0.006,
        weight_decay=1e-4,
    ),
    "dfn": Recipe(
        source="the TorchSeg release: val 79.09 (ResNet-101), cross-entropy of four outputs and "
        "0.1 times the focal loss of four borders; batch, rate, crop and scales as remembered of "
        "Yu et al., CVPR 2018, and not verified, steps are ours",
        steps=80_000,
        batch=32,
        crop=(800, 800),
        scales=(0.5, 0.75, 1.0, 1.5, 1.75),
        continuous=False,
        lr=4e-3,
        weight_decay=1e-4,
        aux_weight=1.0,
        edge_weight=0.1,
    ),
    "refinenet": Recipe(
        source="Lin et al., CVPR 2017: a rate of 5e-4, as remembered and not verified; the rest "
        "is ours",
        steps=60_000,
        batch=8,
        crop=(600, 600),
        scales=(0.7, 1.3),
        lr=5e-4,
        weight_decay=5e-4,
    ),
    "duc_hdc": Recipe(
        source="Wang et al., WACV 2018: crops of 544, 12 images, 2.5e-4, as remembered and not "
        "verified; steps are its 20 epochs of 12 patches an image, scales are ours",
        steps=60_000,
        batch=12,
        crop=(544, 544),
        scales=(0.75, 1.25),
        lr=2.5e-4,
        weight_decay=5e-4,
    ),
    "sac": Recipe(
        source="Zhang et al., ICCV 2017, whose training was not found: all values are ours, after "
        "the semseg release's",
        steps=60_000,
        batch=8,
        crop=(713, 713),
        **CONTINUOUS,
        lr=0.01,
        weight_decay=1e-4,
    ),
    "dsspn": Recipe(
        source="Liang et al., CVPR 2018, whose training was not found: all values are ours, after "
        "the semseg release's",
        steps=60_000,
        batch=8,
        crop=(713, 713),
        **CONTINUOUS,
        lr=0.01,
        weight_decay=1e-4,
    ),
    "affinity_fields": Recipe(
        source="Ke et al., ECCV 2018, on any network: weight 1 and margin 3 as remembered and not "
        "verified, for PSPNet-101 test 79.1; the rest after the semseg release",
        **SEMSEG,
        crop=(713, 713),
        affinity_weight=1.0,
    ),
    "ocnet_fixed": Recipe(
        source="the OCNet release, test 81.2: after 80,000 steps on train and val (ocnet), "
        "100,000 more at a fixed rate with hard pixels",
        steps=100_000,
        batch=8,
        crop=(769, 769),
        **CONTINUOUS,
        lr=1e-4,
        schedule="constant",
        weight_decay=5e-4,
        loss="ohem",
        ohem_threshold=0.7,
        ohem_keep=100_000,
    ),
}
