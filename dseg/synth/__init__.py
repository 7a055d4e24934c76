"""Synthetic street scenes with exact labels, in Cityscapes' layout."""

from __future__ import annotations

from dseg.synth.compose import draw_scene
from dseg.synth.write import SceneFiles, scene_files, write_scenes

__all__ = ["SceneFiles", "draw_scene", "scene_files", "write_scenes"]
