"""Words and numbers of the training display: facts, table, time left."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from dseg.training.callbacks import Start, Summary

WIDE = 76  # columns from which on the table has its long titles
LOSS_DIGITS = 1000.0  # loss from which on it has no decimals


class Cells(NamedTuple):
    """The values of a row of the table, as text."""

    at: str
    loss: str
    val_loss: str
    miou: str
    speed: str
    waiting: str
    left: str


# Titles of the columns: in a wide and in a narrow terminal.
TITLES: dict[str, tuple[str, str]] = {
    "at": ("epoch", "epoch"),
    "loss": ("train loss", "train"),
    "val_loss": ("val loss", "val"),
    "miou": ("mIoU %", "mIoU"),
    "speed": ("images/s", "img/s"),
    "waiting": ("data wait", "wait"),
    "left": ("time left", "left"),
}
LEAST = {"at": 5, "loss": 6, "val_loss": 6, "miou": 6, "speed": 6, "waiting": 5, "left": 8}


class Columns:
    """The columns of the table of a run.

    Args:
        start: the run.
    """

    def __init__(self, start: Start):
        self._first = "step" if start.in_steps else "epoch"
        self._shown = [n for n in TITLES if start.validated or n not in ("val_loss", "miou")]
        self._total = show_place(start.steps, start.epochs, in_steps=start.in_steps)

    def _fill(self, texts: Mapping[str, str], width: int) -> str:
        """Return texts in the columns for a terminal of ``width`` columns."""
        least = LEAST | {"at": max(LEAST["at"], len(self._total))}
        titles = self._titles(width)
        sizes = {name: max(len(titles[name]), least[name]) for name in self._shown}
        gap = "  " if sum(sizes.values()) + 2 * len(sizes) <= width else " "
        return gap.join(texts[name].rjust(size) for name, size in sizes.items())

    def _titles(self, width: int) -> dict[str, str]:
        return {name: pair[width < WIDE] for name, pair in TITLES.items()} | {"at": self._first}

    def header(self, width: int) -> str:
        """Return the header for a terminal of ``width`` columns."""
        titles = self._titles(width)
        return self._fill(titles | {"miou": f"{titles['miou']} "}, width)

    def row(self, cells: Cells, width: int) -> str:
        """Return a row for a terminal of ``width`` columns."""
        return self._fill(cells._asdict(), width)

    def line(self, cells: Cells, seconds: float) -> str:
        """Return a row as a line that explains itself, for logs.

        Args:
            cells: the values.
            seconds: duration of the validation.
        """
        words = [f"{self._first} {cells.at}/{self._total}", f"train loss {cells.loss}"]
        if cells.miou.strip() != "-" or cells.val_loss != "-":
            best = " (best so far)" if cells.miou.endswith("*") else ""
            words += [f"val loss {cells.val_loss}", f"mIoU {cells.miou.rstrip('* ')} %{best}"]
            words.append(f"validated in {seconds:.1f} s")
        words += [f"{cells.speed} images/s", f"{cells.waiting} waiting for data"]
        return "  ".join([*words, f"left {cells.left}"])


def make_cells(summary: Summary, start: Start, left: str) -> Cells:
    """Return the values of a row as text."""
    miou = "- "
    if summary.miou is not None and math.isfinite(summary.miou):
        miou = f"{100 * summary.miou:.1f}{'*' if summary.better else ' '}"
    return Cells(
        at=show_place(summary.step, summary.epoch, in_steps=start.in_steps),
        loss=_show_loss(summary.loss),
        val_loss=_show_loss(summary.val_loss),
        miou=miou,
        speed=show_speed(summary.images_per_s),
        waiting=f"{100 * summary.waiting:.0f} %",
        left=left,
    )


def show_place(step: int, epoch: float, *, in_steps: bool) -> str:
    """Return how far a run is: steps, or epochs with at most one decimal."""
    return f"{step}" if in_steps else f"{epoch:.1f}".removesuffix(".0")


def _show_loss(loss: float) -> str:
    if not math.isfinite(loss):
        return "-"
    return f"{loss:.3f}" if loss < LOSS_DIGITS else f"{loss:.2g}"


def show_speed(images_per_s: float) -> str:
    """Return a speed with three digits, "-" if no image was trained on yet."""
    if not images_per_s:
        return "-"
    return f"{images_per_s:.0f}" if images_per_s >= 100 else f"{images_per_s:#.3g}"


def describe_left(seconds: float) -> str:
    """Return a duration in at most 8 characters: ``0:09:56``, ``26:03:00`` or ``4 d 4 h``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours < 100:
        return f"{hours}:{minutes:02}:{rest:02}"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if days < 100 else f"{days} d"
