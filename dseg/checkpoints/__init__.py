"""Load checkpoints of any author into our networks, and write our own files."""

from dseg.checkpoints.backbone import BackboneReport, find_backbone_weights, load_backbone
from dseg.checkpoints.identify import choose_network, find_networks
from dseg.checkpoints.keys import LoadReport, count_classes, map_keys
from dseg.checkpoints.load import load_model, load_weights
from dseg.checkpoints.locations import (
    find_bundled,
    find_file,
    find_weights,
    sha256,
)
from dseg.checkpoints.model_card import save_model
from dseg.checkpoints.read import Checkpoint, read_checkpoint

__all__ = [
    "BackboneReport",
    "Checkpoint",
    "LoadReport",
    "choose_network",
    "count_classes",
    "find_backbone_weights",
    "find_bundled",
    "find_file",
    "find_networks",
    "find_weights",
    "load_backbone",
    "load_model",
    "load_weights",
    "map_keys",
    "read_checkpoint",
    "save_model",
    "sha256",
]
