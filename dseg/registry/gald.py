"""Registry entries of GALD-Net, DGCNet and GFF."""

from __future__ import annotations

from typing import Any

from dseg.registry.sources import DECOUPLE, GALD_RELEASE, sliding
from dseg.registry.spec import ModelSpec

GALD: dict[str, Any] = {
    **GALD_RELEASE,
    "title": "GALD-Net",
    "paper": "Li et al., BMVC 2019",
    "target": "gald:GALDNet",
    "recipe": "gald",
}
DGCNET: dict[str, Any] = {
    "source": "github.com/lxtGH/GALD-DGCNet",
    "licence": "MIT",
    "authors": sliding(832),
    "title": "DGCNet",
    "paper": "Zhang et al., BMVC 2019",
    "target": "dgcnet:DGCNet",
    "recipe": "dgcnet",
}
GFF: dict[str, Any] = {"title": "GFF", "paper": "Li et al., AAAI 2020", "recipe": "gff"}

GALD_NETS: dict[str, ModelSpec] = {
    "gald_r50": ModelSpec(
        **GALD,
        kwargs={"depth": 50},
        params=47_672_787,
        macs=1_649_076_681_216,
        goldens=("gald_r50_gald",),
        published="Cityscapes test 80.8",
        score=80.8,
    ),
    "gald_r101": ModelSpec(
        **GALD,
        kwargs={"depth": 101},
        params=66_664_915,
        macs=2_276_991_318_528,
        goldens=("gald_r101_gald",),
        published="Cityscapes test 81.8; with coarse labels 82.9, with Mapillary too 83.3",
        score=81.8,
    ),
    "dgcnet_r50": ModelSpec(
        **DGCNET,
        kwargs={"depth": 50},
        params=48_784_595,
        macs=1_676_516_527_104,
        goldens=("dgcnet_r50_gald",),
        weights="DualSeg_res50_final.pth",
        link="drive.google.com/file/d/13HnKtJLyCVK7-e0OtQeLrsJub4IO2t0R",
        published="Cityscapes val 79.6 to 79.8 (the release)",
        score=79.6,
    ),
    "dgcnet_r101": ModelSpec(
        **DGCNET,
        kwargs={"depth": 101},
        params=67_776_723,
        macs=2_304_431_164_416,
        goldens=("dgcnet_r101_gald",),
        link="drive.google.com/file/d/1xgePAXsXGummOfTo3XFPKUoe5-1QZcIy",
        published="Cityscapes val 80.3 to 80.4 (the release), test 82.0 (the paper)",
        score=80.3,
    ),
    "gff_wr38": ModelSpec(
        **GFF,
        **DECOUPLE,
        weights="GFFNet_Betst",
        link="drive.google.com/file/d/1wPF49PEdYHIvVLIAO5AsiEfc8ZmNkDY5",
        licence="MIT",
        target="gff:WideGFFNet",
        params=141_103_808,
        macs=6_470_100_844_544,
        goldens=("gff_wr38_decouple",),
    ),
    "gff_r50": ModelSpec(
        **GFF,
        target="gff:GFFNet",
        kwargs={"depth": 50},
        params=51_829_463,
        macs=2_284_966_641_664,
    ),
    "gff_r101": ModelSpec(
        **GFF,
        target="gff:GFFNet",
        kwargs={"depth": 101},
        params=70_821_591,
        macs=2_905_589_415_936,
        published="Cityscapes test 82.3",
        score=82.3,
    ),
}
