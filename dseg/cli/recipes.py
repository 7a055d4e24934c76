"""``dseg recipes``: list the training recipes."""

from __future__ import annotations

import click

from dseg.cli.console import show
from dseg.cli.options.groups import DsegCommand, group
from dseg.recipes import RECIPES, find_recipe, setting_text
from dseg.registry import MODELS, find_model, plain_name


@click.command(cls=DsegCommand, short_help="List the training recipes.")
@click.argument("name", required=False)
@group(
    "Results",
    click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table."),
)
def recipes(name: str | None, as_json: bool) -> None:
    """List the training recipes, or all values of recipe NAME, or of the recipe of network NAME.

    Any value can be replaced by dseg train --set KEY=VALUE.

    \b
    Example:
      dseg recipes dabnet_camvid
    """
    from dataclasses import asdict
    from pathlib import Path

    from dseg.cli.stdio import emit_json
    from dseg.cli.tables import show_table

    if name and plain_name(name) in map(plain_name, MODELS):
        name = MODELS[find_model(name)].recipe
    chosen = {name: find_recipe(name)} if name else RECIPES
    if as_json:
        emit_json(Path("-"), {key: asdict(recipe) for key, recipe in chosen.items()})
        return
    if name:
        rows = [[key, setting_text(value)] for key, value in asdict(find_recipe(name)).items()]
        show_table("", ("value", name), [row for row in rows if row[0] != "source"])
        show(f"Source: {find_recipe(name).source}.")
        return
    show_table(
        "",
        ("recipe", "epochs", "batch", "crop", "optimizer", "lr", "loss"),
        (
            [
                *(key, f"{recipe.epochs:g}", str(recipe.batch), setting_text(recipe.crop)),
                *(recipe.optimizer, f"{recipe.lr:g}", recipe.loss),
            ]
            for key, recipe in RECIPES.items()
        ),
    )
