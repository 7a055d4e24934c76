"""Each registered network overfits two drawn scenes, in the training loop itself."""

from __future__ import annotations

from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import dseg
from dseg.config import RuntimeConfig, TrainConfig
from dseg.data.stream import Batch
from dseg.datasets import load_dataset
from dseg.datasets.base import Dataset
from dseg.distributed import Group
from dseg.labels import IGNORE
from dseg.models import Normaliser, SegModel
from dseg.recipes import Recipe
from dseg.registry import MODELS
from dseg.training.callbacks import Callbacks, Intervals
from dseg.training.loop import Trainer
from dseg.training.network import make_model
from dseg.training.run import make_loss

SAMPLES = Path(dseg.__file__).parent / "samples"
CPU = torch.device("cpu")
STREET = (64, 64, 192, 128)  # left, top, right, bottom
WANTED = 0.97  # fraction of the labelled pixels
MEASURE_EVERY = 10  # steps
RECIPE = Recipe(
    source="sufficient for two scenes",
    steps=400,
    batch=2,
    optimizer="adam",
    lr=2e-3,
    weight_decay=0,
    warmup=10,
)
LOW_RATES = {"refinenet": 1e-4}  # learning rates of families without norms in their decoder
FAST = ("dabnet", "fastscnn", "bisenetv2", "espnet_c")


class Losses(Callbacks):
    """Callbacks that keep the losses and write nothing."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def row(self, row: dict[str, Any]) -> None:
        self.losses.append(row["loss"])

    def validated(self, event: object) -> None:
        raise AssertionError("the run has no validation split")


@pytest.fixture(scope="module")
def scenes() -> Dataset:
    return load_dataset("scenes", SAMPLES, "demo")


@pytest.fixture(scope="module")
def batch(scenes: Dataset) -> Batch:
    """The streets of both scenes, 64x128 pixels at a quarter of the size.

    Whole scenes would have more outlines than logits at 1/8 or 1/16 of that size can represent.
    """
    images, masks = [], []
    for index in range(2):
        image, train_ids = map(Image.fromarray, scenes.read(index))
        small = image.resize((256, 128), Image.Resampling.BOX).crop(STREET)
        images.append(torch.from_numpy(np.array(small)).permute(2, 0, 1))
        small = train_ids.resize((256, 128), Image.Resampling.NEAREST).crop(STREET)
        masks.append(torch.from_numpy(np.array(small)))
    return Batch(torch.stack(images), torch.stack(masks), ["first", "second"], [])


def make_trainer(name: str, scenes: Dataset, run: Path) -> Trainer:
    config = TrainConfig(
        **{"model": name, "datasets": (("scenes", str(SAMPLES)),), "split": "demo"},
        **{"val_split": "", "label_space": "", "class_file": "", "recipe_name": ""},
        **{"weights": "", "reset_head": False, "backbone_weights": "", "amp": "off"},
        **{"on_bad_data": "stop", "world_size": 1, "seed": 0, "deterministic": False},
        recipe=RECIPE,
    )
    model, _ = make_model(config, scenes, Group(), CPU, RuntimeConfig(device="cpu"))
    recipe = replace(RECIPE, lr=LOW_RATES.get(name.partition("_")[0], RECIPE.lr))
    return Trainer(
        *(model, recipe, Intervals(steps=RECIPE.steps, validate_every=0, log_every=1)),
        make_loss(RECIPE, (), scenes.space.num_classes, CPU),
        **{"train_set": scenes, "val_set": None, "group": Group(), "run": run, "device": CPU},
        **{"amp": None, "seed": 0, "stopping": lambda: False},
    )


@torch.no_grad()
def find_accuracy(trainer: Trainer, batch: Batch) -> float:
    """Return the fraction of correct pixels, with the batch's statistics and without dropout.

    Running statistics are not usable after so few steps: DenseASPP's have a momentum of 0.0003 in
    its pyramid, as in the release.
    """
    model: SegModel = trainer.model
    kept = {name: value.clone() for name, value in model.named_buffers()}
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()
    scored = batch.train_ids != IGNORE
    found = model(Normaliser(model.card, CPU)(batch.images)).main.argmax(1)
    for name, value in model.named_buffers():
        value.copy_(kept[name])  # evaluation leaves no trace
    return float((found == batch.train_ids)[scored].float().mean())


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in FAST else pytest.mark.slow) for name in MODELS],
)
def test_a_network_can_be_overfitted_to_two_scenes(
    name: str, scenes: Dataset, batch: Batch, tmp_path: Path
) -> None:
    callbacks = Losses()
    trainer = make_trainer(name, scenes, tmp_path)
    before = find_accuracy(trainer, batch)
    accuracies: list[float] = []

    def learned() -> bool:
        if trainer.step % MEASURE_EVERY == 0:
            accuracies.append(find_accuracy(trainer, batch))
        return bool(accuracies) and accuracies[-1] > WANTED

    trainer.stopping = learned
    trainer.train(repeat(batch), callbacks)
    assert before < 0.7
    assert accuracies[-1] > WANTED
    assert callbacks.losses[-1] < callbacks.losses[0] / 2
