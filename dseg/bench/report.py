"""The measurements of one network, or the reason why it could not be measured."""

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

TIMED_ROWS = {  # timed in this order
    "forward": "the network alone, on images that lie ready on the device",
    "labels": "forward, logits resized to the image's size, best class of each pixel as uint8",
    "end to end": "PNG decoded, normalised, labelled, label ids written as PNG, without overlap",
}
LONGEST = 120  # characters of a fault


@dataclass(kw_only=True)
class Report:
    """The measurements of one network.

    Attributes:
        name: key of ``MODELS``.
        cost: parameters and operations for one image; None if not counted.
        memory: peak memory in bytes; None if unknown.
        timings: times by key of ``TIMED_ROWS``; after a fault, those measured before it.
        score: published Cityscapes mIoU in percent; None if there is none.
        fault: reason why the network could not be measured; empty if it could.
    """

    name: str
    cost: Cost | None = None
    memory: int | None = None
    timings: dict[str, Timing] = field(default_factory=dict)
    score: float | None = None
    fault: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
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


def bench_network(
    name: str, config: BenchConfig, image: Path, weights: Path | None = None
) -> Report:
    """Measure a network; nearly any error ends its measurement and is kept in the report.

    Args:
        name: key of ``MODELS``.
        config: sizes, precision, numbers of runs.
        image: image file of the configured size, read for each image of a batch.
        weights: checkpoint file; by default random weights, which take as long.

    Raises:
        CheckpointError: the checkpoint is missing, or of another network.
    """
    report = Report(name=name, score=MODELS[name].score)
    try:
        _fill(report, config, image, weights)
    except CheckpointError:
        raise
    except Exception as fault:  # of any kernel or compiler; the next networks are measured
        report.fault = _reason(fault)
    gc.collect()
    if config.torch_device.type != "cpu":
        torch.accelerator.empty_cache()
    if config.compiled:
        torch.compiler.reset()
    return report


def _fill(report: Report, config: BenchConfig, image: Path, weights: Path | None) -> None:
    """Fill in a report; measurements that fail early and cheaply come first."""
    report.cost = count_cost(report.name, *config.size)
    device = config.torch_device
    if device.type == "cpu":  # first, in another process, which may run out of memory
        report.memory = measure_growth(report.name, config, weights)
    peak = CudaPeak(device) if device.type == "cuda" else None
    runner = Runner(report.name, config, weights)
    with TemporaryDirectory() as folder:
        for row, work in _timed_functions(runner, config, image, Path(folder)).items():
            report.timings[row] = measure(
                work,
                batch=config.batch,
                warmup=config.warmup,
                samples=config.samples,
                seconds=config.seconds,
                synchronise=runner.synchronise,
            )
            if row == "labels" and peak is not None:
                report.memory = peak.read()


def _timed_functions(
    runner: Runner, config: BenchConfig, image: Path, out: Path
) -> dict[str, Callable[[], object]]:
    """Return the function to time for each key of ``TIMED_ROWS``."""
    pixels = [read_image(image)] * config.batch
    view = runner.view(pixels)
    space = runner.model.card.label_space
    label_ids = np.frombuffer(make_lookup(enumerate(space.label_ids)), np.uint8)

    def end_to_end() -> None:
        images = [read_image(image) for _ in range(config.batch)]
        train_ids = runner.label(runner.view(images), *config.size).cpu().numpy()
        for index, ids in enumerate(train_ids):
            write_png(out / f"{index}.png", label_ids[ids])

    return {
        "forward": partial(runner.forward, view),
        "labels": partial(runner.label, view, *config.size),
        "end to end": end_to_end,
    }


def _reason(fault: Exception) -> str:
    """Return one line on why a network could not be measured."""
    if is_out_of_memory(fault):
        return "out of memory"
    if isinstance(fault, DsegError):
        return fault.problem
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    text = f"{type(fault).__name__}: {lines[0]}" if lines else type(fault).__name__
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
