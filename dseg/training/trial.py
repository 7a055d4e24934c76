"""A trial of a run: one batch, one validation image, and an estimate of time and memory."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from dseg.config import RuntimeConfig, TrainConfig
from dseg.data.loader import load_batches, prefetch
from dseg.data.stream import Batch
from dseg.datasets.base import Dataset
from dseg.distributed import Group
from dseg.errors import EXIT_FAILED_INPUTS, DsegError, counted
from dseg.memory import find_free_memory
from dseg.parallel import Progress
from dseg.training.backends import deterministic_or_refused
from dseg.training.callbacks import Intervals, Show
from dseg.training.data import find_workers, make_plan, make_stream
from dseg.training.loop import Trainer
from dseg.training.run import begin, memory_errors_reported, prepare
from dseg.training.validate import validate

STEPS = 3  # of which the first, which also prepares memory, does not count for the speed
LONG_S = 20.0  # duration of steps from which on no more are tried
GB = 1e9


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a trial found.

    Attributes:
        steps: optimizer steps of the run.
        read_seconds: time to read and augment a batch in one process.
        workers: number of processes that read ahead.
        step_seconds: time to compute a step.
        images_per_s: training speed that is to be expected.
        validation_seconds: time of one validation; 0 without.
        estimated_seconds: time of the run.
        peak_memory_bytes: peak memory of this process, or what it used on the GPU.
        loss: loss of the batch before the first step.
    """

    steps: int
    read_seconds: float
    workers: int
    step_seconds: float
    images_per_s: float
    validation_seconds: float
    estimated_seconds: float
    peak_memory_bytes: int
    loss: float

    def as_json(self) -> dict[str, Any]:
        """Return the attributes as JSON values."""
        return asdict(self)


def try_run(
    config: TrainConfig,
    runtime: RuntimeConfig,
    run: Path,
    group: Group,
    *,
    show: Show,
    progress: Progress,
) -> Trial:
    """Do everything that a run does before and in its first step, and write nothing.

    Args:
        config, runtime, run, group, show, progress: as of ``run_training``.

    Raises:
        DsegError: as ``run_training``, for everything that can be found out by one batch.
    """
    with memory_errors_reported(config, runtime):
        trainer, remarks = prepare(config, runtime, run, group, progress, lambda: False)
        start, more = begin(config, runtime, trainer)
        with show(start) as display:
            for remark in (*remarks, *more) if group.main else ():
                display.say(remark)
            with deterministic_or_refused(config.model, trainer.device):
                trial = _measure(config, runtime, trainer)
            display.say_facts(_describe(trial, trainer))
    return trial


def _measure(config: TrainConfig, runtime: RuntimeConfig, trainer: Trainer) -> Trial:
    stream, plan = make_stream(config, trainer), make_plan(config, trainer)
    if trainer.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(trainer.device)
    begun = time.monotonic()
    loaded = load_batches(stream, plan, workers=0)
    batch = list(islice(prefetch(loaded, trainer.device), config.recipe.accumulate))
    read = time.monotonic() - begun
    loss, step = _try_steps(trainer, batch)
    val = 0.0 if trainer.val_set is None else _try_validation(trainer, trainer.val_set)
    workers = 0 if runtime.cache == "device" else find_workers(runtime, trainer, stream, plan)
    each = max(step, read / workers) if workers else step + read
    if runtime.cache == "device":
        each = step
    steps = trainer.intervals.steps
    return Trial(
        steps=steps,
        read_seconds=read,
        workers=workers,
        step_seconds=step,
        images_per_s=config.recipe.batch / each,
        validation_seconds=val,
        estimated_seconds=steps * each + count_validations(trainer.intervals) * val,
        peak_memory_bytes=find_peak(trainer.device),
        loss=loss,
    )


def _try_steps(trainer: Trainer, batch: list[Batch]) -> tuple[float, float]:
    """Do some steps on a batch; return its first loss and the seconds of a step."""
    seconds, losses = [], []
    for number in range(STEPS):
        begun = time.monotonic()
        found = trainer.update(number, batch)
        losses.append(float(trainer.group.sum(found.loss.clone())))  # waits for the device
        seconds.append(time.monotonic() - begun)
        skipped = found.skipped is not None and bool(found.skipped)
        if not math.isfinite(losses[-1]) and not skipped:
            raise DsegError(
                f"The loss of {'the first batch' if number == 0 else 'a batch after one step'} is "
                f"{losses[-1]}.",
                hint="lower the learning rate, or limit the gradient: --set clip=1.",
                exit_code=EXIT_FAILED_INPUTS,
            )
        enough = torch.tensor(float(sum(seconds) > LONG_S), device=trainer.device)
        if trainer.group.sum(enough) > 0:
            break
    return losses[0], min(seconds[1:] or seconds)


def _try_validation(trainer: Trainer, val_set: Dataset) -> float:
    """Validate some images; return the seconds that the whole split takes."""
    size = trainer.group.world_size
    seconds = math.inf
    for _ in range(2):  # the first prepares memory
        begun = time.monotonic()
        few = replace(val_set, samples=val_set.samples[:size])
        validate(
            *(trainer.scored, few, trainer.group),
            device=str(trainer.device),
            amp=trainer.amp,
            loss=trainer.update.loss,
        )
        seconds = min(seconds, time.monotonic() - begun)
    return seconds * math.ceil(len(val_set) / size)


def count_validations(intervals: Intervals) -> int:
    """Return the number of validations of a run."""
    every, steps = intervals.validate_every, intervals.steps
    return steps // every + bool(steps % every) if every else 1


def find_peak(device: torch.device) -> int:
    """Return the peak memory in bytes, on CUDA of the device; 0 if it is unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    try:
        import resource
    except ImportError:  # on Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _describe(trial: Trial, trainer: Trainer) -> list[tuple[str, str]]:
    """Describe what a trial found, as ``(name, text)``."""
    recipe, device = trainer.recipe, trainer.device
    reading = f"read and augmented in {trial.read_seconds:.3g} s by one process"
    ahead = f", {counted(trial.workers, 'worker')} read ahead"
    facts = [
        ("Batch", f"{recipe.batch} crops, {reading}{ahead if trial.workers else ''}"),
        ("Step", f"{trial.step_seconds:.3g} s forward, backward and update; loss {trial.loss:.3f}"),
        ("Speed", f"about {trial.images_per_s:.3g} images/s"),
    ]
    if trial.peak_memory_bytes:
        facts.append(("Memory", _describe_memory(trial, device)))
    words = [f"{describe_duration(trial.estimated_seconds)} for {counted(trial.steps, 'step')}"]
    if trial.validation_seconds:
        count = count_validations(trainer.intervals)
        words.append(f"{counted(count, 'validation')} of {trial.validation_seconds:.3g} s")
    facts.append(("Time", " and ".join(words)))
    facts.append(("Written", "nothing (--dry-run)"))
    return facts


def describe_duration(seconds: float) -> str:
    """Describe an estimated duration, such as ``about 2 h 5 min``."""
    hours, minutes = divmod(round(seconds / 60), 60)
    if not hours:
        return f"about {minutes} min" if minutes else "less than a minute"
    return f"about {hours} h {minutes} min" if hours < 48 else f"about {hours / 24:.1f} days"


def _describe_memory(trial: Trial, device: torch.device) -> str:
    peak = f"{trial.peak_memory_bytes / GB:.1f} GB at the peak"
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return f"{peak}, of {total / GB:.1f} GB on the device ({free / GB:.1f} GB are free now)"
    free = find_free_memory()
    return f"{peak} (this process), {free / GB:.1f} GB are free now" if free else peak
