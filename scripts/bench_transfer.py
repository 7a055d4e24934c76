"""Time label transfer and the straightforward method, on maps of 2048x1024 pixels.

Both convert the same colour maps to label ids, with and without reading and writing PNG files;
their results are compared pixel by pixel.

Usage: python scripts/bench_transfer.py [MAPS]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from dseg.images import MaskFile, Pixels, read_mask_file, write_png
from dseg.labels import LabelSpace, find_label_space
from dseg.transfer import TransferJob, transfer_files, transfer_mask

WIDTH, HEIGHT = 2048, 1024
SHAPES = 600  # ellipses per map: about as many borders as in a labelled street
ROUNDS = 3  # the fastest is reported


def draw_map(seed: int, space: LabelSpace) -> Pixels:
    """Return a colour map of random ellipses, (HEIGHT, WIDTH, 3) uint8."""
    rng = np.random.default_rng(seed)
    canvas = Image.new("L", (WIDTH, HEIGHT))
    draw = ImageDraw.Draw(canvas)
    for _ in range(SHAPES):
        x, y = rng.integers(-100, WIDTH), rng.integers(-100, HEIGHT)
        wide, high = rng.integers(5, 300, 2)
        box = (int(x), int(y), int(x + wide), int(y + high))
        draw.ellipse(box, fill=int(rng.integers(space.num_classes)))
    colors = np.array(space.palette(), np.uint8).reshape(256, 3)
    return colors.take(np.asarray(canvas), axis=0)


def transfer_straight(colors: Pixels, space: LabelSpace) -> Pixels:
    """Convert class by class: compare three channels of the image, then assign through the mask."""
    result = np.zeros(colors.shape[:2], np.uint8)
    for (red, green, blue), label_id in zip(space.colors, space.label_ids, strict=True):
        same = (colors[:, :, 0] == red) & (colors[:, :, 1] == green) & (colors[:, :, 2] == blue)
        result[same] = label_id
    return result


def seconds(function: Callable[[], object], maps: int) -> float:
    """Return the seconds per map in the fastest round."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times) / maps


def compare(what: str, straight: float, ours: float) -> None:
    """Print the seconds per map of both methods and their ratio."""
    print(f"{what:34s}{straight:12.4f}{ours:12.4f}{straight / ours:10.1f}x")


def bench(folder: Path, maps: int) -> None:
    """Draw the maps into ``folder``, time both methods and compare their results."""
    space = find_label_space("cityscapes")
    pixels = [draw_map(seed, space) for seed in range(maps)]
    jobs = [TransferJob(folder / f"c{n}.png", folder / f"ours{n}.png") for n in range(maps)]
    for job, colors in zip(jobs, pixels, strict=True):
        write_png(job.source, colors)

    def ours() -> list[Pixels]:
        return [transfer_mask(MaskFile(p, None), space, "color", "label-ids") for p in pixels]

    def straight() -> list[Pixels]:
        return [transfer_straight(p, space) for p in pixels]

    def straight_files() -> None:
        for number, job in enumerate(jobs):
            colors = np.asarray(read_mask_file(job.source).values, np.uint8)
            write_png(folder / f"straight{number}.png", transfer_straight(colors, space))

    print(f"{maps} maps of {WIDTH}x{HEIGHT}{'':13s}straight s      ours s     ratio")
    compare("look-up alone", seconds(straight, maps), seconds(ours, maps))
    slow = seconds(straight_files, maps)
    for workers, name in ((1, "with PNG files, 1 thread"), (None, "with PNG files, all cores")):

        def ours_files(workers: int | None = workers) -> None:
            transfer_files(jobs, space, "color", "label-ids", workers=workers)

        compare(name, slow, seconds(ours_files, maps))
    same = all((a == b).all() for a, b in zip(ours(), straight(), strict=True)) and all(
        job.output.read_bytes() == (folder / f"straight{number}.png").read_bytes()
        for number, job in enumerate(jobs)
    )
    print("results are equal" if same else "RESULTS DIFFER")
    if not same:
        sys.exit(1)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        bench(Path(name), int(sys.argv[1]) if len(sys.argv) > 1 else 8)
