"""The colours of heat maps."""

from __future__ import annotations

from functools import cache

COLOR_MAP = "inferno"  # perceptually uniform: black, violet, orange, light yellow


@cache
def heat_palette() -> list[int]:
    """Return 768 values, the RGB colours of the values 0 to 255 of a heat map."""
    from matplotlib import colormaps

    colors = colormaps[COLOR_MAP](range(256), bytes=True)[:, :3]
    return [int(value) for value in colors.reshape(-1)]
