"""How close dseg infer comes to its slowest stage, on images that it makes itself.

Measures decoding, forward and writing each alone, one image after another, then the pipeline over
the same images, and prints images/s beside what the slowest stage alone and the sum of all stages
would allow. On the CPU all three share the cores, so the sum of their CPU work is the bound there.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from dseg import build_model
from dseg.cli.console import show_table
from dseg.images import read_image, write_png
from dseg.predict import Predictor, Settings, find_images, predict_images
from dseg.render import render_overlay


def draw(height: int, width: int, seed: int) -> NDArray[Any]:
    """Return smooth colour with noise, (H, W, 3) uint8: it compresses about as a photograph."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (12, 24, 3), dtype=np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    return (smooth + rng.integers(-6, 7, smooth.shape)).clip(0, 255).astype(np.uint8)


def median_seconds(work: Callable[[], object], times: int) -> float:
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def measure(predictor: Predictor, folder: Path, count: int) -> dict[str, float]:
    """Return seconds an image of each stage alone and of the pipeline."""
    images = find_images([folder / "images"])
    pixels = read_image(images[0].path)
    ids = predictor(pixels)  # warms up
    space = predictor.label_space

    def write() -> None:
        write_png(folder / "alone" / "ids.png", ids)
        write_png(folder / "alone" / "color.png", ids, space.palette())
        write_png(folder / "alone" / "overlay.png", render_overlay(pixels, ids, space))

    stages = {
        "decode": median_seconds(lambda: read_image(images[0].path), 5),
        "forward": median_seconds(lambda: predictor(pixels), 5),
        "encode": median_seconds(write, 5),
    }
    start = time.perf_counter()
    predict_images(
        predictor, images, folder / "out", Settings.of(predictor, "random", ""), overwrite=True
    )
    stages["end to end"] = (time.perf_counter() - start) / count
    return stages


@click.command(help=__doc__)
@click.option("--model", default="mobilenetdenseaspp", show_default=True)
@click.option("--size", default="512x1024", show_default=True, help="Height x width.")
@click.option("--count", default=40, show_default=True, help="Images.")
@click.option("--format", "suffix", type=click.Choice(["png", "jpg"]), default="png")
@click.option("--device", default="auto", show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path))
def main(
    model: str, size: str, count: int, suffix: str, device: str, json_file: Path | None
) -> None:
    height, width = map(int, size.split("x"))
    torch.manual_seed(0)
    predictor = Predictor(build_model(model), device=device)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "images").mkdir()
        for index in range(count):
            image = Image.fromarray(draw(height, width, index))
            image.save(folder / "images" / f"{index:05}.{suffix}")
        stages = measure(predictor, folder, count)
    alone = [stages["decode"], stages["forward"], stages["encode"]]
    rows = [(stage, f"{value * 1e3:.1f}", f"{1 / value:.2f}") for stage, value in stages.items()]
    rows.append(("slowest stage", f"{max(alone) * 1e3:.1f}", f"{1 / max(alone):.2f}"))
    rows.append(("sum of stages", f"{sum(alone) * 1e3:.1f}", f"{1 / sum(alone):.2f}"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    where = f"{predictor.device}, {os.cpu_count()} cores, torch {torch.__version__}"
    show_table(
        f"{model}, {count} {suffix} images of {height}x{width}, {where}",
        ("", "ms an image", "images/s"),
        rows,
        footer=f"end to end / slowest stage: {stages['end to end'] / max(alone):.2f}; "
        f"/ sum: {stages['end to end'] / sum(alone):.2f}; peak memory {peak:.0f} MiB",
    )
    if json_file is not None:
        facts = {"model": model, "size": size, "where": where, "machine": platform.machine()}
        json_file.write_text(json.dumps(facts | {"seconds": stages, "peak_mib": peak}, indent=2))


if __name__ == "__main__":
    main()
