"""Time the training step of a network at the crop of its recipe, with the largest batch that fits.

Builds the network, waits for a line on standard input, and prints a line of JSON.

Example:
    echo | python scripts/gpu/speed_worker.py '{"name": "dabnet", "tiny": true, "device": "cpu",
      "batches": [2, 1]}'
"""

from __future__ import annotations

import gc
import json
import resource
import statistics
import sys
import time
from inspect import signature
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from bench_train import NEVER
from survey import fill_batch

import dseg
from dseg.datasets import load_dataset
from dseg.distributed import Group
from dseg.memory import is_out_of_memory
from dseg.models import SegModel, find_class
from dseg.recipes import Recipe, find_recipe
from dseg.registry import MODELS
from dseg.training.callbacks import Intervals
from dseg.training.loop import Trainer
from dseg.training.run import make_loss

WARM, RUNS, RUN_S = 4, 3, 0.5


def build(name: str, recipe: Recipe) -> SegModel:
    """Build a network as ``dseg train`` does: with auxiliary heads, where the recipe has them."""
    takes_aux = "aux" in signature(find_class(name)).parameters
    options = {"aux": True} if takes_aux and recipe.aux_weight else {}
    return dseg.build_model(name, **options)


def make_trainer(model: SegModel, recipe: Recipe, device: torch.device) -> Trainer:
    model = model.to(device).to(memory_format=torch.channels_last)
    scenes = load_dataset("scenes", Path(dseg.__file__).parent / "samples", "demo")
    return Trainer(
        model,
        recipe,
        Intervals(steps=10**6, validate_every=0, save_every=NEVER, log_every=NEVER),
        make_loss(recipe, (), model.card.label_space.num_classes, device),
        train_set=scenes,
        val_set=None,
        group=Group(),
        run=Path(),
        device=device,
        amp=torch.bfloat16,
        seed=0,
        stopping=lambda: False,
    )


def time_batch(model: SegModel, recipe: Recipe, device: torch.device) -> dict[str, Any]:
    """Return images per second and peak memory of training steps, with data on the device."""
    trainer = make_trainer(model, recipe, device)
    classes = model.card.label_space.num_classes
    batch = fill_batch(recipe.batch, *recipe.crop, classes, device)
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()

    def take(steps: int) -> float:
        begun = time.perf_counter()
        for _ in repeat(None, steps):
            trainer._take_step([batch])
        if cuda:
            torch.cuda.synchronize()
        trainer._pending.clear()
        return (time.perf_counter() - begun) / steps

    take(WARM if cuda else 1)
    each = take(2) if cuda else 0.0
    count = max(1, round(RUN_S / each)) if each else 1
    step = statistics.median(take(count) for _ in range(RUNS if cuda else 1))
    peak = torch.cuda.max_memory_allocated() if cuda else 1024 * maxrss()
    return {
        "batch": recipe.batch,
        "images_per_s": recipe.batch / step,
        "ms": 1e3 * step,
        "peak_gb": peak / 1e9,
        "steps": count * RUNS if cuda else 1,
    }


def maxrss() -> int:
    """Return the peak resident memory of this process, in kB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(order: dict[str, Any]) -> None:
    torch.set_num_threads(
        2 if order["device"] == "cuda" else 1
    )  # other processes build networks meanwhile
    torch.backends.cudnn.benchmark = True
    name, device = order["name"], torch.device(order["device"])
    recipe_name = MODELS[name].recipe
    recipe = find_recipe(recipe_name)
    if order["tiny"]:
        recipe = recipe.override(["crop=64x64"])
    model: SegModel | None = build(name, recipe)
    sys.stdin.readline()
    height, width = recipe.crop
    too_large = []
    for batch in order["batches"]:
        try:
            model = model or build(name, recipe)
            row = time_batch(model, recipe.override([f"batch={batch}", "accumulate=1"]), device)
        except Exception as fault:
            if not is_out_of_memory(fault):
                raise
            too_large.append(batch)
            print(f"batch {batch} does not fit", flush=True)
        else:
            facts = {"recipe": recipe_name, "crop": f"{height}x{width}", "too_large": too_large}
            print(json.dumps(facts | row))
            return
        model = None
        gc.collect()
        torch.cuda.empty_cache()
    print(json.dumps({"failed": "no batch fits", "too_large": too_large}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
