"""How close dseg infer comes to its slowest stage, on images that it makes itself.

Measures decoding, forward and writing each alone, one image after another, and the pipeline over
the same images, in turns, and prints images/s beside what the slowest stage alone and the sum of
all stages would allow. On the CPU all three share the cores that forward fills alone, so there
the sum of their work is the bound.
"""

from __future__ import annotations

import json
import os
import platform
import resource
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
from dseg.images import read_image, write_jpeg, write_png
from dseg.predict import Predictor, Settings, find_images, predict_images
from dseg.render import render_overlay


def draw(height: int, width: int, seed: int) -> NDArray[Any]:
    """Return smooth colour with noise, (H, W, 3) uint8: it compresses about as a photograph."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (12, 24, 3), dtype=np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    return (smooth + rng.integers(-6, 7, smooth.shape)).clip(0, 255).astype(np.uint8)


def measure(predictor: Predictor, folder: Path, rounds: int, overlay: str) -> dict[str, float]:
    """Return the seconds an image of each stage alone and of the pipeline, the best of all rounds.

    Rounds alternate between the four, because the speed of a shared machine drifts.
    """
    images = find_images([folder / "images"])
    pixels = [read_image(image.path) for image in images]
    ids = predictor(pixels[0])  # warms up
    space = predictor.label_space
    settings = Settings.of(predictor, "random", "")
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


@click.command(help=__doc__)
@click.option("--model", default="mobilenetdenseaspp", show_default=True)
@click.option("--size", default="512x1024", show_default=True, help="Height x width.")
@click.option("--count", default=10, show_default=True, help="Images.")
@click.option("--rounds", default=4, show_default=True, help="The best of them counts.")
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
        stages = measure(predictor, folder, rounds, overlay)
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
