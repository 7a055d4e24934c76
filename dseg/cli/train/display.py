"""How a training run is shown on stderr: a summary, a table with a bar below it, or plain lines."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dseg.cli.console import PLAIN_EVERY_S, PLAIN_WIDTH, TwoPartBar, plain, say, two_part_bar
from dseg.cli.train.wording import Columns, describe_left, make_cells, show_speed
from dseg.cli.wrapping import wrap_facts

if TYPE_CHECKING:
    from dseg.parallel import Advance
    from dseg.training.callbacks import Start, Summary

HEADER_EVERY = 20  # rows between two headers of the table
REFRESH_S = 0.5  # between updates of the numbers beside the bar
BEST = "* best so far, saved as best.safetensors"


class TrainingDisplay:
    """Progress of a run on stderr.

    On a terminal a table has a row for each summary, and a bar below it moves with each step. Off a
    terminal there is a line for each summary, and one for the steps every ten seconds.

    Args:
        start: the run.
        bar: the bar; None for plain lines.
        quiet: show messages only.
        clock: returns seconds; for tests.
    """

    def __init__(
        self,
        start: Start,
        *,
        bar: TwoPartBar | None = None,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._run, self._bar, self._quiet, self._clock = start, bar, quiet, clock
        self._step, self._begun = start.first, clock()
        self._shown = self._refreshed = -math.inf
        self._numbers: list[str] = []  # of the last row of metrics, the most important first
        self._rows, self._columns = 0, Columns(start)
        self.say_facts(start.facts)
        self.step(start.first)

    def step(self, step: int) -> None:
        """Show that a step was done."""
        self._step = step
        if self._bar is not None:
            begin, end = self._interval()
            self._bar.move(step - begin, end - begin)
            self._refresh()

    def _interval(self) -> tuple[int, int]:
        """Return the steps between which the bar moves now: from one summary to the next."""
        every = self._run.every or self._run.steps
        begin = max(self._step - 1, 0) // every * every
        return begin, min(begin + every, self._run.steps)

    def _refresh(self, *, now: bool = False) -> None:
        """Update the words beside the bar, at most every ``REFRESH_S`` unless ``now``."""
        if self._bar is None or not (now or self._clock() >= self._refreshed + REFRESH_S):
            return
        self._refreshed = self._clock()
        begin, end = self._interval()
        if self._run.in_steps:
            before, done = f"step {self._step:,}/{self._run.steps:,}", []
        else:
            epochs = self._run.epochs
            epoch = math.ceil(round(self._step * epochs / self._run.steps, 4))
            before = f"epoch {max(epoch, 1)}/{math.ceil(round(epochs, 4))}"
            done = [f"step {self._step - begin}/{end - begin}"]
        left = [f"{self._left()} left"] if self._step > self._run.first else []
        loss, others = self._numbers[:1], self._numbers[1:]
        self._bar.write(before, [*left, *loss, *done, *others])

    def _left(self) -> str:
        done = max(self._step - self._run.first, 1)
        seconds = (self._clock() - self._begun) / done * (self._run.steps - self._step)
        return describe_left(seconds)

    def train(
        self, step: int, *, epoch: float, loss: float, lr: float, images_per_s: float
    ) -> None:
        """Show a row of metrics."""
        self._step, now = step, self._clock()
        speed = f"{show_speed(images_per_s)} images/s"
        self._numbers = [f"loss {loss:.3f}", speed, f"lr {lr:.1e}"]
        self._refresh(now=True)
        due = now - self._shown >= PLAIN_EVERY_S or step == self._run.steps
        if self._bar is None and not self._quiet and due:
            self._shown = now
            say(
                f"step {step}/{self._run.steps}  epoch {epoch:.1f}  loss {loss:.3f}  "
                f"lr {lr:.1e}  {speed}  left {self._left()}"
            )

    def validating(self, images: int) -> Advance:
        """Show that a validation begins; return a function to call after each image."""
        done, last = 0, self._clock()
        if self._bar is not None:
            self._bar.move(0, images)

        def advance() -> None:
            nonlocal done, last
            done += 1
            if self._bar is not None:
                self._bar.move(done, images)
                self._bar.write("validating", [f"image {done}/{images}"])
            elif not self._quiet and self._clock() >= last + PLAIN_EVERY_S:
                last = self._clock()
                say(f"validating: {done}/{images} images")

        return advance

    def summary(self, summary: Summary) -> None:
        """Show a row of the table, or off a terminal a line."""
        if self._quiet:
            return
        self._step = summary.step
        cells = make_cells(summary, self._run, self._left())
        if self._bar is None:
            say(self._columns.line(cells, summary.seconds))
            return
        width = self._bar.width
        if self._rows % HEADER_EVERY == 0:
            if summary.miou is not None and self._rows == 0:
                self.say(BEST)
            self.say(self._columns.header(width))
        self._rows += 1
        self.say(self._columns.row(cells, width))
        self.step(summary.step)
        self._refresh(now=True)

    def say_facts(self, facts: Sequence[tuple[str, str]]) -> None:
        """Show facts as aligned lines, ``(name, text)``."""
        if not self._quiet:
            for line in wrap_facts(facts, PLAIN_WIDTH if self._bar is None else self._bar.width):
                self.say(line)

    def say(self, text: str) -> None:
        """Show a line, above the bar if there is one."""
        if self._bar is None:
            say(text)
        else:
            self._bar.say(plain(text))


@contextmanager
def training_display(start: Start, *, quiet: bool = False) -> Iterator[TrainingDisplay]:
    """Show the progress of a run."""
    if quiet or not sys.stderr.isatty():
        yield TrainingDisplay(start, quiet=quiet)
        return
    with two_part_bar() as bar:
        yield TrainingDisplay(start, bar=bar)
