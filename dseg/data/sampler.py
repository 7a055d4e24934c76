"""StepSampler: the positions of the stream that each micro-batch of each step reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dseg.errors import DsegError


@dataclass(frozen=True, kw_only=True)
class StepSampler:
    """The positions of the stream that each micro-batch of each step reads, in this process.

    Step s of a run reads the ``batch`` positions from ``s * batch`` on, see ``Stream``. They are
    sharded over micro-batches and processes.

    Attributes:
        batch: number of samples per step, over all processes and micro-batches.
        accumulate: number of micro-batches per step and process.
        rank: index of this process.
        world_size: number of processes.
        local_size: number of processes on this machine, which share its memory.
        first: first step.
        last: step after the last one.
        unlabelled: number of unlabelled samples in each micro-batch, beside the others.
    """

    batch: int
    accumulate: int = 1
    rank: int = 0
    world_size: int = 1
    local_size: int = 1
    first: int = 0
    last: int = 0
    unlabelled: int = 0

    def __iter__(self) -> Iterator[list[int]]:
        size = self.batch // (self.world_size * self.accumulate)
        for step in range(self.first, self.last):
            for index in range(self.accumulate):
                place = index * self.world_size + self.rank
                start = step * self.batch + place * size
                count = self.world_size * self.accumulate
                more = (step * count + place) * self.unlabelled
                unlabelled = (-1 - position for position in range(more, more + self.unlabelled))
                yield [*range(start, start + size), *unlabelled]

    def check(self) -> None:
        """Raise a DsegError if the batch cannot be divided evenly into micro-batches."""
        count = self.world_size * self.accumulate
        if self.batch % count:
            raise DsegError(
                f"A batch of {self.batch} cannot be divided evenly among {self.world_size} "
                f"processes with {self.accumulate} micro-batches each.",
                hint=f"use a multiple of {count}: --set batch={-(-self.batch // count) * count}",
            )
