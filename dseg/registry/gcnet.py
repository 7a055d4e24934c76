"""Registry entries of GCNet; sizes are those of the folded form, which inference uses."""

from __future__ import annotations

from typing import Any

from dseg.registry.spec import ModelSpec, from_255

GCNET: dict[str, Any] = {
    "paper": "Yang et al., CVPR 2025",
    "target": "gcnet:GCNet",
    "mean": from_255(123.675, 116.28, 103.53),
    "std": from_255(58.395, 57.12, 57.375),
    "source": "github.com/gyyang23/GCNet",
    "licence": "MIT (the repository's)",
    "recipe": "gcnet",
}

GCNETS: dict[str, ModelSpec] = {
    "gcnet_s": ModelSpec(
        **GCNET,
        title="GCNet-S",
        kwargs={"width": 32, "head_width": 64},
        params=9_169_971,
        macs=45_106_135_040,
        goldens=("gcnet_s_gyyang", "gcnet_s_deploy_gyyang"),
        link="drive.google.com/file/d/1KersBP95k3b0AELiYlQ1rk4PKUmN-ueu",
        published="Cityscapes val 76.9, without ImageNet",
        score=76.9,
    ),
    "gcnet_m": ModelSpec(
        **GCNET,
        title="GCNet-M",
        kwargs={"width": 64, "head_width": 128},
        params=34_056_019,
        macs=178_359_762_944,
        goldens=("gcnet_m_gyyang", "gcnet_m_deploy_gyyang"),
        link="drive.google.com/file/d/1sRaoMBirNeOlzV7DSJrML37k6Ypm4E7n",
        published="Cityscapes val 78.9, without ImageNet",
        score=78.9,
    ),
    "gcnet_l": ModelSpec(
        **GCNET,
        title="GCNet-L",
        kwargs={"width": 64, "head_width": 256, "blocks": 5},
        params=44_861_587,
        macs=231_589_675_008,
        goldens=("gcnet_l_gyyang", "gcnet_l_deploy_gyyang"),
        link="drive.google.com/file/d/1FCQJB0kRni7PoMTkLOjzuPi9KI868XB6",
        published="Cityscapes val 79.6, without ImageNet",
        score=79.6,
    ),
}
