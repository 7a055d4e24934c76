"""Time training: the loader alone, the step alone, and the run, in turns; and a step's memory.

The data are the drawn scenes that ship, 512x1024, read again and again. The run is compared with
the slower of its two halves: that is what reading ahead can reach at best.

Example:
    python scripts/bench_train.py --model dabnet --crop 360x480 --batch 8
    python scripts/bench_train.py --memory
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import click
import torch

import dseg
from dseg.datasets import load_dataset
from dseg.datasets.cache import RamCache
from dseg.datasets.loader import load_batches
from dseg.datasets.stream import Batch, Plan, Stream
from dseg.distributed import Group
from dseg.losses import SegLoss
from dseg.nn.backbones.densenet import checkpoint_activations
from dseg.recipes import Recipe
from dseg.train.loop import Trainer
from dseg.train.rhythm import Rhythm
from dseg.transforms import Augmentation

SAMPLES = Path(dseg.__file__).parent / "samples"
NEVER = 10**9


class Silent:
    """Takes what a run reports, and keeps nothing."""

    def row(self, row: dict[str, Any]) -> None: ...

    def validated(self, *given: Any) -> None: ...

    def save(self, state: dict[str, Any]) -> None: ...


def make_trainer(model: str, recipe: Recipe, device: torch.device, steps: int) -> Trainer:
    network = dseg.build_model(model).to(device).to(memory_format=torch.channels_last)
    return Trainer(
        network,
        recipe,
        Rhythm(steps=steps, validate_every=0, save_every=NEVER, log_every=NEVER),
        SegLoss(),
        train_set=load_dataset("scenes", SAMPLES, "demo"),
        val_set=None,
        group=Group(),
        run=Path(),
        device=device,
        amp=None,
        seed=0,
        listener=Silent(),
        stopping=lambda: False,
    )


def make_stream(recipe: Recipe, cached: bool) -> Stream:
    dataset = load_dataset("scenes", SAMPLES, "demo")
    augmentation = Augmentation(
        crop=recipe.crop, scales=(0.5, 2.0), continuous=True, mirror=0.5, jitter=0.3
    )
    read = RamCache(dataset).read if cached else None
    return Stream(dataset, augmentation, seed=0, fill=(0, 0, 0), read=read)


def seconds_of(batches: Iterator[Batch], trainer: Trainer | None, steps: int) -> float:
    """Return the seconds a step, after two that are not counted."""
    start = 0.0
    for place, batch in enumerate(islice(batches, steps + 2)):
        if place == 2:
            start = time.perf_counter()
        if trainer is not None:
            trainer._take_step([batch])
            if trainer.device.type == "cuda":
                torch.cuda.synchronize()
    return (time.perf_counter() - start) / steps


@click.command(help=__doc__)
@click.option("--model", default="dabnet")
@click.option("--crop", default="360x480")
@click.option("--batch", default=8)
@click.option("--steps", default=6)
@click.option("--turns", default=3)
@click.option("--workers", default=1)
@click.option("--cache/--no-cache", default=False)
@click.option("--device", default="cpu")
@click.option("--memory", is_flag=True, help="Peak memory of a step, in processes of their own.")
@click.option("--one", default="", hidden=True)
def main(
    model: str,
    crop: str,
    batch: int,
    steps: int,
    turns: int,
    workers: int,
    cache: bool,
    device: str,
    memory: bool,
    one: str,
) -> None:
    if one:
        print(json.dumps(measure_memory(**json.loads(one))))
        return
    if memory:
        report_memory()
        return
    recipe = Recipe(source="").override([f"crop={crop}", f"batch={batch}"])
    where = torch.device(device)
    stream = make_stream(recipe, cache)
    plan = Plan(batch=batch, last=steps + 2)
    long = Plan(batch=batch, last=8 * steps + 2)  # batches read ahead before it begins count less
    times: dict[str, list[float]] = {"loader": [], "step": [], "run": []}
    for _ in range(turns):  # in turns: the machine's speed drifts
        alone = load_batches(stream, long, workers=workers)
        times["loader"].append(seconds_of(alone, None, 8 * steps))
        still = next(load_batches(stream, plan, workers=0))
        trainer = make_trainer(model, recipe, where, steps)
        times["step"].append(seconds_of(repeat(still), trainer, steps))
        times["run"].append(seconds_of(load_batches(stream, plan, workers=workers), trainer, steps))
    print(
        f"{model}, crops of {crop}, batch {batch}, {workers} workers, cache {cache}, {device}, "
        f"{torch.get_num_threads()} of {os.cpu_count()} cores, torch {torch.__version__}"
    )
    for name, found in times.items():
        print(f"{name:7} {batch / statistics.median(found):8.2f} images/s")
    ratios = [run / max(a, b) for a, b, run in zip(*times.values(), strict=True)]
    print(f"run / slower half: median {statistics.median(ratios):.3f}, all {ratios}")


def measure_memory(*, model: str, crop: str, saving: bool) -> dict[str, Any]:
    """Return the peak resident memory of one step and its loss, in a process of its own."""
    recipe = Recipe(source="").override([f"crop={crop}", "batch=1"])
    trainer = make_trainer(model, recipe, torch.device("cpu"), 1)
    if saving:
        checkpoint_activations(trainer.model)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    trainer._take_step(
        [next(load_batches(make_stream(recipe, False), Plan(batch=1, last=1), workers=0))]
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"peak": peak / 1e6, "step": (peak - before) / 1e6, "s": time.perf_counter() - start}


def report_memory() -> None:
    for saving in (False, True):
        facts = {"model": "denseaspp161", "crop": "512x512", "saving": saving}
        done = subprocess.run(
            [sys.executable, __file__, "--one", json.dumps(facts)],
            capture_output=True,
            text=True,
            check=True,
        )
        found = json.loads(done.stdout)
        print(
            f"denseaspp161, one crop of 512x512, activations {'twice' if saving else 'kept'}: "
            f"peak {found['peak']:.2f} GB, of the step {found['step']:.2f} GB, {found['s']:.1f} s"
        )


if __name__ == "__main__":
    main()
