"""What ``dseg train --resume`` goes on with: the run's own choices, unless others are named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dseg.cli.train.options import TrainOptions
from dseg.errors import DsegError

if TYPE_CHECKING:
    from dseg.training import RuntimeConfig, TrainConfig

SETTINGS = {  # option: field of Settings
    "split": "split",
    "val_split": "val_split",
    "label_space": "label_space",
    "classes": "class_file",
    "weights": "weights",
    "reset_head": "reset_head",
    "inplace_abn": "inplace_abn",
    "raw_weights": "raw_weights",
    "backbone_weights": "backbone_weights",
    "seed": "seed",
    "deterministic": "deterministic",
    "amp": "amp",
    "tf32": "tf32",
    "on_bad_data": "on_bad_data",
}
CONDITIONS = {  # option: field of Conditions
    "device": "device",
    "workers": "workers",
    "cache": "cache",
    "cache_dir": "cache_dir",
    "validate_every": "validate_every",
    "save_every": "save_every",
    "log_every": "log_every",
    "draw": "draw",
    "tensorboard": "tensorboard",
    "compiled": "compile",
    "checkpoint_activations": "checkpoint_activations",
    "no_check": "check_data",
}


def fill_in(options: TrainOptions, before: TrainConfig) -> TrainOptions:
    """Name the network and the data as the run does, where the command line does not."""
    if not options.names:
        names = tuple(name for name, _ in before.datasets)
        roots = options.roots or tuple(Path(root) for _, root in before.datasets)
        options = replace(options, names=names, roots=roots)
    return replace(options, model=options.model or before.model)


def keep_settings(
    options: TrainOptions, before: TrainConfig, named: TrainConfig, overrides: list[str]
) -> TrainConfig:
    """Return the run's settings, with the places of its data and the epochs that are named.

    Whether the data are the same is found out from their contents.

    Args:
        options: of the command line.
        before: the run's settings.
        named: what the options come to by themselves.
        overrides: what the options replace in a recipe, as ``field=value``.

    Raises:
        DsegError: the options name other settings than the run's.
    """
    from dseg.config.train import find_differences

    kept = {f: getattr(before, f) for option, f in SETTINGS.items() if option not in options.given}
    if "recipe_name" not in options.given:
        kept["recipe_name"] = before.recipe_name
        kept["recipe"] = before.recipe.override(overrides)
    wanted = replace(named, **kept)
    recipe = replace(before.recipe, epochs=wanted.recipe.epochs, steps=wanted.recipe.steps)
    after = replace(before, recipe=recipe, class_file=wanted.class_file)
    if [name for name, _ in wanted.datasets] == [name for name, _ in before.datasets]:
        after = replace(after, datasets=wanted.datasets)
    differences = find_differences(after, wanted)
    if differences:
        raise DsegError(
            f"{options.run} was begun otherwise: {'; '.join(differences[:4])}.",
            hint=f"go on as it was begun (dseg train --resume --out {options.run}), or start anew "
            "with another --out.",
        )
    return after


def keep_conditions(
    options: TrainOptions, before: RuntimeConfig, named: RuntimeConfig
) -> RuntimeConfig:
    """Return the conditions that the options name, and the run's for all others."""
    kept = {
        f: getattr(before, f) for option, f in CONDITIONS.items() if option not in options.given
    }
    return replace(named, **kept)
