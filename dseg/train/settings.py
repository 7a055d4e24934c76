"""Settings: all that decides what a training run computes, as written to the run's folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dseg import __version__
from dseg.errors import DsegError
from dseg.files import written_whole
from dseg.jsonfile import is_count, read_object, show, take_fields
from dseg.recipes import Recipe
from dseg.registry import find_model
from dseg.train.conditions import Conditions

RUN_FILE = "run.json"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides the weights that a run ends with, besides the data.

    Attributes:
        model: the network's name in the table.
        datasets: ``(name, folder)`` of each data set that is joined.
        split, val_split: what is trained on, and what decides on the best weights; "" for none.
        label_space: the classes; "" for the data set's own.
        class_file: of a ``folder`` data set; "" for the one in it.
        recipe_name: what ``--recipe`` named.
        recipe: with all overrides.
        weights: checkpoint that training starts from; "" for fresh weights.
        reset_head: whether that checkpoint's classifier is left out.
        inplace_abn: whether it was trained with in-place activated batch norm; None where its
            keys decide.
        raw_weights: whether, of a checkpoint with averaged weights, the others are taken.
        backbone_weights: ``imagenet``, a file, or "".
        seed: of weights, order and augmentation.
        deterministic: whether only reproducible algorithms are used.
        amp: precision, as ``--amp``.
        tf32: whether float32 products are rounded to TensorFloat-32 on CUDA.
        on_bad_data: ``stop`` or ``skip``.
        world_size: processes.
    """

    model: str
    datasets: tuple[tuple[str, str], ...]
    split: str
    val_split: str
    label_space: str
    class_file: str
    recipe_name: str
    recipe: Recipe
    weights: str
    reset_head: bool
    backbone_weights: str
    seed: int
    deterministic: bool
    amp: str
    on_bad_data: str
    world_size: int
    inplace_abn: bool | None = None
    raw_weights: bool = False
    tf32: bool = True

    def __post_init__(self) -> None:
        wrong = {
            "seed": not is_count(self.seed),
            "world_size": self.world_size < 1,
            "amp": self.amp not in ("off", "auto", "bf16", "fp16"),
            "on_bad_data": self.on_bad_data not in ("stop", "skip"),
            "datasets": not self.datasets,
        }
        for name, is_wrong in wrong.items():
            if is_wrong:
                raise DsegError(
                    f"{name} cannot be {show(getattr(self, name))}.",
                    hint="see dseg train --help for what it can be.",
                )

    def as_json(self) -> dict[str, Any]:
        """Return the settings as JSON has them: lists for tuples."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


def read_settings(run: Path) -> Settings:
    """Read the settings of a run's folder.

    Raises:
        DsegError: there is none, or it is damaged or of another version.
    """
    with _faults_told(run) as file:
        data = _read_part(file, "settings")
        data["recipe"] = Recipe(**take_fields(Recipe, data.get("recipe"), "the recipe"))
        settings = Settings(**take_fields(Settings, data, "settings"))
        find_model(settings.model)
        return settings


def read_conditions(run: Path) -> Conditions:
    """Read what a run's folder was last computed under; raises as ``read_settings``."""
    with _faults_told(run) as file:
        return Conditions(**take_fields(Conditions, _read_part(file, "conditions"), "conditions"))


def read_steps(run: Path) -> int | None:
    """Read how many steps a run was last to have; None if that is not known."""
    steps = _read_fact(run, "steps")
    return steps if is_count(steps) else None


def read_changes(run: Path) -> list[Any]:
    """Read what has changed in the course of a run."""
    changes = _read_fact(run, "changes")
    return changes if isinstance(changes, list) else []


def _read_fact(run: Path, name: str) -> Any:
    try:
        return read_object(run / RUN_FILE).get(name)
    except (OSError, ValueError):
        return None


def _read_part(file: Path, name: str) -> dict[str, Any]:
    part = read_object(file).get(name)
    if not isinstance(part, dict):
        raise ValueError(f"{name} are {show(part)}")
    return part


@contextmanager
def _faults_told(run: Path) -> Iterator[Path]:
    file = run / RUN_FILE
    try:
        yield file
    except FileNotFoundError:
        raise DsegError(
            f"{run} holds no run to go on with.",
            hint="name the --out of an earlier dseg train, or start one: dseg train --help",
        ) from None
    except (OSError, ValueError, DsegError) as fault:
        reason = fault.problem if isinstance(fault, DsegError) else str(fault)
        raise DsegError(
            f"{file} cannot be read: {reason.rstrip('.')}.",
            hint="it is damaged or of another version of dseg; start anew with another --out.",
        ) from fault


def write_settings(run: Path, settings: Settings, facts: dict[str, Any]) -> None:
    """Write the settings, and what else there is to know of the run, to its folder."""
    versions = {"dseg": __version__, "torch": torch.__version__, "numpy": np.__version__}
    text = json.dumps({"settings": settings.as_json(), **facts, "versions": versions}, indent=2)
    with written_whole(run / RUN_FILE) as part:
        part.write_text(text + "\n", encoding="utf-8")


def find_differences(old: Settings, new: Settings) -> list[str]:
    """Return in words where two runs' settings differ."""
    found = []
    for field in fields(Settings):
        before, after = getattr(old, field.name), getattr(new, field.name)
        if before == after:
            continue
        if isinstance(before, Recipe):
            pairs = zip(asdict(before).items(), asdict(after).values(), strict=True)
            found += [
                f"{name} {was} -> {now}"
                for (name, was), now in pairs
                if was != now and name != "source"  # which is words
            ]
        else:
            found.append(f"{field.name} {before} -> {after}")
    return found
