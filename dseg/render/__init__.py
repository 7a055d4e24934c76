"""Overlays, heat maps and contact sheets; id look-up tables."""

from __future__ import annotations

from dseg.render.font import font_of
from dseg.render.heat import heat_palette
from dseg.render.legend import count_pixels, find_present
from dseg.render.lookup import look_up
from dseg.render.overlay import LEGENDS, OverlayStyle, render, render_overlay
from dseg.render.sheet import choose_evenly, draw_sheet, make_thumb

__all__ = [
    "LEGENDS",
    "OverlayStyle",
    "choose_evenly",
    "count_pixels",
    "draw_sheet",
    "find_present",
    "font_of",
    "heat_palette",
    "look_up",
    "make_thumb",
    "render",
    "render_overlay",
]
