"""Recipes of DDRNet and PIDNet."""

from __future__ import annotations

from dseg.recipes.recipe import Recipe

BILATERAL: dict[str, Recipe] = {
    "ddrnet": Recipe(source="to come"),
    "pidnet": Recipe(source="to come"),
}
