"""Batches copied to a CUDA device one ahead of the network, on a stream of their own."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import torch

from dseg.datasets.stream import Batch
from dseg.errors import DsegError

UNDER_WAY = 4  # steps that the host is ahead of the device at most


def prefetch(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """Yield batches whose images and train ids lie on a CUDA device; pass others through.

    The next batch is copied while the network computes with this one. An error of the next batch
    is raised only after this one was yielded.

    Args:
        batches: on the CPU; pinned ones are copied without waiting.
        device: where the network is.

    Raises:
        DsegError: as ``batches``.
    """
    if device.type != "cuda":
        yield from batches
        return
    side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    used: deque[torch.cuda.Event] = deque()  # of batches, once the network is through with them
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
            if len(used) > UNDER_WAY:  # or the batches of all steps that wait would take memory
                used.popleft().synchronize()
        if ahead is None:
            break
        waiting = ahead
    if fault is not None:
        raise fault


def _copy(
    batch: Batch, device: torch.device, side: torch.cuda.Stream
) -> tuple[Batch, torch.cuda.Event]:
    """Begin to copy a batch; return it, and the event of its arrival."""
    with torch.cuda.stream(side):
        copied = batch._replace(
            images=batch.images.to(device, non_blocking=True),
            train_ids=batch.train_ids.to(device, non_blocking=True),
        )
        return copied, side.record_event()


def _mark(device: torch.device) -> torch.cuda.Event:
    """Return the event that the current stream has done all that it was given so far."""
    event: torch.cuda.Event = torch.cuda.current_stream(device).record_event()
    return event


def _hand_over(batch: Batch, arrived: torch.cuda.Event, device: torch.device) -> Batch:
    """Let the current stream wait for a batch, and its memory outlive the stream's use of it."""
    current = torch.cuda.current_stream(device)
    current.wait_event(arrived)
    batch.images.record_stream(current)
    batch.train_ids.record_stream(current)
    return batch
