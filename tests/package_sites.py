"""Packages with entry points, as pip installs them, for one test."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from dseg.datasets import DATASETS
from dseg.registry import MODELS


def write_package(site: Path, entries: str, files: Mapping[str, str]) -> None:
    """Write the modules of a package named broken-streets and its entry points."""
    info = site / "broken_streets-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-streets\nVersion: 1\n")
    (info / "entry_points.txt").write_text(entries)
    for name, text in files.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)


@contextmanager
def installed(
    site: Path, entries: str, files: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Have a package importable in this process, and forget it afterwards."""
    write_package(site, entries, files)
    monkeypatch.syspath_prepend(str(site))
    _forget()
    try:
        yield site
    finally:
        _forget()
        ours = {name.split("/")[0].removesuffix(".py") for name in files}
        for name in [name for name in sys.modules if name.split(".")[0] in ours]:
            del sys.modules[name]


def _forget() -> None:
    for table in (MODELS, DATASETS):
        table.__dict__.pop("_added", None)
        table.faults.clear()
