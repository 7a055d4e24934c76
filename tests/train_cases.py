"""Trainings that have the same result in one process and in two, for test_train_ranks."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tiny_data import make_camvid
from torch import nn

from dseg.checkpoints import save_model, sha256
from dseg.cli import main as dseg
from dseg.cli.train.display import training_display
from dseg.config import DistillConfig, RuntimeConfig, TrainConfig
from dseg.distributed import Group, joined
from dseg.labels import CAMVID
from dseg.models import SegModel, build_model
from dseg.recipes import Recipe
from dseg.training import run_training
from dseg.training.loop import Trainer
from dseg.training.state import has_state

VOID = 11
START, TEACHER = "start.safetensors", "teacher.safetensors"
ONE_STEP: dict[str, Any] = {"steps": 1, "lr": 0.5, "momentum": 0.0, "weight_decay": 0.0}
ONE_VIEW: dict[str, Any] = {**ONE_STEP, "scales": (1.0,), "flip": 0.0}

# The data set and the fields of the recipe.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "one step": ("uneven", ONE_STEP),
    "taught": ("uneven", ONE_STEP),
    "weighted": ("uneven", {**ONE_STEP, "class_weights": "log"}),
    "micro-batches": ("uneven", {**ONE_STEP, "accumulate": 2}),
    "one image": ("alike", ONE_VIEW),
    "one image in micro-batches": ("alike", {**ONE_VIEW, "accumulate": 2}),
    "many steps": ("noise", {"steps": 4, "lr": 1e-3, "clip": 1.0, "ema": 0.5}),
}


def make_data(root: Path) -> None:
    """Write three data sets of 8 images.

    ``noise``; ``uneven``, where all masks but one are mostly void; and ``alike``, with the masks of
    ``uneven`` and eight copies of one image.
    """
    make_camvid(root / "noise", 8, 3)
    for name in ("uneven", "alike"):
        folder = make_camvid(root / name, 8, 1)
        first = (folder / "train/0.png").read_bytes()
        for number in range(8):
            if name == "alike":
                (folder / f"train/{number}.png").write_bytes(first)
            file = folder / f"trainannot/{number}.png"
            with Image.open(file) as image:
                ids = np.array(image)
            ids[40 if number == 0 else number :] = VOID
            Image.fromarray(ids).save(file)
    save_model(make_linear(), root / START)
    teacher = build_model("fastscnn", 11)
    teacher.card = replace(teacher.card, label_space=CAMVID)
    save_model(teacher, root / TEACHER)


def make_linear() -> SegModel:
    """Build DABNet with PReLUs of slope 1, which are linear.

    Without their kinks the gradients in float32 and float64 differ by 1e-6, otherwise by 1e-3, and
    rounding would hide the small differences that the tests look for.
    """
    torch.manual_seed(0)
    model = build_model("dabnet_camvid")
    for module in model.modules():
        if isinstance(module, nn.PReLU):
            nn.init.ones_(module.weight)
    return model


def make_config(case: str, data: Path) -> TrainConfig:
    name, fields = CASES[case]
    recipe = {"source": "a test", "schedule": "constant", "batch": 8, "crop": (40, 56)} | fields
    taught = None
    if case == "taught":
        file = str(data / TEACHER)
        taught = DistillConfig(
            teachers=((file, sha256(data / TEACHER)),), unlabelled=(str(data / "noise/train"),)
        )
    return TrainConfig(
        **{"model": "dabnet_camvid", "datasets": (("camvid", str(data / name)),)},
        **{"split": "train", "val_split": "val" if case == "many steps" else "", "label_space": ""},
        **{"class_file": "", "recipe_name": "", "reset_head": False},
        **{"backbone_weights": "", "seed": 0, "deterministic": False, "amp": "off"},
        **{"on_bad_data": "stop", "world_size": 1},
        weights=str(data / START),
        recipe=Recipe(**recipe),
        distillation=taught,
    )


def train(case: str, data: Path, run: Path, group: Group) -> None:
    run_training(
        make_config(case, data),
        RuntimeConfig(device="cpu", workers=0, log_every=1, validate_every=0, draw=0),
        run,
        group,
        resume=False,
        show=lambda start: training_display(start, quiet=True),
        progress=lambda what, total: nullcontext(lambda: None),
        stopping=lambda: False,
    )


def train_all(data: Path, runs: Path, group: Group) -> None:
    torch.set_num_threads(1)
    for case in CASES:
        train(case, data, runs / case, group)


def kill_once(rank: str, step: int) -> None:
    """Kill one process at a step, the first time that torchrun starts it."""
    take_step = Trainer._take_step

    def killed(trainer: Trainer, micro_batches: Any) -> None:
        first = os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0"
        if trainer.step == step and first and os.environ.get("RANK") == rank:
            assert has_state(trainer.run)
            os.kill(os.getpid(), signal.SIGKILL)
        take_step(trainer, micro_batches)

    Trainer._take_step = killed  # type: ignore[method-assign]


if __name__ == "__main__":
    if sys.argv[1] == "cases":
        with joined("cpu") as everyone:
            train_all(Path(sys.argv[2]), Path(sys.argv[3]), everyone)
    else:
        kill_once(rank="1", step=3)
        dseg(sys.argv[1:])
