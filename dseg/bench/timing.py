"""Milliseconds of a piece of work that is repeated."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

LEAST_SAMPLES = 3


@dataclass(frozen=True)
class Timing:
    """How long a batch takes.

    Attributes:
        median_ms: of a batch.
        p95_ms: the 95th percentile.
        frames_per_s: images a second, by the median.
        samples: batches that were timed.
    """

    median_ms: float
    p95_ms: float
    frames_per_s: float
    samples: int


def measure(
    work: Callable[[], object],
    *,
    batch: int = 1,
    warmup: int = 10,
    samples: int = 100,
    seconds: float = 10.0,
    synchronise: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Time a piece of work run by run.

    Args:
        batch: images in a run.
        warmup: runs that are not timed; none begins after ``seconds``.
        samples: runs that are timed; none begins after ``seconds``, once there are three.
        synchronise: waits for the device, before a run begins and before it counts as done.
        clock: seconds, for tests.
    """
    start = clock()
    for _ in range(warmup):
        work()
        synchronise()
        if clock() - start >= seconds:
            break
    times: list[float] = []
    start = clock()
    while len(times) < max(samples, LEAST_SAMPLES):
        begun = clock()
        if len(times) >= LEAST_SAMPLES and begun - start >= seconds:
            break
        work()
        synchronise()
        times.append(1000 * (clock() - begun))
    median, p95 = np.percentile(times, (50, 95))
    return Timing(float(median), float(p95), 1000 * batch / float(median), len(times))
