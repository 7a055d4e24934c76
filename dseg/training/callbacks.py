"""Conditions: what a run computes under, which changes nothing of what it computes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from dseg.training.validate import Validation


class Display(Protocol):
    """Where a run says how it is getting on."""

    def train(
        self, step: int, *, epoch: float, loss: float, lr: float, images_per_s: float
    ) -> None:
        """Show a row of metrics."""

    def validated(self, step: int, *, miou: float, best: float, seconds: float) -> None:
        """Show a validation."""

    def say(self, text: str) -> None:
        """Show a line."""


Show = Callable[[int, int], AbstractContextManager[Display]]  # (steps, steps done)


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """When a run does what besides training.

    Attributes:
        steps: optimizer steps in all.
        validate_every: steps from one validation to the next; 0 for the last step alone.
        save_every: seconds from one saved state to the next.
        log_every: steps from one row of metrics to the next.
        draw: images that each validation keeps to be drawn.
    """

    steps: int
    validate_every: int
    save_every: float = 60.0
    log_every: int = 10
    draw: int = 4

    def validates(self, step: int) -> bool:
        """Return True if a validation follows so many steps."""
        regular = self.validate_every > 0 and step > 0 and step % self.validate_every == 0
        return regular or step == self.steps

    def logs(self, step: int) -> bool:
        """Return True if a row of metrics follows so many steps."""
        return step % self.log_every == 0 or step == self.steps


class Callbacks(Protocol):
    """What becomes of rows, validations and states; called on the main process only."""

    def row(self, row: dict[str, Any]) -> None:
        """Take a row of training metrics."""

    def validated(
        self, step: int, epoch: float, found: Validation, better: bool, seconds: float
    ) -> None:
        """Take a validation of the network with the scored weights."""

    def save(self, state: dict[str, Any]) -> None:
        """Keep a state on disk."""


class Outcome(NamedTuple):
    """How a run ended.

    Attributes:
        step: steps done.
        stopped: whether it was told to stop before all was done.
        best: the best validation mIoU, minus infinity for none.
        idle: whether nothing was left to do.
    """

    step: int
    stopped: bool
    best: float
    idle: bool = False
