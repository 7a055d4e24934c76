"""The options of ``dseg train``: those of its configuration, and what selects a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from dseg.cli.options.from_config import options_of
from dseg.cli.options.groups import group
from dseg.cli.options.shared import json_option, quiet_option
from dseg.cli.options.types import FOLDER, Command, Number, Option, file_type
from dseg.config import DistillConfig, RuntimeConfig, TrainConfig

# Options of the command itself, before and after those of the configuration.
FIRST: tuple[Option, ...] = (
    group(
        "Data",
        click.option(
            "--dataset",
            "dataset_names",
            multiple=True,
            metavar="NAME",
            help="cityscapes, camvid, voc, mapillary, folder or scenes; may be repeated, to join "
            "several.",
        ),
        click.option(
            "--data-dir",
            "data_dirs",
            type=FOLDER,
            multiple=True,
            metavar="DIR",
            help="Folder of the data set, once for each --dataset; with --resume, its current "
            "folder.",
        ),
    ),
    group(
        "Recipe",
        click.option(
            "--epochs",
            type=Number(),
            metavar="N",
            help="Short for --set epochs=N; with --resume, the total.",
        ),
        click.option(
            *("-b", "--batch-size"),
            type=int,
            metavar="N",
            help="Short for --set batch=N: over all processes.",
        ),
    ),
)
LAST: tuple[Option, ...] = (
    group(
        "Recipe",
        click.option(
            "--set",
            "overrides",
            multiple=True,
            metavar="KEY=VALUE",
            help="Replace a value of the recipe, such as lr=0.01 or crop=360x480; may be repeated.",
        ),
    ),
    group(
        "Results",
        click.option(
            *("-o", "--out"),
            "run",
            type=FOLDER,
            required=True,
            metavar="RUN",
            help="Folder of the run.",
        ),
        click.option(
            "--resume",
            is_flag=True,
            help="Continue the run in --out where it stopped, or start it.",
        ),
        click.option(
            "--dry-run",
            is_flag=True,
            help="Show what would be done, try one batch, estimate time and memory; write nothing.",
        ),
        click.option(
            "--accept-data",
            is_flag=True,
            help="With --resume: continue although the data have changed.",
        ),
        json_option("the outcome of the run"),
    ),
    group("General", quiet_option),
)
DISTILL_OPTIONS: dict[str, Option] = {
    "teachers": group(
        "Teacher",
        click.option(
            "--teacher",
            "teachers",
            type=file_type(folder=False, as_text=True),
            multiple=True,
            metavar="FILE",
            help="Checkpoint of a trained network of the same classes, the authors' or dseg's; "
            "may be repeated, to follow the mean of several. With --resume, its current path.",
        ),
    ),
    **options_of(DistillConfig),
}


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """The training that a command line of ``dseg train`` requests.

    Attributes:
        config, runtime: values of the fields of ``TrainConfig`` and ``RuntimeConfig`` that have an
            option.
        given: names of the fields whose option was written on the command line.
        dataset_names, data_dirs: the data sets.
        run: folder of the run.
        overrides, epochs, batch_size: values to replace in the recipe.
        resume, accept_data: continue the run in ``run``.
        dry_run: try the run out, without writing anything.
        distillation: values of the fields of ``DistillConfig``, with the files of its teachers;
            None for ``dseg train``.
        json_file: file for the outcome.
        quiet: show no progress.
    """

    config: Mapping[str, Any]
    runtime: Mapping[str, Any]
    given: frozenset[str]
    dataset_names: tuple[str, ...]
    data_dirs: tuple[Path, ...]
    run: Path
    overrides: tuple[str, ...]
    epochs: float | None
    batch_size: int | None
    resume: bool
    accept_data: bool
    dry_run: bool
    json_file: Path | None
    quiet: bool
    distillation: Mapping[str, Any] | None = None

    @property
    def command(self) -> str:
        """The command that continues the run."""
        name = "train" if self.distillation is None else "distill"
        return f"dseg {name} --resume --out {self.run}"

    @classmethod
    def take(cls, values: dict[str, Any], given: frozenset[str]) -> TrainRequest:
        """Sort the values of all options."""
        config = {name: values.pop(name) for name in options_of(TrainConfig)}
        runtime = {name: values.pop(name) for name in options_of(RuntimeConfig)}
        taught = {name: values.pop(name) for name in DISTILL_OPTIONS if name in values}
        return cls(
            config=config, runtime=runtime, given=given, distillation=taught or None, **values
        )

    def recipe_overrides(self) -> list[str]:
        """Return the overrides of recipe values, as ``field=value``."""
        shortcuts = []
        if self.epochs is not None:
            shortcuts += [f"epochs={self.epochs}", "steps=0"]
        if self.batch_size is not None:
            shortcuts.append(f"batch={self.batch_size}")
        return [*self.overrides, *shortcuts]


def train_options(command: Command) -> Command:
    """Add the options of ``dseg train``."""
    own = {**options_of(TrainConfig), **options_of(RuntimeConfig)}
    for option in reversed([*FIRST, *own.values(), *LAST]):
        command = option(command)
    return command


def distill_options(command: Command) -> Command:
    """Add the options of ``dseg distill``: those of ``dseg train``, and those on the teacher."""
    for option in reversed(list(DISTILL_OPTIONS.values())):
        command = option(command)
    return train_options(command)
