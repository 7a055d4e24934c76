"""Figures: the plots and drawn predictions in the folder of a run, kept up to date cheaply."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from dseg.labels import LabelSpace
from dseg.training.metrics import MetricsFile
from dseg.training.plots import (
    write_confusion_plot,
    write_iou_plot,
    write_loss_plot,
    write_miou_plot,
)
from dseg.training.sheets import write_predictions
from dseg.training.validate import Validation

SPARING = 20  # drawing takes at most one part in so many of the time


class Figures:
    """Draws the figures of a run after the first summary, then so often that it takes little time.

    Args:
        run: folder of the run.
        space: the classes.
        metrics: rows of the run.
        clock: returns seconds; for tests.
    """

    def __init__(
        self,
        run: Path,
        space: LabelSpace,
        metrics: MetricsFile,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._run, self._space, self._metrics, self._clock = run, space, metrics, clock
        self._due_at, self._stale = -1.0, False
        self._latest: tuple[Validation, float] | None = None

    def update(self, validation: Validation | None = None, epoch: float = 0.0) -> None:
        """Draw the figures if it is time for it; ``close`` draws them otherwise.

        Args:
            validation: the latest validation, if there was one.
            epoch: passes over the training split at that time.
        """
        if validation is not None:
            self._latest = validation, epoch
        self._stale = True
        if self._clock() >= self._due_at:
            self._draw()

    def close(self) -> None:
        """Draw the figures if they are not those of the latest rows."""
        if self._stale:
            self._draw()

    def _draw(self) -> None:
        begun = self._clock()
        rows = self._metrics.read()
        write_loss_plot(rows, self._run / "loss.png")
        if self._latest is not None:
            found, epoch = self._latest
            write_miou_plot(rows, self._run / "miou.png")
            write_iou_plot(
                found.class_iou, found.mean_iou, epoch, self._space, self._run / "iou.png"
            )
            write_confusion_plot(found.matrix, self._space, self._run / "confusion.png")
            samples = [
                (name, pair.image, pair.train_ids, prediction)
                for name, pair, prediction in found.drawn
            ]
            write_predictions(samples, self._space, self._run / "predictions")
        now = self._clock()
        self._due_at, self._stale = now + (SPARING - 1) * (now - begun), False
