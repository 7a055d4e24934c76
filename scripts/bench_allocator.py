"""Compare speed and memory of inference on the CPU with and without keeping freed memory.

Each round runs every job once in a process that keeps freed memory, as ``dseg infer`` does, and
once in a process that returns it to the system. Jobs: label images of one size, and of many sizes.
Networks have random weights, images random pixels (seed 0).

Example:
    python scripts/bench_allocator.py dabnet denseaspp121 pspnet_r50
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

import dseg
from dseg.allocator import keep_freed_memory
from dseg.cli.tables import show_table
from dseg.predict import Predictor

SIZE = (512, 1024)
RNG = np.random.default_rng(0)


def make_image(height: int, width: int) -> NDArray[np.uint8]:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def make_job(name: str, network: str) -> tuple[Callable[[], object], int]:
    """Return the function to time, and the number of calls."""
    predictor = Predictor(dseg.build_model(network), device="cpu")
    if name == "one size":
        image = make_image(*SIZE)
        return lambda: predictor(image), 8
    return lambda: predictor(make_image(*RNG.integers(200, 900, 2))), 16


def run_job(job: str, network: str, *, keep: bool) -> dict[str, float]:
    """Return seconds (median; for many sizes, sum) and the peak memory of the process in MiB."""
    if keep and not keep_freed_memory():
        raise SystemExit("Freed memory cannot be kept here: see dseg.allocator.")
    label, calls = make_job(job, network)
    label()
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        label()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"s": sum(seconds) if job == "many sizes" else statistics.median(seconds), "mib": peak}


def run_apart(**job: Any) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", json.dumps(job)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def compare(job: str, network: str, turns: int) -> list[str]:
    """Return a row of the table: the medians of all rounds."""
    found: dict[bool, list[dict[str, float]]] = {False: [], True: []}
    for _ in range(turns):
        for keep, results in found.items():
            results.append(run_apart(job=job, network=network, keep=keep))
    plain, kept = (
        {key: statistics.median(result[key] for result in found[keep]) for key in ("s", "mib")}
        for keep in (False, True)
    )
    ratios = [a["s"] / b["s"] for a, b in zip(*found.values(), strict=True)]
    faster = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    return [
        network, job, f"{plain['s']:.3f}", f"{kept['s']:.3f}", faster,
        f"{plain['mib']:.0f}", f"{kept['mib']:.0f}",
    ]  # fmt: skip


@click.command(help=__doc__)
@click.argument("networks", nargs=-1)
@click.option("--turns", default=3, show_default=True)
@click.option("--one", hidden=True, help="Run this job, given as JSON, in this process.")
def main(networks: tuple[str, ...], turns: int, one: str | None) -> None:
    if one:
        print(json.dumps(run_job(**json.loads(one))))
        return
    rows = [
        compare(job, network, turns)
        for network in networks or ("dabnet", "denseaspp121")
        for job in ("one size", "many sizes")
    ]
    heads = ["network", "job", "plain s", "kept s", "plain / kept", "plain MiB", "kept MiB"]
    footer = f"{torch.get_num_threads()} threads, torch {torch.__version__}; {turns} turns, medians"
    show_table("", heads, rows, footer=footer)


if __name__ == "__main__":
    main()
