"""The intervals at which a run logs, validates and saves, its callbacks, and its outcome."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from dseg.models import SegModel
from dseg.training.validate import Validation


class Display(Protocol):
    """Shows the progress of a run."""

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
    """When a run logs, validates and saves.

    Attributes:
        steps: optimizer steps of the whole run.
        validate_every: steps between validations; 0 for one after the last step.
        save_every: seconds between saved states.
        log_every: steps between rows of metrics.
        draw: number of images to draw at each validation.
    """

    steps: int
    validate_every: int
    save_every: float = 60.0
    log_every: int = 10
    draw: int = 4

    def validates(self, step: int) -> bool:
        """Return True if the run validates after so many steps."""
        regular = self.validate_every > 0 and step > 0 and step % self.validate_every == 0
        return regular or step == self.steps

    def logs(self, step: int) -> bool:
        """Return True if the run logs after so many steps."""
        return step % self.log_every == 0 or step == self.steps


class Validated(NamedTuple):
    """A validation, as callbacks receive it.

    Attributes:
        step: optimizer steps done.
        epoch: passes over the training split.
        scores: the scores.
        network: the network that was scored: with the EMA weights if the recipe has them.
        better: True if its mean IoU is higher than those before.
        best: best mean IoU so far, 0 to 1.
        seconds: duration.
    """

    step: int
    epoch: float
    scores: Validation
    network: SegModel
    better: bool
    best: float
    seconds: float


class Callbacks(Protocol):
    """Callbacks of the training loop, called on the main process only."""

    def row(self, row: dict[str, Any]) -> None:
        """Receive a row of training metrics."""

    def validated(self, event: Validated) -> None:
        """Receive a validation."""

    def save(self, state: dict[str, Any]) -> None:
        """Save a state."""


class Outcome(NamedTuple):
    """The outcome of a run.

    Attributes:
        step: optimizer steps done.
        stopped: True if it was stopped before the last step.
        best: best validation mIoU, 0 to 1; minus infinity for none.
        idle: True if there was nothing left to do.
    """

    step: int
    stopped: bool
    best: float
    idle: bool = False
