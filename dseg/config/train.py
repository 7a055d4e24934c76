"""Configuration of a training run: the network, its data and how it is trained."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from dseg.config.distill import DistillConfig
from dseg.config.fields import (
    AMP_CHOICES,
    amp_field,
    inplace_abn_field,
    option,
    raw_weights_field,
)
from dseg.errors import DsegError
from dseg.jsonio import is_count, show, take_fields
from dseg.recipes import LOADED_AS, STORED_AS, Recipe, find_recipe
from dseg.recipes.file import is_recipe_file, read_recipe_file
from dseg.registry import MODELS, find_model

BAD_DATA_CHOICES = ("stop", "skip")
# not in older run.json
ADDED_LATER = "inplace_abn", "raw_weights", "tf32", "patience", "distillation"


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything but the data that determines the weights at the end of a run.

    The order of the fields is that of the files which hold them. ``make_config`` fills in the
    network's own recipe.

    Attributes:
        model: name of the network.
        datasets: ``(name, folder)`` of each data set; several are joined.
        split, val_split: splits for training and validation; ``val_split`` is "" for none, or the
            fraction of the training split to hold back, such as "0.05".
        label_space: name of the classes onto which masks are mapped; "" for the data set's own.
        class_file: class file of a ``folder`` data set; "" for the one in its folder.
        recipe_name: name of the recipe before overrides.
        recipe: the recipe, with all overrides.
        weights: checkpoint to start from; "bundled" for the bundled one, "none" or "" for
            random weights, where "" leaves the choice to a plan.
        reset_head: leave out the classifier of ``weights``.
        backbone_weights: ``imagenet``, a file, or "" for none.
        seed: seed of weights, order and augmentation, 0 to 2**63 - 1.
        deterministic: use reproducible algorithms only.
        amp: precision within the network: ``off``, ``auto``, ``bf16`` or ``fp16``.
        on_bad_data: ``stop`` at a sample that cannot be read, or ``skip`` it.
        world_size: number of processes.
        inplace_abn: True if ``weights`` were trained with in-place activated batch norm; None to
            decide by the network.
        raw_weights: take the raw weights of a checkpoint that also has EMA weights.
        tf32: round the factors of float32 products to TensorFloat-32 on CUDA.
        patience: validations without a better mean IoU after which the run ends; 0 for no limit.
        distillation: what is learnt from teachers; None without any.

    Raises:
        DsegError: a value is out of range.
    """

    model: str = option(
        "--model", group="Network", kind="network", metavar="NAME", help="Network; see: dseg models"
    )
    datasets: tuple[tuple[str, str], ...]
    split: str = option(
        "--split",
        group="Data",
        metavar="NAME",
        default="train",
        help="Split to train on; join two with '+': train+val.",
    )
    val_split: str = option(
        "--val-split",
        group="Data",
        metavar="NAME",
        default="val",
        help="Split to validate on, which selects the best weights; 'none', or the fraction of the "
        "training split to hold back, such as 0.05. Of several data sets, those without this "
        "split are only trained on.",
    )
    label_space: str = option(
        "--label-space",
        group="Data",
        default="",
        metavar="NAME",
        help="Map the masks onto other classes.",
    )
    class_file: str = option(
        "--classes",
        group="Data",
        default="",
        kind="file",
        metavar="FILE",
        help="Class file of a 'folder' data set.",
    )
    recipe_name: str = option(
        "--recipe",
        group="Recipe",
        default="",
        metavar="NAME|FILE",
        help="Training recipe, or a file of dseg plan (default: planned for the data if they are "
        "own or few, else the network's own); see: dseg recipes",
    )
    recipe: Recipe
    weights: str = option(
        *("-w", "--weights"),
        group="Network",
        default="",
        kind="file",
        metavar="FILE",
        help="Checkpoint to start from; 'bundled' for the bundled DABNet, 'none' for random "
        "weights.",
    )
    reset_head: bool = option(
        "--reset-head",
        group="Network",
        default=False,
        help="Leave out the classifier of --weights, for other classes.",
    )
    backbone_weights: str = option(
        "--backbone-weights",
        group="Network",
        default="",
        metavar="imagenet|FILE",
        help="Start from torchvision's weights (a deep stem stays random), or from a file's.",
    )
    seed: int = option(
        "--seed",
        group="Recipe",
        metavar="N",
        default=0,
        low=0,
        high=2**63 - 1,
        help="Seed of weights, sample order and augmentation.",
    )
    deterministic: bool = option(
        "--deterministic",
        group="Expert",
        default=False,
        help="Use only algorithms that reproduce the same bits.",
    )
    amp: str = amp_field()
    on_bad_data: str = option(
        "--on-bad-data",
        group="Data",
        default="stop",
        choices=BAD_DATA_CHOICES,
        help="What to do with a sample that cannot be read.",
    )
    world_size: int = 1
    inplace_abn: bool | None = inplace_abn_field()
    raw_weights: bool = raw_weights_field()
    tf32: bool = option(
        "--tf32/--no-tf32",
        group="Speed",
        default=True,
        help="On CUDA, round factors of float32 products to TensorFloat-32, which is faster.",
    )
    patience: int = option(
        "--patience",
        group="Recipe",
        default=0,
        low=0,
        metavar="N",
        help="End the run after N validations without a better mean IoU; 0: never.",
    )
    distillation: DistillConfig | None = None

    def __post_init__(self) -> None:
        wrong = {
            "seed": not is_count(self.seed),
            "patience": not is_count(self.patience),
            "world_size": self.world_size < 1,
            "amp": self.amp not in AMP_CHOICES,
            "on_bad_data": self.on_bad_data not in BAD_DATA_CHOICES,
            "datasets": not self.datasets,
        }
        for name, is_wrong in wrong.items():
            if is_wrong:
                raise DsegError(
                    f"{name} cannot be {show(getattr(self, name))}.",
                    hint="dseg train --help lists the accepted values.",
                )

    def as_json(self) -> dict[str, Any]:
        """Return the configuration as plain JSON values, with the stored names of recipe fields."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        recipe = plain["recipe"].items()
        plain["recipe"] = {STORED_AS.get(name, name): value for name, value in recipe}
        if self.distillation is None:
            del plain["distillation"]
        return plain

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TrainConfig:
        """Return the configuration that ``as_json`` gave.

        Raises:
            ValueError: a field is missing, unknown or of another type.
            DsegError: a value is out of range, or the network is unknown.
        """
        for own in fields(cls):
            if own.name not in data and own.name not in ADDED_LATER:
                raise ValueError(f"settings have no {own.name}")
        stored = data["recipe"]
        if isinstance(stored, dict):
            stored = {LOADED_AS.get(name, name): value for name, value in stored.items()}
        recipe = Recipe(**take_fields(Recipe, stored, "the recipe"))
        more: dict[str, Any] = {"recipe": recipe}
        if data.get("distillation") is not None:
            taught = take_fields(DistillConfig, data["distillation"], "the distillation")
            more["distillation"] = DistillConfig(**taught)
        config = cls(**take_fields(cls, {**data, **more}, "settings"))
        find_model(config.model)
        return config


def make_config(
    model: str,
    datasets: Iterable[tuple[str, str]],
    *,
    recipe: str = "",
    overrides: Iterable[str] = (),
    **values: Any,
) -> TrainConfig:
    """Return the configuration of a run, by default with the network's own recipe.

    Args:
        model: name of the network, in any spelling that ``--model`` accepts.
        datasets: ``(name, folder)`` of each data set.
        recipe: name of the recipe, or path of a recipe file (``.toml``), whose initial weights
            hold unless ``values`` have some.
        overrides: values to replace in it, as ``field=value``.
        values: further fields of ``TrainConfig``.

    Raises:
        DsegError: unknown network or recipe, or a value is out of range.

    Example:
        >>> make_config("DABNet", [("scenes", "scenes")], overrides=["epochs=2"]).split
        'train'
    """
    network = find_model(model)
    name = recipe or MODELS[network].recipe
    if is_recipe_file(name):
        file = read_recipe_file(Path(name))
        chosen = file.apply_to(find_recipe(file.base or MODELS[network].recipe))
        if not values.get("weights") and not values.get("backbone_weights"):
            values |= {"weights": file.weights, "backbone_weights": file.backbone_weights}
            values["reset_head"] = values.get("reset_head") or file.reset_head
    else:
        chosen = find_recipe(name)
    return TrainConfig(
        model=network,
        datasets=tuple((kind.lower(), str(folder)) for kind, folder in datasets),
        recipe_name=name,
        recipe=chosen.override(overrides),
        **values,
    )
