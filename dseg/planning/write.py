"""A plan as a recipe file."""

from __future__ import annotations

import json

from dseg.planning.choose import Plan
from dseg.recipes.recipe import Recipe

FIRST = ("model", "weights")
WIDTH = 79


def make_plan_text(plan: Plan) -> str:
    """Return a recipe file in TOML with the reason for every choice."""
    lines = [
        f"# Plan for {plan.data},",
        f"# on {plan.machine}{plan.time}.",
        "# Every value can be changed here or by --set; dseg recipes NAME shows all.",
        "",
        _line("model", json.dumps(plan.model), plan.reasons["model"]),
    ]
    if plan.weights or "weights" in plan.reasons:
        lines.append(_line("weights", json.dumps(plan.weights), plan.reasons.get("weights", "")))
    if plan.reset_head:
        lines.append(_line("reset_head", "true", "the classes differ from those of the weights"))
    base = "the recipe whose values hold where none is given below"
    lines += [_line("base", json.dumps(plan.base), base), "", "[recipe]"]
    for name, reason in plan.reasons.items():
        if name not in FIRST:
            lines.append(_line(name, _value(plan.recipe, name), reason))
    return "\n".join(lines) + "\n"


def _line(name: str, value: str, reason: str) -> str:
    """Return a field with its reason behind it, or above it if the line is too long."""
    field = f"{name} = {value}"
    line = f"{field:<24}# {reason}"
    return line if len(line) <= WIDTH else f"# {reason}:\n{field}"


def _value(recipe: Recipe, name: str) -> str:
    value = getattr(recipe, name)
    if name == "crop":
        return json.dumps("x".join(map(str, value)))
    return json.dumps(list(value) if isinstance(value, tuple) else value)
