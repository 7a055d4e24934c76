"""The curves of a run and its confusion matrix, as PNGs, drawn by matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dseg.images import written_whole
from dseg.labels import LabelSpace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Sequence[dict[str, Any]]
SMOOTH = 0.02  # share of all rows that one point of the smooth curve averages


def write_loss_plot(rows: Rows, path: Path) -> None:
    """Draw the training loss and the learning rate over epochs; nothing without rows.

    Args:
        rows: of ``metrics.jsonl``.
        path: a PNG.
    """
    points = [row for row in rows if row["kind"] == "train" and row["loss"] is not None]
    if not points:
        return
    figure, axes = _make_axes("Training loss", "epoch", "loss")
    epochs = [row["epoch"] for row in points]
    losses = np.array([row["loss"] for row in points])
    axes.plot(epochs, losses, color="tab:blue", alpha=0.3, linewidth=0.8)
    axes.plot(epochs, _smooth(losses), color="tab:blue", label="loss")
    axes.set_ylim(bottom=0, top=float(np.quantile(losses, 0.99)) * 1.1 or None)
    rate = axes.twinx()
    rate.plot(epochs, [row["lr"] for row in points], color="tab:gray", linewidth=0.8)
    rate.set_ylabel("learning rate", color="tab:gray")
    rate.set_ylim(bottom=0)
    rate.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    _save(figure, path)


def write_miou_plot(rows: Rows, path: Path) -> None:
    """Draw the validation's mean IoU and pixel accuracy over epochs, the best one marked.

    Args:
        rows: of ``metrics.jsonl``.
        path: a PNG.
    """
    points = [row for row in rows if row["kind"] == "val" and row["miou"] is not None]
    if not points:
        return
    figure, axes = _make_axes("Validation", "epoch", "%")
    epochs = [row["epoch"] for row in points]
    scores = [100 * row["miou"] for row in points]
    marker = "." if len(points) < 60 else ""
    axes.plot(
        epochs,
        [100 * (row["pixel_accuracy"] or 0) for row in points],
        color="tab:gray",
        marker=marker,
        label="pixel accuracy",
    )
    axes.plot(epochs, scores, color="tab:orange", marker=marker, label="mean IoU")
    best = int(np.argmax(scores))
    axes.plot(epochs[best], scores[best], "o", color="tab:red", fillstyle="none", markersize=9)
    axes.annotate(
        f"{scores[best]:.1f}",
        (epochs[best], scores[best]),
        textcoords="offset points",
        xytext=(0, -16),
        ha="center",
        color="tab:red",
    )
    axes.set_ylim(0, 100)
    axes.legend(loc="lower right")
    _save(figure, path)


def write_confusion_plot(matrix: NDArray[np.int64], space: LabelSpace, path: Path) -> None:
    """Draw where the pixels of each class went, in percent of the class.

    Args:
        matrix: (K, K), ground truth by prediction.
        space: the K classes.
        path: a PNG.
    """
    totals = matrix.sum(1, keepdims=True)
    share = np.where(totals > 0, 100 * matrix / np.maximum(totals, 1), np.nan)
    side = 2.2 + 0.36 * len(matrix)
    figure, axes = _make_axes("Pixels of each class, %", "predicted", "true", (side, side))
    colors = _colormap()
    axes.imshow(share, cmap=colors, vmin=0, vmax=100)
    names = list(space.names)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.grid(visible=False)
    for row, column in zip(*np.nonzero(share >= 0.5), strict=True):
        value = share[row, column]
        color = "white" if value > 55 else "black"
        axes.text(*(column, row, f"{value:.0f}"), ha="center", va="center", color=color, fontsize=7)
    _save(figure, path)


def _colormap() -> Any:
    from matplotlib import colormaps

    colors = colormaps["Blues"].copy()
    colors.set_bad("0.85")  # a class without pixels
    return colors


def _make_axes(
    title: str, across: str, up: str, size: tuple[float, float] = (7.5, 4.5)
) -> tuple[Figure, Axes]:
    """Make a figure apart from matplotlib's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(visible=True, alpha=0.3)
    return figure, axes


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    width = max(1, round(SMOOTH * len(values)))
    sums = np.cumsum(np.insert(values, 0, 0.0))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - width, 0)
    smooth: NDArray[np.float64] = (sums[ends] - sums[starts]) / (ends - starts)
    return smooth


def _save(figure: Figure, path: Path) -> None:
    with written_whole(path) as part:
        figure.savefig(part, format="png")
