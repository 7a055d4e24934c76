"""Recipe files: a network, its initial weights and the values of a recipe, in TOML."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dseg.errors import DsegError, suggest
from dseg.recipes.recipe import Recipe
from dseg.tomlio import read_toml

TOP = ("model", "weights", "reset_head", "backbone_weights", "base", "recipe")
BUNDLED = "bundled"
NO_WEIGHTS = "none"


@dataclass(frozen=True, kw_only=True)
class RecipeFile:
    """Contents of a recipe file, as ``dseg plan`` writes it.

    Attributes:
        model: name of the network, or "".
        weights: checkpoint to start from: a path, "bundled", "none", or "" if none are
            named.
        reset_head: leave out the classifier of ``weights``.
        backbone_weights: as in ``TrainConfig``.
        base: name of the recipe whose values hold where the file gives none, or "".
        overrides: values of the recipe as ``field=value``.
        source: the line that says what the recipe is for.
    """

    model: str = ""
    weights: str = ""
    reset_head: bool = False
    backbone_weights: str = ""
    base: str = ""
    overrides: tuple[str, ...] = ()
    source: str = ""

    def apply_to(self, base: Recipe) -> Recipe:
        """Return a recipe with the values of this file."""
        from dataclasses import replace

        return replace(base.override(self.overrides), source=self.source or base.source)


def names_weights(weights: str) -> bool:
    """Return True if ``--weights`` names a file or the bundled one, not random weights."""
    return weights not in ("", NO_WEIGHTS)


def is_recipe_file(name: str) -> bool:
    """Return True if ``--recipe`` names a file, not a recipe of ``RECIPES``."""
    return name.lower().endswith(".toml")


def read_recipe_file(path: Path) -> RecipeFile:
    """Read a recipe file.

    Raises:
        DsegError: the file is missing, not TOML, or has an unknown field or wrong value.
    """
    fields = read_toml(path, "recipe")
    for key in fields:
        if key not in TOP:
            raise DsegError(
                f"{path}: unknown field {key!r}.",
                hint=f"{suggest(key, TOP)}the fields are {', '.join(TOP)}; values of the recipe "
                "belong below the line [recipe].",
            )
    values = fields.get("recipe", {})
    if not isinstance(values, dict):
        raise DsegError(f"{path}: recipe is not a table.", hint="write [recipe] and values below.")
    texts = {key: fields.get(key, "") for key in ("model", "weights", "backbone_weights", "base")}
    for key, value in texts.items():
        if not isinstance(value, str):
            raise DsegError(f"{path}: {key} is {value!r}.", hint="write a string in quotes.")
    reset_head = fields.get("reset_head", False)
    if not isinstance(reset_head, bool):
        raise DsegError(f"{path}: reset_head is {reset_head!r}.", hint="write true or false.")
    if (
        texts["weights"]
        and texts["weights"] not in (BUNDLED, NO_WEIGHTS)
        and not Path(texts["weights"]).is_absolute()
    ):
        texts["weights"] = str(path.parent / texts["weights"])
    source = str(values.pop("source", ""))
    return RecipeFile(
        **texts,
        reset_head=reset_head,
        overrides=tuple(f"{name}={_as_text(name, value)}" for name, value in values.items()),
        source=source,
    )


def _as_text(name: str, value: Any) -> str:
    """Return a value as ``--set`` reads it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ("x" if name == "crop" else ",").join(str(part) for part in value)
    return str(value)
