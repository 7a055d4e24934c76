"""Time a function that is called again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

LEAST_SAMPLES = 3


@dataclass(frozen=True)
class Timing:
    """Times of a batch.

    Attributes:
        median_ms: median milliseconds of a batch.
        p95_ms: 95th percentile in milliseconds.
        frames_per_s: images per second, from the median.
        samples: number of timed batches.
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
    """Time each call of a function.

    Args:
        work: function that processes one batch.
        batch: images per call.
        warmup: number of calls before the timed ones; none begins after ``seconds``.
        samples: number of timed calls; after three of them, none begins after ``seconds``.
        seconds: time limit of the warm-up, and of the timed calls.
        synchronise: waits for the device, before and at the end of each timed call.
        clock: returns seconds; replaced in tests.
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
