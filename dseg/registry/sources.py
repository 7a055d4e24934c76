"""Values that entries of several releases share: links, normalisation and protocols."""

from __future__ import annotations

from typing import Any

from dseg.protocol import Protocol
from dseg.registry.spec import from_255

UNDIVIDED = from_255(1, 1, 1)  # the mean is subtracted in 0..255, without a division
CAFFE: dict[str, Any] = {
    "order": "BGR",
    "mean": from_255(122.67891434, 116.66876762, 104.00698793),
    "std": UNDIVIDED,
}
VOC: dict[str, Any] = {"num_classes": 21, "label_space": "voc"}
ADE20K: dict[str, Any] = {"num_classes": 150, "label_space": "ade20k"}
COCOSTUFF: dict[str, Any] = {"num_classes": 171, "label_space": "cocostuff"}
SCALES_TO_175 = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)


def sliding(side: int) -> Protocol:
    """Return a protocol of tiles that overlap by a third, padded at right and bottom, averaged."""
    return Protocol(tile=(side, side), sliding=True, small="corner")


GALD_RELEASE: dict[str, Any] = {
    **CAFFE,
    "source": "github.com/lxtGH/GALD-DGCNet",
    "authors": sliding(832),
}
FAST_SEG: dict[str, Any] = {"source": "github.com/lxtGH/Fast_Seg"}
TRAMAC: dict[str, Any] = {"source": "github.com/Tramac/awesome-semantic-segmentation-pytorch"}
DECOUPLE: dict[str, Any] = {
    "source": "github.com/lxtGH/DecoupleSegNets",
    "authors": Protocol(  # the release divides overlaps by counts of the wrong axes; here they are
        resample="bilinear-antialias",  # averaged
        restore="bilinear",
        tile=(832, 832),
        sliding=True,
        tile_grows=True,
        flip=True,
    ),
    "multi_scales": (0.5, 1.0, 2.0),
}
