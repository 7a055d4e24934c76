"""Load the batches of a stream in worker processes, and copy them to the device ahead of use."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from dseg.data.sampler import StepSampler
from dseg.data.stream import Batch, Crop, Stream, collate
from dseg.errors import EXIT_FAILED_INPUTS, DsegError
from dseg.memory import is_out_of_memory, memory_error

AHEAD = 2  # batches that each worker prefetches
LIVES_ON_S = 600
PATIENCE_S = 600  # timeout for one batch: a worker without shared memory would block indefinitely
SHARED = Path("/dev/shm")
MOST_SPAWNED = 8  # by default; each has a copy of the libraries, on Windows gigabytes of page file
MAIN_ONLY = (
    'if __name__ == "__main__":'  # a spawned worker runs the script again, but not this part
)
UNDER_WAY = 4  # largest number of steps that the host is ahead of the device


def workers_that_fit(stream: Stream, plan: StepSampler) -> int:
    """Return the number of workers whose batches fit into the free shared memory.

    Containers often have only 64 MB of it, for all processes on the machine. Where there is no
    such limit, any number fits.
    """
    if not SHARED.is_dir():
        return 10**6
    disk = os.statvfs(SHARED)
    height, width = stream.augmentation.crop
    size = plan.batch // (plan.world_size * plan.accumulate) + plan.unlabelled
    batch = 4 * height * width * size + 65536  # images, masks, names
    free = disk.f_bavail * disk.f_frsize // plan.local_size
    return max(0, free // batch - 1) // (AHEAD + 1)


def choose_workers(stream: Stream, plan: StepSampler, *, cores: int, cuda: bool) -> int:
    """Return the default number of workers.

    Args:
        stream, plan: the batches to read, which have to fit into the shared memory.
        cores: number of cores for this process.
        cuda: whether the network is on a GPU, so that all cores are free for workers; otherwise
            the network uses the cores, and one worker reads ahead.
    """
    most = MOST_SPAWNED if _context() == "spawn" else cores
    return min(cores if cuda else min(1, cores - 1), most, workers_that_fit(stream, plan))


def _refuse_too_many(workers: int, stream: Stream, plan: StepSampler) -> None:
    fitting = workers_that_fit(stream, plan)
    if workers > fitting:
        raise DsegError(
            f"{workers} workers need more shared memory ({SHARED}) than is free.",
            hint=f"use --workers {fitting}, a smaller crop or batch, or a larger {SHARED} (docker "
            "run --shm-size 2g).",
            exit_code=EXIT_FAILED_INPUTS,
        )


def load_batches(
    stream: Stream, plan: StepSampler, *, workers: int, pin: bool = False
) -> Iterator[Batch]:
    """Yield the micro-batches of all steps of a plan, read ahead by worker processes.

    Args:
        stream: the samples.
        plan: the positions to read, in order.
        workers: number of worker processes; with 0, this process reads.
        pin: put batches into pinned memory, from which copies to a GPU are faster.

    Raises:
        DsegError: a sample cannot be read, or memory or shared memory is insufficient.
    """
    plan.check()
    options: dict[str, Any] = {}
    if workers:
        _refuse_too_many(workers, stream, plan)
        options = {
            "prefetch_factor": AHEAD,
            "multiprocessing_context": _context(),
            "timeout": PATIENCE_S,
        }
    loader: DataLoader[Crop | DsegError] = DataLoader(
        stream,
        batch_sampler=plan,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin,
        generator=torch.Generator().manual_seed(0),  # not the global one
        worker_init_fn=_one_thread,
        **options,
    )
    try:
        for batch in loader:
            if isinstance(batch, DsegError):
                raise batch
            yield batch
    except (RuntimeError, MemoryError, OSError) as fault:
        raise _worker_error(fault, workers) from fault


def _worker_error(fault: Exception, workers: int) -> Exception:
    """Return a DsegError that explains a failure of workers; other errors are returned as is."""
    text = str(fault)
    if "shared memory" in text or "shm" in text or "Bus error" in text:
        return DsegError(
            f"{workers} workers found too little shared memory (/dev/shm) for their batches.",
            hint="use fewer --workers, --workers 0, or a larger /dev/shm.",
            exit_code=EXIT_FAILED_INPUTS,
        )
    if "timed out" in text:
        return DsegError(
            f"No batch came from {workers} workers for {PATIENCE_S} seconds.",
            hint="check that the disk responds; try --workers 0, and --resume.",
            exit_code=EXIT_FAILED_INPUTS,
        )
    if is_out_of_memory(fault):
        return memory_error(
            f"while a batch was read (--workers {workers})",
            "use fewer --workers and --resume, or a smaller --batch-size or crop (--set crop=).",
        )
    if "DataLoader worker" in text:
        spawned = _context() == "spawn"
        script = f" A script has to call dseg below {MAIN_ONLY}" if spawned else ""
        return DsegError(
            f"A worker process was killed: {text.splitlines()[0]}",
            hint=f"probably memory ran out: use fewer --workers, then --resume.{script}",
            exit_code=EXIT_FAILED_INPUTS,
        )
    return fault


def _context() -> str:
    """Return how workers start: on Linux by fork, to share a cache; elsewhere fork is not safe."""
    return "fork" if sys.platform == "linux" else "spawn"


def _one_thread(worker: int) -> None:
    """Make a worker compute with one thread, and leave signals to its parent process.

    SIGTERM often goes to all processes of a job. Its worker lives on until the parent has saved
    the state and ends it, but ten minutes at most, in case that it hangs.
    """
    torch.set_num_threads(1)
    # as in the command's process, from which workers inherit it only where they are forked
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    alarm = getattr(signal, "alarm", None)  # missing on Windows
    wait = signal.SIG_DFL if alarm is None else lambda *_: alarm(LIVES_ON_S)
    signal.signal(signal.SIGTERM, wait)


def prefetch(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """Yield batches copied to a CUDA device; with another device, yield them as they are.

    The next batch is copied while the network computes with the current one. An error in reading
    the next batch is raised after the current one was yielded.

    Args:
        batches: batches on the CPU; those in pinned memory are copied asynchronously.
        device: device of the network.

    Raises:
        DsegError: as for ``batches``.
    """
    if device.type != "cuda":
        yield from batches
        return
    side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    used: deque[torch.cuda.Event] = deque()  # recorded when the network is done with a batch
    waiting: tuple[Batch, torch.cuda.Event] | None = None
    fault: DsegError | None = None
    while fault is None:
        try:
            batch = next(batches, None)
        except DsegError as raised:
            batch, fault = None, raised
        ahead = None if batch is None else _copy(batch, device, side)
        if waiting is not None:
            yield _hand_over(*waiting, device)
            used.append(_mark(device))
            if len(used) > UNDER_WAY:  # bounds the memory of batches of pending steps
                used.popleft().synchronize()
        if ahead is None:
            break
        waiting = ahead
    if fault is not None:
        raise fault


def _copy(
    batch: Batch, device: torch.device, side: torch.cuda.Stream
) -> tuple[Batch, torch.cuda.Event]:
    """Start to copy a batch; return it, and the event that the copy is complete."""
    with torch.cuda.stream(side):
        copied = batch._replace(
            images=batch.images.to(device, non_blocking=True),
            train_ids=batch.train_ids.to(device, non_blocking=True),
        )
        return copied, side.record_event()


def _mark(device: torch.device) -> torch.cuda.Event:
    """Return the event that the current stream has done all work submitted so far."""
    event: torch.cuda.Event = torch.cuda.current_stream(device).record_event()
    return event


def _hand_over(batch: Batch, arrived: torch.cuda.Event, device: torch.device) -> Batch:
    """Make the current stream wait for a batch, and keep its memory until the stream is done."""
    current = torch.cuda.current_stream(device)
    current.wait_event(arrived)
    batch.images.record_stream(current)
    batch.train_ids.record_stream(current)
    return batch
