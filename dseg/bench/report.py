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

from dseg.bench.config import MEMORY, TIMED_ROWS, BenchConfig
from dseg.bench.cost import Cost, count_cost
from dseg.bench.machine import describe_device
from dseg.bench.memory import CudaPeak, measure_growth
from dseg.bench.runner import Runner
from dseg.bench.timing import Timing, measure
from dseg.errors import CheckpointError, DsegError
from dseg.images import read_image, write_png
from dseg.labels import make_lookup
from dseg.memory import is_out_of_memory
from dseg.registry import MODELS
from dseg.speeds import SIZE, Speed, keep_speed

LONGEST = 120  # characters of a fault


@dataclass(kw_only=True)
class Report:
    """The measurements of one network by one runtime in one precision.

    Attributes:
        name: key of ``MODELS``.
        runtime: ``torch``, ``openvino`` or ``onnx``.
        dtype: key of ``DTYPES``: as configured, or that of an exported file.
        precision: of weights and activations, in words; empty if the network was not loaded.
        cost: parameters and operations for one image; None if not counted.
        memory: peak memory in bytes; None if unknown.
        timings: times by key of ``TIMED_ROWS``; after a fault, those measured before it.
        score: published Cityscapes mIoU in percent; None if there is none.
        fault: reason why the network could not be measured; empty if it could.
    """

    name: str
    runtime: str = "torch"
    dtype: str = "fp32"
    precision: str = ""
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
            "runtime": self.runtime,
            "dtype": self.dtype,
            "precision": self.precision or None,
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

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Report:
        """Return the report of which ``as_dict`` made a dictionary.

        Raises:
            LookupError, TypeError: it did not.
        """
        memory, cost = found["peak_memory_mib"], None
        if found["gmacs"] is not None:
            cost = Cost(found["params"], round(1e9 * found["gmacs"]), round(1e9 * found["gflops"]))
        rows = {row: found[row.replace(" ", "_")] for row in TIMED_ROWS}
        return cls(
            name=found["name"],
            runtime=found["runtime"],
            dtype=found["dtype"],
            precision=found["precision"] or "",
            cost=cost,
            memory=None if memory is None else round(memory * 2**20),
            timings={row: Timing(**timing) for row, timing in rows.items() if timing},
            score=found["published_miou"],
            fault=found["fault"] or "",
        )


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
    report = Report(
        name=name, runtime=config.runtime_used, dtype=config.dtype, score=MODELS[name].score
    )
    try:
        _fill(report, config, image, weights)
    except CheckpointError:
        raise
    except Exception as fault:  # of any kernel or compiler; the next networks are measured
        report.fault = _reason(fault)
    _keep_speed(report, config)
    gc.collect()
    if config.torch_device.type != "cpu":
        torch.accelerator.empty_cache()
    if config.compiled:
        torch.compiler.reset()
    return report


def _keep_speed(report: Report, config: BenchConfig) -> None:
    """Keep the time to labels for ``dseg models``, if it is one of the listed size."""
    timing = report.timings.get("labels")
    usual = config.batch == 1 and config.deploy and config.threads is None
    if timing is None or not usual or config.size != SIZE:
        return
    device = config.torch_device
    speed = Speed(
        ms=timing.median_ms,
        runtime=report.runtime,
        precision=report.dtype,
        device=describe_device(device),
    )
    keep_speed(report.name, speed, on_gpu=device.type != "cpu")


def _fill(report: Report, config: BenchConfig, image: Path, weights: Path | None) -> None:
    """Fill in a report; measurements that fail early and cheaply come first."""
    report.cost = count_cost(report.name, *config.size, folded=config.deploy)
    device = config.torch_device
    with_memory = MEMORY in config.measured
    if device.type == "cpu" and with_memory:  # first: its process may run out of memory
        report.memory = measure_growth(report.name, config, weights)
    peak = CudaPeak(device) if device.type == "cuda" and with_memory else None
    runner = Runner(report.name, config, weights)
    report.runtime, report.dtype = runner.runtime, runner.dtype_name
    report.precision = runner.precision
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        works = _timed_functions(runner, config, image, Path(folder))
        if peak is not None:
            works["labels"]()
            report.memory = peak.read()
        for row in (row for row in works if row in config.measured):
            report.timings[row] = measure(
                works[row],
                batch=config.batch,
                warmup=config.warmup,
                samples=config.samples,
                seconds=config.seconds,
                synchronise=runner.synchronise,
            )


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
