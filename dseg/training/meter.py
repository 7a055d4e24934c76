"""Measure the steps since the last row of metrics or the last summary: loss, speed, waiting."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")


class Waits:
    """The time that a run has waited for its data.

    Attributes:
        seconds: the time so far.
    """

    def __init__(self) -> None:
        self.seconds = 0.0

    def over(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items, and add up the time that each takes to arrive."""
        source = iter(items)
        while True:
            begun = time.monotonic()
            try:
                item = next(source)
            except StopIteration:
                return
            finally:
                self.seconds += time.monotonic() - begun
            yield item


@dataclass
class Meter:
    """Sums over some steps.

    Attributes:
        steps: number of steps.
        seconds: duration, with waits for data and for the device, without validations.
        waited: seconds of it that were spent waiting for data.
        loss, losses: sum and number of the losses that are known so far.
    """

    steps: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    loss: float = 0.0
    losses: int = 0

    def add_step(self, seconds: float, waited: float) -> None:
        """Add a step."""
        self.steps += 1
        self.seconds += seconds
        self.waited += waited

    def add_losses(self, losses: list[float], seconds: float) -> None:
        """Add losses that have become known, and the seconds of waiting for the device."""
        self.loss += sum(losses)
        self.losses += len(losses)
        self.seconds += seconds

    @property
    def mean_loss(self) -> float:
        """Mean of the known losses; NaN without any."""
        return self.loss / self.losses if self.losses else math.nan

    @property
    def waiting(self) -> float:
        """Fraction of the time that was spent waiting for data, 0 to 1."""
        return min(1.0, self.waited / max(self.seconds, 1e-9))

    def images_per_s(self, batch: int) -> float:
        """Speed, for batches of so many images."""
        return self.steps * batch / max(self.seconds, 1e-9)
