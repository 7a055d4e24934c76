"""Plot published scores over milliseconds, with numbered points and a legend, by matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from dseg.bench.report import Report
from dseg.bench.text import name_variant
from dseg.errors import DsegError
from dseg.files import written_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

PLOT_SUFFIXES = ("png", "svg", "pdf")
ROW = "labels"  # the result is the same for every network, whatever the size of its logits
WIDTH, PLOT_HEIGHT = 10.0, 6.0  # inches, without the legend
COLUMNS, ROW_HEIGHT = 3, 0.135  # of the legend; inches
SCORED, UNSCORED = "tab:blue", "0.45"
COLORS = ("tab:blue", "tab:cyan", "tab:red", "tab:orange", "tab:green", "tab:olive", "tab:purple")
Variant = tuple[str, str]  # runtime, key of DTYPES


def check_plot(path: Path) -> None:
    """Check that the suffix of a file names a format.

    Raises:
        DsegError: it does not; the hint lists the formats.
    """
    if path.suffix.lower().lstrip(".") not in PLOT_SUFFIXES:
        raise DsegError(
            f"{path} cannot be drawn: its suffix names no format.",
            hint=f"end it with one of: {', '.join(f'.{suffix}' for suffix in PLOT_SUFFIXES)}.",
        )


def write_plot(reports: Sequence[Report], title: str, path: Path) -> None:
    """Plot the published score over the milliseconds to labels; networks without a score below.

    Args:
        reports: those without a timing are left out.
        title: text above the plot.
        path: file to write; its suffix names the format, one of ``PLOT_SUFFIXES``.

    Raises:
        DsegError: the file cannot be written, or its suffix names no format.
    """
    check_plot(path)
    from matplotlib import style

    with style.context("default"):
        figure = draw(reports, title)
        with written_whole(path) as part:
            figure.savefig(part, format=path.suffix.lower().lstrip("."))


def draw(reports: Sequence[Report], title: str) -> Figure:
    """Draw the plot: networks are numbered by rising time, the legend below has their names.

    The points of a network that was measured in several variants are joined by a line, and the
    fastest has the number.
    """
    from matplotlib.figure import Figure

    timed = [report for report in reports if ROW in report.timings]
    variants = dict.fromkeys((report.runtime, report.dtype) for report in timed)
    networks: dict[str, dict[Variant, Report]] = {}
    for report in sorted(timed, key=_time):
        networks.setdefault(report.name, {})[report.runtime, report.dtype] = report
    height = PLOT_HEIGHT + ROW_HEIGHT * -(-len(networks) // COLUMNS)
    figure = Figure(figsize=(WIDTH, height), dpi=150, layout="constrained")
    scored, unscored = _make_axes(figure, title)
    colors = dict(zip(variants, cycle(COLORS), strict=False))
    handles = []
    for number, (name, found) in enumerate(networks.items(), 1):
        first = next(iter(found.values()))
        axes = scored if first.score is not None else unscored
        color = None if len(variants) > 1 else SCORED if axes is scored else UNSCORED
        y = -(number % 7) if first.score is None else first.score
        _draw_network(
            axes, y, number, {key: (_time(found[key]), color or colors[key]) for key in found}
        )
        times = " / ".join(f"{_time(found[key]):.0f}" if key in found else "-" for key in variants)
        handles.append(_make_handle(f"{number}  {name}, {times} ms", color or "none"))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=COLUMNS,
        fontsize=6.5,
        markerscale=0.5,
        handletextpad=0.2,
        columnspacing=1.0,
    )
    if len(variants) > 1:
        keys = [_make_handle(name_variant(*key), colors[key]) for key in variants]
        scored.legend(handles=keys, loc="lower right", fontsize=8, title="times in this order")
    return figure


def _time(report: Report) -> float:
    return report.timings[ROW].median_ms


def _draw_network(
    axes: Axes, y: float, number: int, points: dict[Variant, tuple[float, str]]
) -> None:
    """Draw the points of a network, from (milliseconds, colour) by variant, the fastest first."""
    times = [time for time, _ in points.values()]
    axes.plot(times, [y] * len(times), "-", color=UNSCORED, lw=0.5, alpha=0.5, zorder=1)
    for index, (time, color) in enumerate(points.values()):
        axes.plot(time, y, "o", color=color, mec="white", ms=5 if index else 9)
    axes.annotate(
        *(str(number), (times[0], y)), ha="center", va="center", color="white", fontsize=5.5
    )


def _make_handle(label: str, color: str) -> Line2D:
    from matplotlib.lines import Line2D

    return Line2D([], [], marker="o", ls="none", color=color, mec="white", ms=9, label=label)


def _make_axes(figure: Figure, title: str) -> tuple[Axes, Axes]:
    """Return the axes of networks with a score, and the strip below for those without."""
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    scored, unscored = figure.subplots(2, sharex=True, height_ratios=(5, 1))
    scored.set_title(title, fontsize=9)
    scored.set_ylabel("published Cityscapes mIoU (%)")
    scored.grid(visible=True, alpha=0.3)
    scored.set_xscale("log")
    unscored.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    unscored.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    unscored.minorticks_off()
    unscored.set_xlabel("milliseconds from images to labels, median of a batch")
    unscored.set_ylabel("no score", color=UNSCORED)
    unscored.set_yticks([])
    unscored.margins(y=0.25)
    return scored, unscored
