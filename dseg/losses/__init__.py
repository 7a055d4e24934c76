"""Losses of main, auxiliary and border outputs, adaptive affinity fields, distillation."""

from __future__ import annotations

from dseg.losses.affinity import AffinityFields
from dseg.losses.borders import (
    balanced_edge_loss,
    dilate,
    edge_loss,
    find_borders,
    mark_edges,
    weigh_borders,
)
from dseg.losses.distill import channels_loss, logits_loss
from dseg.losses.loss import SegLoss, find_hard, make_class_weights
from dseg.losses.whole_image import ImageLoss

__all__ = [
    "AffinityFields",
    "ImageLoss",
    "SegLoss",
    "balanced_edge_loss",
    "channels_loss",
    "dilate",
    "edge_loss",
    "find_borders",
    "find_hard",
    "logits_loss",
    "make_class_weights",
    "mark_edges",
    "weigh_borders",
]
