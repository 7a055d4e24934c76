"""What rows of several releases have in common: where they are, and how they normalise."""

from __future__ import annotations

from typing import Any

from dseg.registry.spec import from_255

UNDIVIDED = from_255(1, 1, 1)  # 0..255 minus the mean, not divided
CAFFE: dict[str, Any] = {
    "order": "BGR",
    "mean": from_255(122.67891434, 116.66876762, 104.00698793),
    "std": UNDIVIDED,
}
SEMSEG: dict[str, Any] = {
    "source": "github.com/hszhao/semseg",
    "mean": from_255(123.675, 116.28, 103.53),
    "std": from_255(58.395, 57.12, 57.375),
}
GALD_RELEASE: dict[str, Any] = {**CAFFE, "source": "github.com/lxtGH/GALD-DGCNet"}
TRAMAC: dict[str, Any] = {"source": "github.com/Tramac/awesome-semantic-segmentation-pytorch"}
DECOUPLE: dict[str, Any] = {"source": "github.com/lxtGH/DecoupleSegNets"}
