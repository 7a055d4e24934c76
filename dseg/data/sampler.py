"""Stream: an endless, reproducible sequence of augmented samples, and batches of it.

Position p of the stream is sample ``order(epoch)[p % n]`` of epoch ``p // n``, augmented by a
generator of (seed, epoch, index). Step s of a run reads positions ``s * batch`` onwards, dealt out
to processes and parts in turn. So what a step sees depends on nothing but the seed: not on the
number of processes, not on workers, not on where a run was interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dseg.errors import DsegError


@dataclass(frozen=True, kw_only=True)
class StepSampler:
    """Which positions of the stream each part of each step reads.

    Attributes:
        batch: samples a step, over all processes and parts.
        accumulate: parts of a process's share.
        rank, world_size: this process, and how many there are.
        local_size: how many of them share this machine's memory.
        first, last: the steps to read, ``last`` excluded.
    """

    batch: int
    accumulate: int = 1
    rank: int = 0
    world_size: int = 1
    local_size: int = 1
    first: int = 0
    last: int = 0

    def __iter__(self) -> Iterator[list[int]]:
        size = self.batch // (self.world_size * self.accumulate)
        for step in range(self.first, self.last):
            for part in range(self.accumulate):
                start = step * self.batch + (part * self.world_size + self.rank) * size
                yield list(range(start, start + size))

    def check(self) -> None:
        """Raise a DsegError if the batch cannot be dealt out evenly."""
        parts = self.world_size * self.accumulate
        if self.batch % parts:
            raise DsegError(
                f"A batch of {self.batch} cannot be dealt out to {self.world_size} processes "
                f"with {self.accumulate} parts each.",
                hint=f"use a multiple of {parts}: --set batch={-(-self.batch // parts) * parts}",
            )
