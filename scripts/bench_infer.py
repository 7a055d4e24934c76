"""Compare the speed of dseg infer with that of its slowest stage, on generated images.

Times decoding, forward pass and writing separately, one image after another, and the pipeline over
the same images, alternating, and prints images/s next to the bounds by the slowest stage and by the
sum of all stages. On the CPU all stages share the cores, which the forward pass alone uses fully,
so there the sum is the bound.

With --files it counts how many files per second one and two threads write and read: label ids,
colours, confidence and overlays as dseg infer writes them, JPEG and PNG images as it reads them,
and for comparison the same by Pillow. It also runs with older versions of dseg (PYTHONPATH).
"""

from __future__ import annotations

import json
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import dseg
from dseg import build_model
from dseg.allocator import keep_freed_memory
from dseg.checkpoints import find_bundled
from dseg.cli.tables import show_table
from dseg.images import Pixels, read_image, read_size, write_jpeg, write_png
from dseg.predict import Manifest, Predictor, find_images, predict_images
from dseg.render import render_overlay
from dseg.synth import draw_scene

Work = Callable[[int], int]
Row = tuple[str, str, str, str]


def draw(height: int, width: int, seed: int) -> NDArray[Any]:
    """Return smooth colour with noise, (H, W, 3) uint8, which compresses like a photograph."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (12, 24, 3), dtype=np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    return (smooth + rng.integers(-6, 7, smooth.shape)).clip(0, 255).astype(np.uint8)


def measure(predictor: Predictor, folder: Path, rounds: int, overlay: str) -> dict[str, float]:
    """Return the seconds per image of each stage and of the pipeline, in the best round.

    All four take turns in a round, because the speed of a shared machine drifts.
    """
    images = find_images([folder / "images"])
    pixels = [read_image(image.path) for image in images]
    ids = predictor(pixels[0]).train_ids  # warms up
    space = predictor.label_space
    settings = Manifest.of(predictor, "random", "")
    write_overlay = write_png if overlay == "png" else write_jpeg

    def encode() -> None:
        for image in pixels:
            write_png(folder / "alone" / "ids", ids)
            write_png(folder / "alone" / "color", ids, space.palette())
            write_overlay(folder / "alone" / "overlay", render_overlay(image, ids, space))

    def end_to_end() -> None:
        out = Path(tempfile.mkdtemp(dir=folder))
        predict_images(predictor, images, out, settings, overlay_format=overlay)

    stages: dict[str, Callable[[], object]] = {
        "decode": lambda: [read_image(image.path) for image in images],
        "forward": lambda: [predictor(image) for image in pixels],
        "encode": encode,
        "end to end": end_to_end,
    }
    best = dict.fromkeys(stages, float("inf"))
    for _ in range(rounds):
        for name, work in stages.items():
            start = time.perf_counter()
            work()
            best[name] = min(best[name], (time.perf_counter() - start) / len(images))
    return best


def file_works(predictor: Predictor, folder: Path, size: tuple[int, int]) -> dict[str, Work]:
    """Return functions that write or read a file, by name; each gets the number of its thread."""
    street = draw_scene(0, 0, size)[0]
    found = predictor.predict(street, confidence=True)
    space = predictor.label_space
    train_ids, confidence = found.train_ids, found.confidence
    assert confidence is not None
    label_ids = np.array([*space.label_ids, *[0] * (256 - space.num_classes)], np.uint8)[train_ids]
    shown = render_overlay(street, train_ids, space)
    palette = space.palette()
    written = {
        "label ids": (label_ids, None, 0),
        "colour": (train_ids, palette, 0),
        "confidence": (confidence, None, 0),
        "overlay": (shown, None, 3),  # run lengths
    }
    works: dict[str, Work] = {}
    for name, (pixels, colors, strategy) in written.items():
        works[f"write {name}"] = partial(_write, folder, pixels, colors)
        works[f"write {name}, Pillow"] = partial(_write_by_pillow, folder, pixels, colors, strategy)
    for suffix in ("jpg", "png"):
        file = folder / f"street.{suffix}"
        Image.fromarray(street).save(file, quality=92)
        works[f"read {suffix}"] = partial(_read, file)
        works[f"read {suffix}, Pillow"] = partial(_read_by_pillow, file)
    return works


def _write(folder: Path, pixels: Pixels, palette: list[int] | None, number: int) -> int:
    write_png(folder / f"{number}.png", pixels, palette)
    return (folder / f"{number}.png").stat().st_size


def _write_by_pillow(
    folder: Path, pixels: Pixels, palette: list[int] | None, strategy: int, number: int
) -> int:
    image = Image.fromarray(pixels)
    if palette is not None:
        image.putpalette(palette)
    image.save(folder / f"{number}.png", compress_level=3, compress_type=strategy)
    return (folder / f"{number}.png").stat().st_size


def _read(file: Path, number: int) -> int:
    read_size(file)  # as dseg infer does, for its memory budget
    read_image(file)
    return file.stat().st_size


def _read_by_pillow(file: Path, number: int) -> int:
    with Image.open(file) as image:
        np.asarray(image)
    return file.stat().st_size


def measure_files(works: dict[str, Work], rounds: int, seconds: float) -> list[Row]:
    """Return files/s of one and two threads, in the best round, and the size of a file."""
    best = {name: [0.0, 0.0] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            for threads in (1, 2):
                with ThreadPoolExecutor(threads) as pool:
                    start = time.perf_counter()
                    repeat = partial(_repeat, work, start + seconds)
                    done = sum(pool.map(repeat, range(threads)))
                    speed = done / (time.perf_counter() - start)
                best[name][threads - 1] = max(best[name][threads - 1], speed)
    return [
        (name, f"{one:.1f}", f"{two:.1f}", f"{works[name](0) / 1000:.0f}")
        for name, (one, two) in best.items()
    ]


def _repeat(work: Work, end: float, number: int) -> int:
    done = 0
    while time.perf_counter() < end:
        work(number)
        done += 1
    return done


@click.command(help=__doc__)
@click.option("--files", is_flag=True, help="Time only writing and reading of files.")
@click.option(
    "--seconds", default=1.0, show_default=True, help="Duration of each measurement of --files."
)
@click.option("--model", default="mobilenetdenseaspp", show_default=True)
@click.option("--size", default="512x1024", show_default=True, help="Height x width.")
@click.option("--count", default=10, show_default=True, help="Number of images.")
@click.option(
    "--rounds", default=4, show_default=True, help="Number of rounds, of which the best counts."
)
@click.option("--format", "suffix", type=click.Choice(["png", "jpg"]), default="png")
@click.option("--overlay-format", "overlay", type=click.Choice(["png", "jpg"]), default="png")
@click.option("--device", default="auto", show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path))
def main(
    model: str,
    size: str,
    count: int,
    rounds: int,
    suffix: str,
    overlay: str,
    device: str,
    json_file: Path | None,
    files: bool,
    seconds: float,
) -> None:
    height, width = map(int, size.split("x"))
    if files:
        keep_freed_memory()  # as every command does
        with tempfile.TemporaryDirectory() as name:
            works = file_works(
                Predictor.load(weights=find_bundled(), device="cpu"), Path(name), (height, width)
            )
            table = measure_files(works, rounds, seconds)
        show_table(
            f"files/s at {height}x{width}, dseg of {Path(dseg.__file__).parent}",
            ("", "1 thread", "2 threads", "kB per file"),
            table,
        )
        if json_file is not None:
            json_file.write_text(json.dumps(table, indent=2), encoding="utf-8")
        return
    torch.manual_seed(0)
    predictor = Predictor(build_model(model), device=device)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "images").mkdir()
        for index in range(count):
            image = Image.fromarray(draw(height, width, index))
            image.save(folder / "images" / f"{index:05}.{suffix}")
        stages = measure(predictor, folder, rounds, overlay)
    alone = [stages["decode"], stages["forward"], stages["encode"]]
    rows = [(stage, f"{value * 1e3:.1f}", f"{1 / value:.2f}") for stage, value in stages.items()]
    rows.append(("slowest stage", f"{max(alone) * 1e3:.1f}", f"{1 / max(alone):.2f}"))
    rows.append(("sum of stages", f"{sum(alone) * 1e3:.1f}", f"{1 / sum(alone):.2f}"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    where = f"{predictor.device}, {os.cpu_count()} cores, torch {torch.__version__}"
    show_table(
        f"{model}, {count} {suffix} images of {height}x{width}, {where}",
        ("", "ms per image", "images/s"),
        rows,
        footer=f"end to end / slowest stage: {stages['end to end'] / max(alone):.2f}; "
        f"/ sum: {stages['end to end'] / sum(alone):.2f}; peak memory {peak:.0f} MiB",
    )
    if json_file is not None:
        facts = {"model": model, "size": size, "where": where, "machine": platform.machine()}
        json_file.write_text(
            json.dumps(facts | {"seconds": stages, "peak_mib": peak}, indent=2), encoding="utf-8"
        )


if __name__ == "__main__":
    main()
