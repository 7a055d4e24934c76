"""Time `dseg infer` with default threads and with one thread, on an idle and on a busy machine.

The busy machine runs one other process per core, at normal priority. Cases alternate within a
round, since the speed of a machine drifts; the best round is reported. Compare ratios within one
call only.

Example:
    python scripts/bench_threads.py --rounds 3
    python scripts/bench_threads.py --case small --env OMP_WAIT_POLICY=ACTIVE
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
from PIL import Image

import dseg
from dseg.checkpoints import find_bundled
from dseg.parallel import count_cores

ROOT = Path(dseg.__file__).parent.parent
CASES = {  # number of images, height, width
    "small": (1000, 64, 96),
    "tiny": (21, 48, 64),
    "medium": (20, 512, 1024),
    "large": (1, 1024, 2048),
}
BUSY = """
import os
parent = os.getppid()
while os.getppid() == parent:  # ends with its parent, however that ends
    for _ in range(1_000_000):
        pass
"""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


@contextmanager
def keeping_cores_busy(busy: bool) -> Iterator[None]:
    """Keep every core busy within the context, if ``busy``."""
    words = (sys.executable, "-c", BUSY)
    others = [subprocess.Popen(words) for _ in range(count_cores() if busy else 0)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def draw(folder: Path, case: str) -> Path:
    """Write the images of a case; return their folder."""
    count, height, width = CASES[case]
    (folder / case).mkdir()
    for number in range(count):
        rng = np.random.default_rng(number)
        coarse = rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
        Image.fromarray(coarse).resize((width, height)).save(folder / case / f"{number:04}.png")
    return folder / case


def infer(images: Path, out: Path, own: dict[str, str]) -> float:
    """Return the seconds from the first image to the last file written."""
    env = {name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES} | own
    env["PYTHONPATH"] = str(ROOT)
    weights = find_bundled()
    words = (
        "infer",
        images,
        "-w",
        weights,
        "--save",
        "label_ids",
        "--device",
        "cpu",
        "-q",
        "--runtime",
        "torch",
    )
    command = (sys.executable, "-m", "dseg", *words, "--overwrite", "-o", out, "--json", "-")
    done = subprocess.run(list(map(str, command)), env=env, capture_output=True, check=True)
    return float(json.loads(done.stdout)["seconds"])


def measure(folder: Path, cases: list[str], own: dict[str, str], rounds: int) -> None:
    ways = {"default": own, "one thread": {"OMP_NUM_THREADS": "1"}}
    print(f"{count_cores()} cores; seconds, best of {rounds}; ratio: default to one thread")
    for case in cases:
        images = draw(folder, case)
        for busy in (False, True):
            best = dict.fromkeys(ways, float("inf"))
            for _ in range(rounds):
                for way, variables in ways.items():
                    with keeping_cores_busy(busy):
                        seconds = infer(images, folder / "out", variables)
                    best[way] = min(best[way], seconds)
            count, height, width = CASES[case]
            times = ", ".join(f"{way} {seconds:.2f}" for way, seconds in best.items())
            ratio = best["default"] / best["one thread"]
            when = "busy" if busy else "idle"
            print(f"{count:5} of {height}x{width:<5} {when:18} {times}; {ratio:.2f}", flush=True)


@click.command()
@click.option("--case", "cases", type=click.Choice(list(CASES)), multiple=True)
@click.option("--rounds", default=3, show_default=True)
@click.option(
    "--env",
    "own",
    metavar="NAME=VALUE",
    multiple=True,
    help="Environment variable of the default case.",
)
def main(cases: tuple[str, ...], rounds: int, own: tuple[str, ...]) -> None:
    """Measure every case on the idle and on the busy machine."""
    variables = dict(text.split("=", 1) for text in own)
    with TemporaryDirectory() as folder:
        measure(Path(folder), list(cases or CASES), variables, rounds)


if __name__ == "__main__":
    main()
