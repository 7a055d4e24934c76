"""Find values of a recipe that were set but have no effect beside its other values."""

from __future__ import annotations

from collections.abc import Callable

from dseg.recipes.recipe import FIELDS, Recipe

# The fields, whether they have an effect, and the setting that would give them one.
Rule = tuple[tuple[str, ...], Callable[[Recipe], bool], str]
RULES: tuple[Rule, ...] = (
    (("epochs",), lambda recipe: not recipe.steps, "steps=0"),
    (("beta2",), lambda recipe: recipe.optimizer != "sgd", "optimizer=adam or adamw"),
    (("power",), lambda recipe: recipe.schedule == "poly", "schedule=poly"),
    (("lr_end",), lambda recipe: recipe.schedule == "cosine", "schedule=cosine"),
    (("halvings",), lambda recipe: recipe.schedule == "halving", "schedule=halving"),
    (("warmup_from", "warmup_shape"), lambda recipe: recipe.warmup > 0, "warmup above 0"),
    (
        ("ohem_threshold", "ohem_keep", "ohem_strict"),
        lambda recipe: "ohem" in (recipe.loss, recipe.aux_loss),
        "loss=ohem or aux_loss=ohem",
    ),
    (
        ("published_weights",),
        lambda recipe: recipe.class_weights == "published",
        "class_weights=published",
    ),
    (
        ("affinity_margin", "affinity_stride"),
        lambda recipe: recipe.affinity_weight > 0,
        "affinity_weight above 0",
    ),
    (
        ("edge_aware_threshold",),
        lambda recipe: recipe.edge_aware_weight > 0,
        "edge_aware_weight above 0",
    ),
)


def find_idle(recipe: Recipe, base: Recipe, *, borders: bool) -> list[str]:
    """Return a phrase for each value that differs from ``base`` and has no effect.

    Args:
        recipe: the recipe of a run.
        base: the recipe before values were replaced.
        borders: whether the network has border outputs, which the ``edge_`` fields are for.
    """
    changed = [name for name in FIELDS if getattr(recipe, name) != getattr(base, name)]
    found = []
    for name in changed:
        if name.startswith("edge_") and not borders:
            found.append(f"{name}, as the network has no border output")
            continue
        found += [
            f"{name} without {needed}"
            for names, works, needed in RULES
            if name in names and not works(recipe)
        ]
    return found
