"""Peak memory of a network: CUDA allocations, or the growth of a fresh process."""

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


def measure_growth(name: str, config: BenchConfig, weights: Path | None) -> int | None:
    """Return by how many bytes a fresh process grows as it builds a network and labels a batch.

    Measured in the calling process the figure would be too small: its allocator keeps freed memory.

    Returns:
        The peak growth in bytes; None where the system does not report it.

    Raises:
        DsegError: the process was killed, most likely since memory ran out.
    """
    quietly = (signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the process without a traceback
    context = get_context("spawn")
    with ProcessPoolExecutor(1, context, signal.signal, quietly) as pool:
        try:
            return pool.submit(_grow, name, config, weights).result()
        except BrokenProcessPool as fault:
            raise DsegError(
                "The process that measured memory was killed; most likely memory ran out.",
                hint="use a smaller --size or --batch.",
                exit_code=EXIT_FAILED_INPUTS,
            ) from fault


def _grow(name: str, config: BenchConfig, weights: Path | None) -> int | None:
    keep_freed_memory()  # as dseg infer does on the CPU
    config.use_threads()
    before = resident("VmRSS")
    # Not compiled: the compiler's memory is not the network's.
    runner = Runner(name, replace(config, compiled=False), weights)
    images = [np.zeros((*config.size, 3), np.uint8)] * config.batch
    runner.label(runner.view(images), *config.size)
    after = resident("VmHWM")
    return None if before is None or after is None else after - before


def resident(kind: str) -> int | None:
    """Return the resident bytes of this process: current (``VmRSS``) or peak (``VmHWM``)."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return _peak_resident()
    for line in status.splitlines():
        if line.startswith(f"{kind}:"):
            return 1024 * int(line.split()[1])
    return None


def _peak_resident() -> int | None:
    """Return the peak of resident bytes where there is no /proc; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


class CudaPeak:
    """Peak of the bytes that torch allocates on a CUDA device, from construction on."""

    def __init__(self, device: torch.device):
        self._device = device
        torch.cuda.reset_peak_memory_stats(device)
        self._before = torch.cuda.memory_allocated(device)

    def read(self) -> int:
        """Return the peak so far, in bytes."""
        return torch.cuda.max_memory_allocated(self._device) - self._before
