"""Training never waits for the device between two rows of metrics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import repeat
from typing import Any

import pytest
import torch
from registry_cases import one_fast_of_each_class
from torch import Tensor, nn
from torch.optim import SGD
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from train_loops import CPU, Rows, make_batch, make_trainer

from dseg.config import DistillConfig
from dseg.data.stream import Batch
from dseg.distributed import Group
from dseg.folding import prepare
from dseg.labels import CAMVID
from dseg.models import build_model
from dseg.recipes import find_recipe
from dseg.registry import MODELS
from dseg.training.distill import make_distillation
from dseg.training.loop import Trainer
from dseg.training.run import make_loss
from dseg.training.step import TrainStep
from dseg.training.teacher import Teacher

META = torch.device("meta")
READS = {  # operations whose result on the host depends on values
    *("_local_scalar_dense", "nonzero", "masked_select", "bincount", "equal", "is_nonzero"),
    *("unique_dim", "_unique2", "unique_consecutive", "repeat_interleave"),
}
BY_INDEX = ("index", "index_put", "index_put_", "_index_put_impl_")


class CountWaits(TorchDispatchMode):
    """Counts the operations that make the host wait for a GPU, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.paused = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masks = args[1] if name in BY_INDEX and len(args) > 1 else ()
        by_mask = any(
            mask is not None and mask.dtype in (torch.bool, torch.uint8) for mask in masks
        )
        if (name in READS or by_mask) and not self.paused:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


class CountCopies(TorchFunctionMode):
    """Counts tensors that are made from Python numbers on another device than the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        device = (kwargs or {}).get("device") or "cpu"
        if func in (torch.tensor, torch.as_tensor) and torch.device(device) != CPU:
            self.found.append(func.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", one_fast_of_each_class(MODELS))
def test_a_step_with_the_network_s_recipe_reads_nothing_from_the_device(name: str) -> None:
    recipe = find_recipe(MODELS[name].recipe).override(["batch=2", "accumulate=1", "optimizer=sgd"])
    with META:
        model = build_model(name, 19)
    weights = (1.0,) * 19 if recipe.class_weights != "none" else ()
    loss = make_loss(recipe, weights, 19, META)
    options: dict[str, Any] = {"group": Group(), "device": META, "amp": None, "seed": 0}
    step = TrainStep(model, recipe, loss, **options, steps=10)
    images = torch.empty(2, 3, 192, 256, dtype=torch.uint8, device=META)
    batch = Batch(images, torch.empty(2, 192, 256, dtype=torch.uint8, device=META), [], [])
    with CountCopies() as copies:
        result = step(0, [batch])
    assert result.loss.device == META  # it has no values, so that reading one fails
    assert copies.found == []


CASES = {
    "plain": ((), "dabnet"),
    "hard pixels": (("loss=ohem", "aux_loss=ohem"), "bisenetv1"),
    "borders": (("loss=boundary", "aux_border=8"), "bisenetv1"),
    "weights, clipping, EMA": (("class_weights=log", "clip=1", "ema=0.9"), "dabnet"),
    "affinity": (("affinity_weight=1",), "dabnet"),
    "edges": (("edge_weight=0.1",), "dfn_r50"),
    "pixels that border outputs mark": (
        ("loss=ohem", "ohem_strict=true", "edge_loss=balanced", "edge_aware_weight=1"),
        "pidnet_s",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_between_two_rows_nothing_is_read(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides, name = CASES[case]
    rows = Rows()
    trainer = make_trainer(*overrides, name=name)
    found = count_waits(trainer, rows, monkeypatch)
    assert found == []
    assert [row["step"] for row in rows.rows] == [2, 3]
    assert all(row["loss"] > 0 for row in rows.rows)


def test_in_fp16_nothing_is_read_between_two_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def fused(model: nn.Module, *_: object, **__: object) -> SGD:  # as on CUDA
        return SGD([{"params": list(model.parameters()), "factor": 1.0}], lr=0.1, fused=True)

    monkeypatch.setattr("dseg.training.step.make_optimizer", fused)
    trainer = make_trainer("clip=1", "ema=0.9", amp=torch.float16)
    assert count_waits(trainer, Rows(), monkeypatch) == []


def test_with_a_teacher_nothing_is_read_between_two_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = prepare(build_model("fastscnn", 19), device=CPU)
    teacher.card = replace(teacher.card, label_space=CAMVID, outputs=(255, *range(11), *[255] * 7))
    trainer = make_trainer()
    space = trainer.train_set.space
    config = DistillConfig(teachers=(("teacher.pth", ""),))
    trainer.update.distillation = make_distillation(
        config, Teacher([teacher, teacher], space, CPU), space, CPU, labelled=1
    )
    assert count_waits(trainer, Rows(), monkeypatch) == []


def count_waits(trainer: Trainer, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Train to the end; return the operations that waited while no row was written."""
    counter = CountWaits()

    def pause(method: str) -> None:
        original = getattr(Trainer, method)

        def paused(*args: Any) -> Any:
            counter.paused = True
            found = original(*args)
            counter.paused = False
            return found

        monkeypatch.setattr(Trainer, method, paused)

    pause("_read_losses")
    pause("state")
    batches: Iterator[Batch] = repeat(make_batch())
    with counter:
        trainer.train(batches, rows)
    return counter.found


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (lambda x: x[x > 0], "index"),
        (lambda x: x.clone().__setitem__(x > 0, x[:1]), "index_put_"),
        (lambda x: float(x.sum()), "_local_scalar_dense"),
        (lambda x: x.sum().item(), "_local_scalar_dense"),
        (lambda x: x.nonzero(), "nonzero"),
        (lambda x: torch.bincount(x.long()), "bincount"),
    ],
)
def test_reading_operations_are_counted(read: Any, name: str) -> None:
    with CountWaits() as counter:
        read(torch.ones(4))
    assert name in counter.found


def test_copies_are_counted() -> None:
    with CountCopies() as copies:
        values: Tensor = torch.tensor([1.0], device=META)
        torch.tensor([1.0]).tolist()  # which stays on the CPU
    assert values.device == META
    assert copies.found == ["tensor"]
