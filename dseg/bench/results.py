"""The file of all figures of ``dseg bench``: written after each network, read to resume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dseg.bench.config import TIMED_ROWS, BenchConfig
from dseg.bench.machine import describe_machine, describe_memory
from dseg.bench.report import Report
from dseg.errors import DsegError
from dseg.jsonio import read_object

VARIED = ("runtime", "dtype")  # settings that differ between the reports of a file
FREE = ("samples", "seconds", "warmup")  # settings that may differ between parts of a file


def make_facts(
    reports: Sequence[Report], configs: Sequence[BenchConfig], weights: Path | None = None
) -> dict[str, Any]:
    """Return all figures for JSON.

    Args:
        reports: one for each network and configuration.
        configs: configurations that differ in runtime and precision only.
        weights: checkpoint or exported file of the only network; None for random weights.
    """
    first = configs[0]
    settings = {key: value for key, value in asdict(first).items() if key not in VARIED}
    settings |= {"size": list(first.size), "measured": list(first.measured)}
    return {
        "machine": describe_machine(*configs),
        "settings": settings | {"weights": None if weights is None else str(weights)},
        "rows": {row.replace(" ", "_"): meaning for row, meaning in TIMED_ROWS.items()},
        "peak_memory": describe_memory(first),
        "networks": [report.as_dict() for report in reports],
    }


def read_reports(
    path: Path, configs: Sequence[BenchConfig], weights: Path | None = None
) -> list[Report]:
    """Return the reports without a fault of a file that ``make_facts`` describes.

    Args:
        path: the file; if it does not exist, nothing was measured.
        configs, weights: what is measured now.

    Raises:
        DsegError: the file is damaged, or of another machine, version or setting.
    """
    if not path.exists():
        return []
    now = _conditions(make_facts((), configs, weights))
    try:
        found = read_object(path)
        reports = [Report.from_dict(entry) for entry in found["networks"]]
        before = _conditions(found)
    except (OSError, ValueError, LookupError, TypeError) as fault:
        raise DsegError(
            f"{path} has no figures of dseg bench that can be continued.",
            hint="name another --json file, or leave out --resume.",
        ) from fault
    for name in (name for name in now if name in before):  # a runtime may be new
        if before[name] != now[name]:
            raise DsegError(
                f"{path} was measured with {name} {before[name]}, not {now[name]}.",
                hint="name another --json file, or leave out --resume.",
            )
    return [report for report in reports if not report.fault]


def _conditions(facts: dict[str, Any]) -> dict[str, Any]:
    """Return what all figures of a file have in common."""
    machine = dict(facts["machine"])
    found = {**dict(machine.pop("versions")), **machine, **dict(facts["settings"])}
    return {name: value for name, value in found.items() if name not in FREE}
