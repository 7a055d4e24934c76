"""Training recipes: one frozen dataclass each, with the published protocol it follows."""

from __future__ import annotations

from difflib import get_close_matches

from dseg.errors import DsegError
from dseg.recipes.accurate import ACCURATE
from dseg.recipes.denseaspp import DENSEASPP
from dseg.recipes.realtime import REALTIME
from dseg.recipes.recipe import AuxLossName, LossName, Optimizer, Recipe, Schedule, Weighting

__all__ = [
    "RECIPES",
    "AuxLossName",
    "LossName",
    "Optimizer",
    "Recipe",
    "Schedule",
    "Weighting",
    "find_recipe",
]

RECIPES: dict[str, Recipe] = {**REALTIME, **DENSEASPP, **ACCURATE}


def find_recipe(name: str) -> Recipe:
    """Return a recipe by its name, in any case and with ``-`` for ``_``.

    Raises:
        DsegError: there is none; the hint lists them.
    """
    key = name.lower().replace("-", "_")
    if key not in RECIPES:
        near = get_close_matches(key, RECIPES, n=2, cutoff=0.5)
        guess = f"did you mean {' or '.join(near)}? " if near else ""
        raise DsegError(
            f"No recipe named {name!r}.", hint=f"{guess}There are: {', '.join(RECIPES)}."
        )
    return RECIPES[key]
