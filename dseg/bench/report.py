"""Report: what one network costs, and why it could not be measured where it could not."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from dseg.bench.config import BenchConfig
from dseg.bench.cost import Cost, count_cost
from dseg.bench.memory import CudaPeak, measure_growth
from dseg.bench.runner import Runner
from dseg.bench.timing import Timing, measure
from dseg.errors import CheckpointError, DsegError
from dseg.images import read_image, write_png
from dseg.labels import make_lookup
from dseg.memory import is_out_of_memory
from dseg.registry import MODELS

TIMED_ROWS = {  # what is timed, one after the other
    "forward": "the network alone, on images that lie ready on the device",
    "labels": "forward, logits resized to the image's size, best class of each pixel as uint8",
    "end to end": "PNG decoded, normalised, labelled, label ids written as PNG, without overlap",
}
LONGEST = 120  # characters of a reason


@dataclass(kw_only=True)
class Report:
    """What one network costs.

    Attributes:
        name: of the table.
        cost: parameters and operations for one image of the size; None if not counted.
        memory: peak in bytes; None where it is not known.
        timings: by row; those up to a fault.
        score: published Cityscapes mIoU in percent, None if there is none.
        fault: why it could not be measured, empty if it could.
    """

    name: str
    cost: Cost | None = None
    memory: int | None = None
    timings: dict[str, Timing] = field(default_factory=dict)
    score: float | None = None
    fault: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        cost = self.cost
        return {
            "name": self.name,
            "params": cost and cost.params,
            "gmacs": cost and cost.macs / 1e9,
            "gflops": cost and cost.flops / 1e9,
            "peak_memory_mib": None if self.memory is None else self.memory / 2**20,
            **{
                row.replace(" ", "_"): asdict(self.timings[row]) if row in self.timings else None
                for row in TIMED_ROWS
            },
            "published_miou": self.score,
            "fault": self.fault or None,
        }


def bench_network(name: str, plan: BenchConfig, image: Path, weights: Path | None = None) -> Report:
    """Measure a network; a fault of nearly any kind ends its measurement and is written down.

    Args:
        name: of the table.
        plan: what is measured.
        image: a file of the plan's size, to be read for each image of a batch.
        weights: a checkpoint file; random weights take as long.

    Raises:
        CheckpointError: the checkpoint is missing or not this network's.
    """
    report = Report(name=name, score=MODELS[name].score)
    try:
        _fill(report, plan, image, weights)
    except CheckpointError:
        raise
    except Exception as fault:  # of a library's kernels, a compiler, a network: the rest goes on
        report.fault = _reason(fault)
    gc.collect()
    if plan.torch_device.type != "cpu":
        torch.accelerator.empty_cache()
    if plan.compiled:
        torch.compiler.reset()
    return report


def _fill(report: Report, plan: BenchConfig, image: Path, weights: Path | None) -> None:
    """Fill a report in, in the order in which a fault costs least."""
    report.cost = count_cost(report.name, *plan.size)
    device = plan.torch_device
    if device.type == "cpu":  # a process that is killed for its memory is not this one
        report.memory = measure_growth(report.name, plan, weights)
    peak = CudaPeak(device) if device.type == "cuda" else None
    runner = Runner(report.name, plan, weights)
    with TemporaryDirectory() as folder:
        for row, work in _works(runner, plan, image, Path(folder)).items():
            report.timings[row] = measure(
                work,
                batch=plan.batch,
                warmup=plan.warmup,
                samples=plan.samples,
                seconds=plan.seconds,
                synchronise=runner.synchronise,
            )
            if row == "labels" and peak is not None:
                report.memory = peak.read()


def _works(
    runner: Runner, plan: BenchConfig, image: Path, out: Path
) -> dict[str, Callable[[], object]]:
    """Return what is timed in each row."""
    pixels = [read_image(image)] * plan.batch
    view = runner.view(pixels)
    space = runner.model.card.label_space
    label_ids = np.frombuffer(make_lookup(enumerate(space.label_ids)), np.uint8)

    def end_to_end() -> None:
        images = [read_image(image) for _ in range(plan.batch)]
        train_ids = runner.label(runner.view(images), *plan.size).cpu().numpy()
        for index, ids in enumerate(train_ids):
            write_png(out / f"{index}.png", label_ids[ids])

    return {
        "forward": partial(runner.forward, view),
        "labels": partial(runner.label, view, *plan.size),
        "end to end": end_to_end,
    }


def _reason(fault: Exception) -> str:
    """Say in a line why a network could not be measured."""
    if is_out_of_memory(fault):
        return "out of memory"
    if isinstance(fault, DsegError):
        return fault.problem
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    text = f"{type(fault).__name__}: {lines[0]}" if lines else type(fault).__name__
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
