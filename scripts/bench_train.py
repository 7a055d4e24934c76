"""Time the data loader, the training step and the whole run, alternating; measure a step's memory.

The data are the bundled drawn scenes, 512x1024, read repeatedly. The run is compared with the
slower of loader and step, which is the bound for a loader that reads ahead.

--input times only the input of training: generated PNG photos of 2048x1024 with masks, decoded,
augmented and loaded, from files and from the cache in memory, one thread each; and a validation of
DABNet on images of 512x1024. It also runs with older versions of dseg (PYTHONPATH).

Example:
    python scripts/bench_train.py --model dabnet --crop 360x480 --batch 8
    python scripts/bench_train.py --memory
    python scripts/bench_train.py --input --images 8 --turns 3
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from importlib import import_module
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from bench_infer import draw
from PIL import Image

import dseg
from dseg.data.loader import load_batches
from dseg.data.sampler import StepSampler
from dseg.data.stream import Batch, Stream
from dseg.data.transforms import Augmentation
from dseg.datasets import load_dataset
from dseg.datasets.base import Dataset, Encoding, Pair, Sample
from dseg.distributed import Group
from dseg.labels import LABEL_SPACES
from dseg.losses import SegLoss
from dseg.nn.backbones.densenet import checkpoint_activations
from dseg.recipes import Recipe
from dseg.training.callbacks import Intervals
from dseg.training.loop import Trainer
from dseg.training.validate import validate

SAMPLES = Path(dseg.__file__).parent / "samples"
NEVER = 10**9


def make_trainer(model: str, recipe: Recipe, device: torch.device, steps: int) -> Trainer:
    network = dseg.build_model(model).to(device).to(memory_format=torch.channels_last)
    return Trainer(
        network,
        recipe,
        Intervals(steps=steps, validate_every=0, save_every=NEVER, log_every=NEVER),
        SegLoss(),
        train_set=load_dataset("scenes", SAMPLES, "demo"),
        val_set=None,
        group=Group(),
        run=Path(),
        device=device,
        amp=None,
        seed=0,
        stopping=lambda: False,
    )


def make_cache(dataset: Dataset) -> Callable[[int], Pair]:
    """Return a function that reads from a cache in memory, also in older versions of dseg."""
    try:
        machine = import_module("dseg.data.cache.shared")
    except ModuleNotFoundError:
        read: Callable[[int], Pair] = import_module("dseg.datasets.cache").RamCache(dataset).read
        return read

    def build() -> Any:
        return machine.Builder(dataset, threads=1, progress=lambda *_: nullcontext(lambda: None))

    read = machine.open_cache(build, Group(), None).read
    return read


def make_stream(recipe: Recipe, cached: bool) -> Stream:
    dataset = load_dataset("scenes", SAMPLES, "demo")
    augmentation = Augmentation(
        crop=recipe.crop, scales=(0.5, 2.0), continuous=True, flip=0.5, jitter=0.3
    )
    read = make_cache(dataset) if cached else None
    return Stream(dataset, augmentation, seed=0, fill=(0, 0, 0), read=read)


def seconds_of(batches: Iterator[Batch], trainer: Trainer | None, steps: int) -> float:
    """Return the seconds per step, after two warm-up steps."""
    start = 0.0
    for place, batch in enumerate(islice(batches, steps + 2)):
        if place == 2:
            start = time.perf_counter()
        if trainer is not None:
            trainer._take_step([batch])
            if trainer.device.type == "cuda":
                torch.cuda.synchronize()
    return (time.perf_counter() - start) / steps


def draw_photos(folder: Path, count: int, height: int, width: int) -> Dataset:
    """Write photo-like PNG images with masks of 19 classes in patches of 64 pixels."""
    samples = []
    encoding = Encoding(train_ids={value: value for value in range(19)}, allowed="0 to 18")
    for index in range(count):
        image, mask = folder / f"{index}.png", folder / f"{index}_mask.png"
        Image.fromarray(draw(height, width, index)).save(image)
        ids = np.random.default_rng(index).integers(
            0, 19, (height // 64, width // 64), dtype=np.uint8
        )
        Image.fromarray(ids.repeat(64, 0).repeat(64, 1)).save(mask)
        samples.append(Sample(name=str(index), image=image, mask=mask, encoding=encoding))
    space = LABEL_SPACES["cityscapes"]
    return Dataset(
        name="photos",
        split="train",
        space=space,
        samples=tuple(samples),
        classes=frozenset(range(19)),
    )


def time_input(folder: Path, images: int, turns: int, crop: tuple[int, int]) -> dict[str, float]:
    """Return images/s of each stage of the training input, in the best round."""
    (folder / "small").mkdir()
    photos = draw_photos(folder, images, 1024, 2048)
    small = draw_photos(folder / "small", 2, 512, 1024)
    some = Augmentation(crop=crop, scales=(0.5, 2.0), continuous=True, flip=0.5)
    pairs = [photos.read(index) for index in range(images)]
    cached, model, threads = make_cache(photos), dseg.build_model("dabnet"), torch.get_num_threads()

    def time_each(work: Callable[[int], object], count: int = images) -> float:
        start = time.perf_counter()
        for index in range(count):
            work(index)
        return count / (time.perf_counter() - start)

    def augment(augmentation: Augmentation) -> float:
        stream = Stream(photos, augmentation, seed=0, fill=(0, 0, 0), read=pairs.__getitem__)
        return time_each(stream.crop, 2 * images)

    def load(read: Callable[[int], Pair] | None, workers: int) -> float:
        stream = Stream(photos, some, seed=0, fill=(0, 0, 0), read=read)
        steps = images if read else images // 2
        plan = StepSampler(batch=4, last=steps + 2)
        return 4 / seconds_of(load_batches(stream, plan, workers=workers), None, steps)

    def score() -> float:
        torch.set_num_threads(threads)
        start = time.perf_counter()
        validate(model, small, Group(), device="cpu")
        torch.set_num_threads(1)
        return len(small) / (time.perf_counter() - start)

    jobs: dict[str, Callable[[], float]] = {
        "decode": lambda: time_each(photos.read),
        "augment": lambda: augment(some),
        "augment, jitter 0.3": lambda: augment(replace(some, jitter=0.3)),
        "augment, blur 0.5, rotate 10": lambda: augment(replace(some, blur=0.5, rotate=10.0)),
        "load files, 0 workers": lambda: load(None, 0),
        "load files, 1 worker": lambda: load(None, 1),
        "load cache, 0 workers": lambda: load(cached, 0),
        "load cache, 1 worker": lambda: load(cached, 1),
        "validate dabnet 512x1024": score,
    }
    best = dict.fromkeys(jobs, 0.0)
    torch.set_num_threads(1)
    for _ in range(turns):  # alternating, since the speed drifts
        for name, job in jobs.items():
            best[name] = max(best[name], job())
    return best


def report_input(images: int, turns: int, crop: str) -> None:
    height, width = (int(side) for side in crop.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        found = time_input(Path(folder), images, turns, (height, width))
    where = Path(dseg.__file__).parent
    print(f"{where}: {images} PNG photos of 2048x1024, crop {crop}, torch {torch.__version__}")
    for name, speed in found.items():
        print(f"{name:32} {speed:8.2f} images/s")


@click.command(help=__doc__)
@click.option("--model", default="dabnet")
@click.option("--crop", default=None, help="Default 360x480, with --input 768x768.")
@click.option("--batch", default=8)
@click.option("--steps", default=6)
@click.option("--turns", default=3)
@click.option("--workers", default=1)
@click.option("--cache/--no-cache", default=False)
@click.option("--device", default="cpu")
@click.option("--memory", is_flag=True, help="Measure the peak memory of a step.")
@click.option("--input", "reading", is_flag=True, help="Time the stages of the input.")
@click.option("--images", default=8, help="Number of photos of --input.")
@click.option("--one", default="", hidden=True)
def main(
    model: str,
    crop: str | None,
    batch: int,
    steps: int,
    turns: int,
    workers: int,
    cache: bool,
    device: str,
    memory: bool,
    reading: bool,
    images: int,
    one: str,
) -> None:
    if one:
        print(json.dumps(measure_memory(**json.loads(one))))
        return
    if memory:
        report_memory()
        return
    if reading:
        report_input(images, turns, crop or "768x768")
        return
    crop = crop or "360x480"
    recipe = Recipe(source="").override([f"crop={crop}", f"batch={batch}"])
    where = torch.device(device)
    stream = make_stream(recipe, cache)
    plan = StepSampler(batch=batch, last=steps + 2)
    long = StepSampler(
        batch=batch, last=8 * steps + 2
    )  # long, so that batches read ahead of it matter less
    times: dict[str, list[float]] = {"loader": [], "step": [], "run": []}
    for _ in range(turns):  # alternating, since the speed drifts
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
    """Return the peak resident memory in GB and the seconds of one step in this process."""
    recipe = Recipe(source="").override([f"crop={crop}", "batch=1"])
    trainer = make_trainer(model, recipe, torch.device("cpu"), 1)
    if saving:
        checkpoint_activations(trainer.model)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    trainer._take_step(
        [next(load_batches(make_stream(recipe, False), StepSampler(batch=1, last=1), workers=0))]
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"peak": peak / 1e6, "step": (peak - before) / 1e6, "s": time.perf_counter() - start}


def report_memory() -> None:
    for saving in (False, True):
        facts = {"model": "denseaspp161", "crop": "512x512", "saving": saving}
        done = subprocess.run(
            [sys.executable, __file__, "--one", json.dumps(facts)],
            capture_output=True,
            encoding="utf-8",
            check=True,
        )
        found = json.loads(done.stdout)
        print(
            f"denseaspp161, one crop of 512x512, activations {'twice' if saving else 'kept'}: "
            f"peak {found['peak']:.2f} GB, of the step {found['step']:.2f} GB, {found['s']:.1f} s"
        )


if __name__ == "__main__":
    main()
