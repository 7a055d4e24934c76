"""A trainer of a small network on random images, without files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from dseg.data.stream import Batch
from dseg.datasets import load_dataset
from dseg.distributed import Group
from dseg.models import build_model
from dseg.recipes import Recipe
from dseg.training.callbacks import Callbacks, Intervals
from dseg.training.loop import Trainer
from dseg.training.run import make_loss

SAMPLES = Path(__file__).parents[1] / "dseg" / "samples"
CPU = torch.device("cpu")


class Rows(Callbacks):
    """Callbacks that collect the rows."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def row(self, row: dict[str, Any]) -> None:
        self.rows.append(row)


def make_trainer(
    *overrides: str,
    name: str = "dabnet",
    amp: torch.dtype | None = None,
    steps: int = 3,
    log_every: int = 2,
    run: Path = Path(),
) -> Trainer:
    """Return a trainer with SGD on the CPU."""
    recipe = Recipe(source="", optimizer="sgd").override(["batch=2", *overrides])
    scenes = load_dataset("scenes", SAMPLES, "demo")
    torch.manual_seed(0)
    model = build_model(name, 19)
    weights = (1.0,) * 19 if recipe.class_weights != "none" else ()
    return Trainer(
        *(model, recipe, Intervals(steps=steps, validate_every=0, log_every=log_every)),
        make_loss(recipe, weights, 19, CPU),
        **{"train_set": scenes, "val_set": None, "group": Group(), "run": run, "device": CPU},
        **{"amp": amp, "seed": 0, "stopping": lambda: False},
    )


def make_batch() -> Batch:
    """Return two random images of 32x64 with masks; 5 % of the pixels are ignored."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, 32, 64), generator=generator, dtype=torch.uint8)
    ids = torch.randint(0, 20, (2, 32, 64), generator=generator, dtype=torch.uint8)
    return Batch(images, torch.where(ids == 19, 255, ids), ["one", "two"], [])
