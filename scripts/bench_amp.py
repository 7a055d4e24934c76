"""Time a training step on the CPU in float32 and with --amp bf16, alternating, one thread.

Example:
    python scripts/bench_amp.py dabnet bisenetv2 unet_r18
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import click
import torch

from dseg.data.stream import Batch
from dseg.distributed import Group
from dseg.models import build_model
from dseg.recipes import find_recipe
from dseg.training.run import make_loss
from dseg.training.step import TrainStep

BATCH, HEIGHT, WIDTH, CLASSES = 4, 192, 256, 11
PRECISIONS = (None, torch.bfloat16)


def make_step(model: str, amp: torch.dtype | None) -> TrainStep:
    """Return the training step of a network from random weights by the recipe ``small-data``."""
    recipe, device = find_recipe("small-data"), torch.device("cpu")
    network = build_model(model, CLASSES).to(memory_format=torch.channels_last)
    loss = make_loss(recipe, (), CLASSES, device)
    return TrainStep(network, recipe, loss, group=Group(), device=device, amp=amp, seed=0, steps=99)


def time_steps(model: str, turns: int) -> list[float]:
    """Return the least CPU time of a step in float32 and in bf16, in seconds."""
    images = torch.randint(0, 256, (BATCH, 3, HEIGHT, WIDTH), dtype=torch.uint8)
    train_ids = torch.randint(0, CLASSES, (BATCH, HEIGHT, WIDTH), dtype=torch.uint8)
    batch = Batch(images, train_ids, [""] * BATCH, [])
    steps = [make_step(model, amp) for amp in PRECISIONS]
    seconds: list[list[float]] = [[] for _ in steps]
    for turn in range(turns + 1):
        for step, found in zip(steps, seconds, strict=True):
            begun = time.process_time()
            step(turn, [batch])
            found.append(time.process_time() - begun)
    return [min(found[1:]) for found in seconds]


@click.command(help=__doc__)
@click.argument("models", nargs=-1, required=True)
@click.option("--turns", default=5, show_default=True, help="Steps in each precision.")
def main(models: Sequence[str], turns: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for model in models:
        full, half = time_steps(model, turns)
        print(f"{model}: float32 {full:.3f} s, bf16 {half:.3f} s, ratio {full / half:.2f}")


if __name__ == "__main__":
    main()
