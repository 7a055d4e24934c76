"""Plots of a run as PNGs, drawn by matplotlib: curves, IoU of each class, confusion matrix."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dseg.files import written_whole
from dseg.labels import LabelSpace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MetricRows = Sequence[dict[str, Any]]
Values = NDArray[np.float64]
CURVES = (7.5, 4.5)  # inches, width and height of a plot of curves
DPI = 120
SMOOTH = 0.04  # fraction of all rows in the window of the moving median
SMOOTH_POINTS = 500
DOTTED = 60  # number of values from which on a curve has no dots
WITH_NUMBERS = 40  # classes; cells of a larger matrix are too small for numbers
NAME_LENGTH = 24  # characters; longer names of classes are shortened
LEAST_SHOWN = 0.5  # percent; less would be shown as 0
TRAINING, VALIDATION, SECONDARY, MARK = "tab:blue", "tab:orange", "0.45", "tab:red"


def write_loss_plot(rows: MetricRows, path: Path) -> None:
    """Draw training loss, validation loss (if any) and learning rate over epochs.

    Without a training row nothing is written.

    Args:
        rows: rows of ``metrics.jsonl``.
        path: PNG file to write.

    Raises:
        DsegError: the file cannot be written.
    """
    epochs, losses = _find_curve(rows, "train", "loss")
    if not len(losses):
        return
    with _matplotlib():
        figure, axes = _make_axes("Loss", "epoch", "loss", CURVES)
        rate = axes.twinx()
        rates = _find_curve(rows, "train", "lr")
        rate.plot(*rates, color=SECONDARY, ls="--", lw=1)
        rate.set_ylabel("learning rate (dashed)", color=SECONDARY)
        rate.set_ylim(0, 1.1 * max(*rates[1], 1e-9))
        rate.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
        axes.plot(epochs, losses, color=TRAINING, alpha=0.3, lw=0.8)
        axes.plot(*_smooth(epochs, losses), **_dots(losses), color=TRAINING, label="training")
        others = _find_curve(rows, "val", "loss")
        if len(others[1]):
            axes.plot(*others, **_dots(others[1]), color=VALIDATION, label="validation")
            axes.legend(loc="upper right")
        # the quantile: a few outliers would flatten the curve
        axes.set_ylim(0, 1.1 * float(max(np.quantile(losses, 0.99), *others[1], 1e-9)))
        axes.set_xlim(left=0)
        axes.set_zorder(rate.get_zorder() + 1)
        axes.patch.set_visible(False)
        _save(figure, path)


def write_miou_plot(rows: MetricRows, path: Path) -> None:
    """Draw mean IoU and pixel accuracy of the validations over epochs, and mark the best mean IoU.

    Without a validation nothing is written.

    Args:
        rows: rows of ``metrics.jsonl``.
        path: PNG file to write.

    Raises:
        DsegError: the file cannot be written.
    """
    epochs, scores = _find_curve(rows, "val", "miou", 100)
    if not len(scores):
        return
    best = int(np.argmax(scores))
    with _matplotlib():
        figure, axes = _make_axes("Validation", "epoch", "score (%)", CURVES)
        accuracy = _find_curve(rows, "val", "pixel_accuracy", 100)
        axes.plot(*accuracy, **_dots(scores), color=SECONDARY, label="pixel accuracy")
        axes.plot(epochs, scores, **_dots(scores), color=VALIDATION, label="mean IoU")
        label = f"best: {scores[best]:.1f} % at epoch {epochs[best]:.4g}"
        axes.plot(epochs[best], scores[best], "o", color=MARK, mfc="none", ms=10, label=label)
        axes.set_xlim(left=0)
        axes.set_ylim(0, 100)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, frameon=False)
        _save(figure, path)


def write_confusion_plot(matrix: NDArray[np.int64], space: LabelSpace, path: Path) -> None:
    """Draw a confusion matrix in percent of each true class; rows of absent classes are grey.

    Args:
        matrix: (K, K) pixel counts, ground truth by prediction.
        space: the K classes.
        path: PNG file to write.

    Raises:
        DsegError: the file cannot be written.
    """
    totals = matrix.sum(1, keepdims=True)
    percent = np.where(totals > 0, 100 * matrix / np.maximum(totals, 1), np.nan)
    numbered = len(matrix) <= WITH_NUMBERS
    side = 2.2 + (0.36 if numbered else 0.15) * max(len(matrix), 8)
    with _matplotlib():
        title = "Prediction of each class's pixels (% of the class)"
        figure, axes = _make_axes(title, "predicted class", "true class", (side, side))
        axes.grid(visible=False)
        shown = axes.imshow(percent, cmap=_make_colormap(), vmin=0, vmax=100)
        _name_ticks(axes, space.names, 8 if numbered else 6)
        if numbered:
            _number_cells(axes, percent)
        else:
            figure.colorbar(shown, shrink=0.6, label="%")
        _save(figure, path)


def write_iou_plot(
    class_iou: Mapping[str, float], mean_iou: float, epoch: float, space: LabelSpace, path: Path
) -> None:
    """Draw the IoU of each class as a bar in the class's colour, and the mean as a line.

    A class without pixels in both truth and prediction, or that masks cannot contain, has a dash.

    Args:
        class_iou: IoU by class name, 0 to 1, NaN for none.
        mean_iou: mean IoU, 0 to 1.
        epoch: passes over the training split at the validation.
        space: the classes.
        path: PNG file to write.

    Raises:
        DsegError: the file cannot be written.
    """
    names, values = list(class_iou), 100 * np.array(list(class_iou.values()))
    known = np.isfinite(values)
    colors = np.array(space.colors) / 255
    with _matplotlib():
        title = f"IoU of each class at epoch {epoch:.4g} (mean {100 * mean_iou:.1f} %)"
        height = 1.3 + 0.23 * max(len(names), 4)
        figure, axes = _make_axes(title, "IoU (%)", "", (CURVES[0], height))
        axes.grid(visible=False, axis="y")
        places = np.arange(len(names))
        bars = np.where(known, values, 0)
        axes.barh(places, bars, color=colors, edgecolor=SECONDARY, lw=0.6, height=0.75)
        for place, value in enumerate(values):
            text = f"{value:.1f}" if known[place] else "-"
            axes.text(bars[place] + 0.8, place, text, va="center", fontsize=8)
        if np.isfinite(mean_iou):
            axes.axvline(100 * mean_iou, color=VALIDATION, ls="--", lw=1.2)
        short = [_shorten(name) for name in names]
        axes.set_yticks(places, short, fontsize=8, parse_math=False)
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0, 106)
        axes.set_ylim(len(names) - 0.5, -0.5)
        _save(figure, path)


def _shorten(name: str) -> str:
    return name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 3]}..."


def _name_ticks(axes: Axes, names: Sequence[str], size: int) -> None:
    """Write the names of the classes along both axes, without parsing them as formulas."""
    short = [_shorten(name) for name in names]
    positions = range(len(short))
    axes.set_xticks(positions, short, rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(positions, short, fontsize=size, parse_math=False)
    axes.tick_params(length=0)


def _number_cells(axes: Axes, percent: Values) -> None:
    for row, column in zip(*np.nonzero(percent >= LEAST_SHOWN), strict=True):
        value = percent[row, column]
        color = "white" if value > 55 else "black"
        text = f"{value:.0f}"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=7.5)


def _find_curve(
    rows: MetricRows, kind: str, name: str, factor: float = 1.0
) -> tuple[Values, Values]:
    """Return epochs and values of the rows of a kind in which the named value is finite."""
    points = [(row.get("epoch"), row.get(name)) for row in rows if row.get("kind") == kind]
    known = [p for p in points if all(isinstance(v, (int, float)) and np.isfinite(v) for v in p)]
    epochs, values = np.array(known, np.float64).reshape(-1, 2).T
    return epochs, factor * values


def _smooth(epochs: Values, values: Values) -> tuple[Values, Values]:
    """Return a moving median at up to ``SMOOTH_POINTS`` epochs; its window is cut at both ends.

    A moving mean would show one outlier as a plateau.
    """
    half = round(SMOOTH * len(values) / 2)
    count = min(len(values), SMOOTH_POINTS)
    centers = np.linspace(0, len(values) - 1, count).round().astype(int)
    medians = [np.median(values[max(index - half, 0) : index + half + 1]) for index in centers]
    return epochs[centers], np.array(medians)


def _dots(values: Values) -> dict[str, Any]:
    """Return a line's style: curves of few points, even of one, have dots."""
    return {"marker": ".", "ms": 7} if len(values) < DOTTED else {}


def _make_colormap() -> Any:
    from matplotlib import colormaps

    colors = colormaps["Blues"].copy()
    colors.set_bad("0.85")
    return colors


@contextmanager
def _matplotlib() -> Iterator[None]:
    """Use matplotlib's default style, not the user's, and suppress its warnings about fonts."""
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        from matplotlib import style

        with warnings.catch_warnings(), style.context("default"):
            warnings.simplefilter("ignore")  # about characters missing in its font
            yield
    finally:
        log.setLevel(level)


def _make_axes(
    title: str, x_label: str, y_label: str, size: tuple[float, float]
) -> tuple[Figure, Axes]:
    """Make a figure with axes, without pyplot's global state.

    Args:
        size: width and height in inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(visible=True, alpha=0.3)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    with written_whole(path) as part:
        figure.savefig(part, format="png")
