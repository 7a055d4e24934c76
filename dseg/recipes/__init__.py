"""Training recipes: named sets of hyper-parameters, each with its source."""

from __future__ import annotations

from dseg.errors import DsegError, suggest
from dseg.recipes.accurate import ACCURATE
from dseg.recipes.bilateral import BILATERAL
from dseg.recipes.denseaspp import DENSEASPP
from dseg.recipes.efficientvit import EFFICIENTVIT
from dseg.recipes.gcnet import GCNET
from dseg.recipes.lraspp import LRASPP
from dseg.recipes.own_data import OWN_DATA
from dseg.recipes.realtime import REALTIME
from dseg.recipes.recipe import (
    LOADED_AS,
    STORED_AS,
    AuxLossName,
    EdgeLossName,
    LossName,
    MeanOver,
    Optimizer,
    Recipe,
    Schedule,
    Weighting,
    setting_text,
)
from dseg.recipes.sfnet import SFNET

__all__ = [
    "LOADED_AS",
    "RECIPES",
    "STORED_AS",
    "AuxLossName",
    "EdgeLossName",
    "LossName",
    "MeanOver",
    "Optimizer",
    "Recipe",
    "Schedule",
    "Weighting",
    "find_recipe",
    "setting_text",
]

RECIPES: dict[str, Recipe] = {
    **REALTIME,
    **BILATERAL,
    **GCNET,
    **DENSEASPP,
    **ACCURATE,
    **EFFICIENTVIT,
    **LRASPP,
    **SFNET,
    **OWN_DATA,
}


def find_recipe(name: str) -> Recipe:
    """Return the recipe called ``name``; case does not matter, and ``-`` stands for ``_``.

    Raises:
        DsegError: unknown name; the hint lists the known ones.
    """
    key = name.lower().replace("-", "_")
    if key not in RECIPES:
        guess = suggest(key, RECIPES, most=2, cutoff=0.5)
        raise DsegError(
            f"Unknown recipe {name!r}.", hint=f"{guess}Choose one of: {', '.join(RECIPES)}."
        )
    return RECIPES[key]
