"""The intervals at which a run logs, validates and saves, its callbacks, and its outcome."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from dseg.models import SegModel
from dseg.parallel import Advance
from dseg.training.meter import Meter
from dseg.training.validate import Validation


class Summary(NamedTuple):
    """The steps since the last summary, and the validation after them; a row of the shown table.

    Attributes:
        step: optimizer steps done.
        epoch: passes over the training split.
        loss: mean training loss of the steps; NaN without any.
        val_loss: validation loss; NaN if there was no validation or it has no loss.
        miou: mean IoU of the validation, 0 to 1; None if there was none.
        better: True if it is higher than those before.
        images_per_s: training speed, without validation.
        waiting: fraction of the time that training waited for data, 0 to 1.
        seconds: duration of the validation.
    """

    step: int
    epoch: float
    loss: float
    val_loss: float
    miou: float | None
    better: bool
    images_per_s: float
    waiting: float
    seconds: float


class Display(Protocol):
    """Shows the progress of a run."""

    def step(self, step: int) -> None:
        """Show that a step was done; its loss may not be known yet."""

    def train(
        self, step: int, *, epoch: float, loss: float, lr: float, images_per_s: float
    ) -> None:
        """Show a row of metrics."""

    def validating(self, images: int) -> Advance:
        """Show that a validation begins; return a function to call after each image."""

    def summary(self, summary: Summary) -> None:
        """Show a summary of the steps since the last one."""

    def say(self, text: str) -> None:
        """Show a line."""

    def say_facts(self, facts: Sequence[tuple[str, str]]) -> None:
        """Show facts, as ``(name, text)``."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """A run before its first step, as it is displayed.

    Attributes:
        facts: descriptions of network, device, data and so on, as ``(name, text)``.
        steps: optimizer steps of the whole run.
        first: steps done before this process started.
        every: steps between summaries; 0 for one at the end.
        epochs: passes over the training split of the whole run.
        in_steps: True if the length of the run was given in steps, not in epochs.
        validated: False if there is no validation split.
    """

    facts: tuple[tuple[str, str], ...] = ()
    steps: int
    first: int = 0
    every: int = 0
    epochs: float = 0.0
    in_steps: bool = False
    validated: bool = True


Show = Callable[[Start], AbstractContextManager[Display]]


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """When a run logs, validates and saves.

    Attributes:
        steps: optimizer steps of the whole run.
        validate_every: steps between validations; 0 for one after the last step.
        save_every: seconds between saved states.
        log_every: steps between rows of metrics; there is one before each validation, too.
        draw: number of images to draw at each validation.
        summarise_every: steps between summaries without a validation; 0 for none.
    """

    steps: int
    validate_every: int
    save_every: float = 60.0
    log_every: int = 10
    draw: int = 4
    summarise_every: int = 0

    def validates(self, step: int) -> bool:
        """Return True if the run validates after so many steps."""
        regular = self.validate_every > 0 and step > 0 and step % self.validate_every == 0
        return regular or step == self.steps

    def logs(self, step: int) -> bool:
        """Return True if the run logs after so many steps."""
        return step % self.log_every == 0 or self.validates(step) or self.summarises(step)

    def summarises(self, step: int) -> bool:
        """Return True if the run summarises after so many steps, which it does not validate."""
        return self.summarise_every > 0 and step % self.summarise_every == 0


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


def make_summary(
    step: int, epoch: float, meter: Meter, batch: int, event: Validated | None
) -> Summary:
    """Summarise steps of ``batch`` images, and the validation after them if there was one."""
    loss = None if event is None else event.scores.loss
    return Summary(
        step=step,
        epoch=epoch,
        loss=meter.mean_loss,
        val_loss=math.nan if loss is None else loss,
        miou=None if event is None else event.scores.mean_iou,
        better=event is not None and event.better,
        images_per_s=meter.images_per_s(batch),
        waiting=meter.waiting,
        seconds=0.0 if event is None else event.seconds,
    )


class Callbacks:
    """Callbacks of the training loop, called on the main process only; they do nothing."""

    def step(self, step: int) -> None:
        """Be called after each step, for which nothing waits for the device."""

    def row(self, row: dict[str, Any]) -> None:
        """Receive a row of training metrics."""

    def validating(self, images: int) -> Advance:
        """Return a function that is called after each of this process's images of a validation."""
        return lambda: None

    def validated(self, event: Validated) -> None:
        """Receive a validation."""

    def summary(self, summary: Summary) -> None:
        """Receive a summary, after ``validated`` if there was a validation."""

    def save(self, state: dict[str, Any]) -> None:
        """Save a state."""


class Outcome(NamedTuple):
    """The outcome of a run.

    Attributes:
        step: optimizer steps done.
        stopped: True if it was stopped before the last step.
        best: best validation mIoU, 0 to 1; minus infinity for none.
        idle: True if there was nothing left to do.
        early: True if it ended early, as the mean IoU no longer improved (``patience``).
    """

    step: int
    stopped: bool
    best: float
    idle: bool = False
    early: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the outcome for run.json: ``step``, ``stopped`` and ``early``."""
        return {"step": self.step, "stopped": self.stopped, "early": self.early}
