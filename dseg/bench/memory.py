"""The most memory that a network takes: what CUDA allocates, or what a fresh process gains."""

from __future__ import annotations

import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from dseg.allocator import keep_freed_memory
from dseg.bench.config import BenchConfig
from dseg.bench.runner import Runner
from dseg.errors import EXIT_FAILED_INPUTS, DsegError


def measure_growth(name: str, plan: BenchConfig, weights: Path | None) -> int | None:
    """Return the bytes that a fresh process gains by building a network and labelling a batch.

    Memory that is given back is not seen in the process that measures: its allocator keeps it.

    Returns:
        None where the system does not tell.

    Raises:
        DsegError: the process was killed, most likely since memory ran out.
    """
    quietly = (signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the process without a trace
    context = get_context("spawn")
    with ProcessPoolExecutor(1, context, signal.signal, quietly) as pool:
        try:
            return pool.submit(_grow, name, plan, weights).result()
        except BrokenProcessPool as fault:
            raise DsegError(
                "The process that measured its memory was killed; most likely memory ran out.",
                hint="use a smaller --size or --batch.",
                exit_code=EXIT_FAILED_INPUTS,
            ) from fault


def _grow(name: str, plan: BenchConfig, weights: Path | None) -> int | None:
    keep_freed_memory()  # as dseg infer does on the CPU, where alone this is measured
    plan.use_threads()
    before = resident("VmRSS")
    runner = Runner(name, replace(plan, compiled=False), weights)  # not the compiler's memory
    images = [np.zeros((*plan.size, 3), np.uint8)] * plan.batch
    runner.label(runner.view(images), *plan.size)
    after = resident("VmHWM")
    return None if before is None or after is None else after - before


def resident(kind: str) -> int | None:
    """Return the resident bytes of this process, now (``VmRSS``) or at most so far (``VmHWM``)."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return _most_resident()
    for line in status.splitlines():
        if line.startswith(f"{kind}:"):
            return 1024 * int(line.split()[1])
    return None


def _most_resident() -> int | None:
    """Return the most resident bytes so far where there is no /proc, None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


class CudaPeak:
    """The most bytes that torch allocates on a CUDA device from now on."""

    def __init__(self, device: torch.device):
        self._device = device
        torch.cuda.reset_peak_memory_stats(device)
        self._before = torch.cuda.memory_allocated(device)

    def read(self) -> int:
        """Return the bytes so far."""
        return torch.cuda.max_memory_allocated(self._device) - self._before
