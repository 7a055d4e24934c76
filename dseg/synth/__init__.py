"""Synthetic street scenes with exact labels, in Cityscapes' layout."""

from __future__ import annotations

from dseg.synth.compose import draw_scene
from dseg.synth.write import write_scenes

__all__ = ["draw_scene", "write_scenes"]
