"""The networks as points: published score against milliseconds, drawn by matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dseg.bench.report import Report
from dseg.errors import DsegError
from dseg.files import written_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

PLOT_SUFFIXES = ("png", "svg", "pdf")
ROW = "labels"  # every network ends at the same thing in it, whatever size its logits have
DPI = 120
PLACES = [  # of a label around its point, in points of type; the first that is free
    (radius * x, radius * y)
    for radius in (7, 14, 22, 32)
    for x, y in (
        (1, 0),
        (0, 1),
        (0, -1),
        (-1, 0),
        (0.8, 0.8),
        (0.8, -0.8),
        (-0.8, 0.8),
        (-0.8, -0.8),
    )
]
STEP = 9.5  # points of type between the labels of networks without a score
KNOWN, UNKNOWN = "tab:blue", "0.45"


def check_plot(path: Path) -> None:
    """Refuse a file whose suffix says no format.

    Raises:
        DsegError: names those that there are.
    """
    if path.suffix.lower().lstrip(".") not in PLOT_SUFFIXES:
        raise DsegError(
            f"{path} cannot be drawn: its suffix names no format.",
            hint=f"end it with one of: {', '.join(f'.{suffix}' for suffix in PLOT_SUFFIXES)}.",
        )


def write_plot(reports: Sequence[Report], title: str, path: Path) -> None:
    """Draw the published score over the milliseconds to labels; networks without one below.

    Args:
        reports: those without a timing are left out.
        path: its suffix names the format, one of ``PLOT_SUFFIXES``.

    Raises:
        DsegError: the file cannot be written, or its suffix names no format.
    """
    check_plot(path)
    timed = [report for report in reports if ROW in report.timings]
    from matplotlib import style

    with style.context("default"):
        figure, scored, bare = _make_axes(title)
        # All points first: both axes then stand where the names are placed.
        _draw_points(scored, bare, timed)
        figure.draw_without_rendering()
        _name_scored(scored, [report for report in timed if report.score is not None])
        _name_bare(bare, [report for report in timed if report.score is None])
        with written_whole(path) as part:
            figure.savefig(part, format=path.suffix.lower().lstrip("."))


def _make_axes(title: str) -> tuple[Figure, Axes, Axes]:
    """Make a figure apart from pyplot's global state: points above, a strip of names below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    figure = Figure(figsize=(10, 7.5), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    scored, bare = figure.subplots(2, sharex=True, height_ratios=(4, 1.9))
    scored.set_title(title, fontsize=9)
    scored.set_ylabel("published Cityscapes mIoU (%)")
    scored.grid(visible=True, alpha=0.3)
    scored.set_xscale("log")
    scored.margins(0.08, 0.08)
    bare.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    bare.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    bare.minorticks_off()
    bare.set_xlabel("milliseconds from images to labels, median of a batch")
    bare.set_ylabel("no score", color=UNKNOWN)
    bare.set_yticks([])
    bare.set_ylim(0, 1)
    return figure, scored, bare


def _draw_points(scored: Axes, bare: Axes, reports: Sequence[Report]) -> None:
    """Draw a point for each score, and a tick for each network without one."""
    for report in reports:
        time = report.timings[ROW].median_ms
        if report.score is None:
            bare.plot(time, 1.0, "|", color=UNKNOWN, ms=14)
        else:
            scored.plot(time, report.score, "o", color=KNOWN, ms=5)


def _milliseconds(reports: Sequence[Report]) -> list[float]:
    return [report.timings[ROW].median_ms for report in reports]


def _name_scored(axes: Axes, reports: Sequence[Report]) -> None:
    """Write each point's name at the first place around it where nothing is yet."""
    points = [
        (time, report.score or 0.0)
        for time, report in zip(_milliseconds(reports), reports, strict=True)
    ]
    taken = [*_beside(axes), *(_around(axes, *point) for point in points)]
    for report, point in zip(reports, points, strict=True):
        label = axes.annotate(report.name, point, (0, 0), textcoords="offset points", fontsize=7.5)
        label.set_in_layout(False)
        taken.append(_place(label, taken))


def _beside(axes: Axes) -> list[Bbox]:
    """Return the pixels on all four sides of the axes, where no name should be."""
    from matplotlib.transforms import Bbox

    inside, far = axes.get_window_extent(), 1e5
    return [
        Bbox.from_extents(-far, -far, inside.x0, far),
        Bbox.from_extents(inside.x1, -far, far, far),
        Bbox.from_extents(-far, -far, far, inside.y0),
        Bbox.from_extents(-far, inside.y1, far, far),
    ]


def _around(axes: Axes, x: float, y: float) -> Bbox:
    """Return the pixels that a point covers."""
    from matplotlib.transforms import Bbox

    across, up = axes.transData.transform((x, y))
    return Bbox.from_extents(across - 4, up - 4, across + 4, up + 4)


def _place(label: Annotation, taken: Sequence[Bbox]) -> Bbox:
    """Move a label to the place where it covers least of what is drawn; return its pixels."""
    best, least = PLACES[0], np.inf
    for place in PLACES:
        covered = _covered(_extent(label, place), taken)
        if covered < least:
            best, least = place, covered
        if not covered:
            break
    return _extent(label, best)


def _extent(label: Annotation, place: tuple[float, float]) -> Bbox:
    """Move a label to an offset from its point; return the pixels that it covers there."""
    x, y = place
    label.set_position(place)
    label.set_horizontalalignment("left" if x > 0 else "right" if x < 0 else "center")
    label.set_verticalalignment("bottom" if y > 0 else "top" if y < 0 else "center")
    return label.get_window_extent()


def _covered(box: Bbox, others: Sequence[Bbox]) -> float:
    """Return how many pixels of the others a box covers."""
    from matplotlib.transforms import Bbox

    shared = (Bbox.intersection(box, other) for other in others)
    return sum(common.width * common.height for common in shared if common is not None)


def _name_bare(axes: Axes, reports: Sequence[Report]) -> None:
    """Write the names below their ticks, apart from each other."""
    reports = sorted(reports, key=lambda report: report.timings[ROW].median_ms)
    times = _milliseconds(reports)
    across = [axes.transData.transform((time, 1))[0] for time in times]
    for report, time, x, moved in zip(reports, times, across, _spread(across), strict=True):
        label = axes.annotate(
            report.name,
            (time, 0.95),
            ((moved - x) * 72 / DPI, -14),
            textcoords="offset points",
            rotation=90,
            ha="center",
            va="top",
            fontsize=6.5,
            color=UNKNOWN,
            arrowprops={"arrowstyle": "-", "lw": 0.5, "color": UNKNOWN},
        )
        label.set_in_layout(False)


def _spread(places: Sequence[float]) -> list[float]:
    """Move ascending places apart as little as that takes, and keep their middle."""
    step = STEP * DPI / 72
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + step) if moved else place)
    shift = (sum(places) - sum(moved)) / max(len(places), 1)
    return [place + shift for place in moved]
