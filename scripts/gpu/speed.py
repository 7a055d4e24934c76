"""Job ``throughput``: training speed and peak memory of every network at the crop of its recipe.

Every network has a process, so that memory is measured separately; the next processes import and
build their network meanwhile, and wait for their turn.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from context import ROOT, JobContext, OutOfTimeError, last_line, make_environment, read_log
from figures import draw_bars, write_table
from training import Part

from dseg.registry import MODELS

SCRIPT = ROOT / "scripts" / "gpu" / "speed_worker.py"
BATCHES = (16, 8, 4, 2, 1)
LIMIT_S = 45.0  # time limit of a network, from its turn on
AHEAD = 2  # processes that wait for their turn
TINY = ("dabnet", "fastscnn")


def measure_all(context: JobContext) -> dict[str, Any]:
    """Measure one network after another, except those of an earlier start."""
    found: dict[str, Any] = context.results.get("networks", {})
    names = [name for name in order_networks(context) if name not in found]
    waiting: list[Worker] = []
    try:
        while names or waiting:
            while names and len(waiting) <= (0 if context.tiny else AHEAD):
                waiting.append(Worker(context, names.pop(0)))
            if not context.left:
                break
            worker = waiting.pop(0)
            row = worker.measure()
            if row is None:
                waiting.insert(0, worker)
                break
            found[worker.name] = context.facts(dtype="bf16") | row
            context.log(f"{worker.name}: {row}")
            context.keep("networks", found)
    finally:
        for worker in waiting:
            worker.kill()
    write_results(context, found)
    if names or waiting:
        raise OutOfTimeError(f"{len(found)} networks are measured")
    return found


def order_networks(context: JobContext) -> list[str]:
    """Return the first network of each paper, then the second ones, and so on."""
    if context.tiny:
        return list(TINY)
    titles = [spec.title for spec in MODELS.values()]
    groups = [
        [name for name, spec in MODELS.items() if spec.title == title]
        for title in dict.fromkeys(titles)
    ]
    return [name for turn in zip_longest(*groups) for name in turn if name is not None]


class Worker:
    """A process that builds a network, and measures it on request."""

    def __init__(self, context: JobContext, name: str):
        self.context, self.name = context, name
        self.log = context.work / f"{name}.log"
        facts = {"name": name, "tiny": context.tiny, "device": context.device.type}
        order = {**facts, "batches": BATCHES[-2:] if context.tiny else BATCHES}
        with self.log.open("wb") as file:
            self.child = subprocess.Popen(
                [sys.executable, str(SCRIPT), json.dumps(order)],
                env=make_environment(),
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def measure(self) -> dict[str, Any] | None:
        """Return the measurement or the reason for failure; None if the job has to end."""
        assert self.child.stdin is not None
        with suppress(BrokenPipeError):
            self.child.stdin.write(b"go\n")
            self.child.stdin.close()
        end = monotonic() + LIMIT_S
        while self.child.poll() is None and monotonic() < end and self.context.left:
            self.context.log_sometimes(lambda: f"{self.name}: {last_line(read_log(self.log))}")
            sleep(0.02)
        code = self.child.poll()
        if code is None and not self.context.left:
            return None
        self.kill()
        output = read_log(self.log).strip()
        last = output.splitlines()[-1:] or [""]
        if code == 0 and last[0].startswith("{"):
            return dict(json.loads(last[0]))
        return {"failed": f"no result in {LIMIT_S:g} s" if code is None else output[-400:]}

    def kill(self) -> None:
        """Kill the process and its child processes."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()


def write_results(context: JobContext, found: dict[str, Any]) -> None:
    """Write the table and the plot of the networks measured so far."""
    rows = []
    for name, row in found.items():
        measured = "failed" not in row
        rows.append(
            {
                "network": f"`{name}`",
                "recipe": row.get("recipe", ""),
                "crop": row.get("crop", ""),
                "batch": str(row.get("batch", "")),
                "images/s": f"{row['images_per_s']:.1f}" if measured else "failed",
                "peak memory (GB)": f"{row['peak_gb']:.2f}" if measured else "",
                "dtype": row["dtype"],
            }
        )
    write_table(rows, context.out / "table.md")
    rates = {name: row["images_per_s"] for name, row in found.items() if "failed" not in row}
    if rates:
        draw_bars(rates, Path(context.out / "throughput.png"), "training images/s, bf16")


PARTS: dict[str, Part] = {"networks": measure_all}
