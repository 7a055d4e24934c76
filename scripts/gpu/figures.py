"""Tables and plots of the jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dseg.files import written_whole

DPI = 100


def write_table(rows: Sequence[Mapping[str, str]], path: Path) -> None:
    """Write rows with the same columns as a Markdown table."""
    columns = list(rows[0]) if rows else []
    lines = [columns, ["---"] * len(columns), *([row[key] for key in columns] for row in rows)]
    with written_whole(path) as file:
        file.write_text("".join(f"| {' | '.join(cells)} |\n" for cells in lines), encoding="utf-8")


def draw_curves(
    curves: Mapping[str, Sequence[tuple[float, float]]], path: Path, x: str, y: str
) -> None:
    """Draw a curve of points (x, y) for each name."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.5), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    for name, points in curves.items():
        axes.plot([a for a, _ in points], [b for _, b in points], marker=".", label=name)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    axes.legend()
    with written_whole(path) as file:
        figure.savefig(file, format="png")


def draw_bars(values: Mapping[str, float], path: Path, x: str) -> None:
    """Draw a horizontal bar with its value for each name, the longest at the top; log scale."""
    from matplotlib.figure import Figure

    ordered = sorted(values.items(), key=lambda item: item[1])
    figure = Figure(figsize=(8, 1.2 + 0.16 * len(ordered)), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    bars = axes.barh([name for name, _ in ordered], [value for _, value in ordered])
    axes.bar_label(bars, fmt="%.3g", fontsize=6, padding=2)
    axes.tick_params(axis="y", labelsize=6)
    axes.set_ylim(-0.6, len(ordered) - 0.4)
    axes.set_xscale("log")
    axes.set_xlabel(x)
    with written_whole(path) as file:
        figure.savefig(file, format="png")
