"""Plot published scores over milliseconds, with numbered points and a legend, by matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dseg.bench.report import Report
from dseg.errors import DsegError
from dseg.files import written_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

PLOT_SUFFIXES = ("png", "svg", "pdf")
ROW = "labels"  # the result is the same for every network, whatever the size of its logits
ROWS = 50  # most rows of a column of the legend
SCORED, UNSCORED = "tab:blue", "0.45"


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
    """Draw the plot: points are numbered by rising time, the legend has their names."""
    from matplotlib.figure import Figure

    timed = [report for report in reports if ROW in report.timings]
    timed.sort(key=lambda report: report.timings[ROW].median_ms)
    columns = max(1, -(-len(timed) // ROWS))
    figure = Figure(figsize=(8 + 2.4 * columns, 7.5), dpi=120, layout="constrained")
    scored, unscored = _make_axes(figure, title)
    handles: list[Line2D] = []
    for number, report in enumerate(timed, 1):
        time, known = report.timings[ROW].median_ms, report.score is not None
        axes, color = (scored, SCORED) if known else (unscored, UNSCORED)
        y = -(number % 7) if report.score is None else report.score
        label = f"{number}  {report.name}, {time:.0f} ms"
        handles += axes.plot(time, y, "o", color=color, mec="white", ms=9, label=label)
        axes.annotate(
            *(str(number), (time, y)), ha="center", va="center", color="white", fontsize=5.5
        )
    figure.legend(
        handles=handles, loc="outside right upper", ncols=columns, fontsize=6.5, markerscale=0.5
    )
    return figure


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
