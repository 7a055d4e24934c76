"""Broken entry points of other packages are one line that names the package."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_runs import refused, run
from package_sites import installed, write_package

import dseg
from dseg.errors import DsegError

ROOT = Path(__file__).parent.parent
GOOD = (
    "from dseg.registry import ModelSpec\n"
    "SPEC = ModelSpec(title='Fine', target='{module}:Net')\n"
    "def make(): return SPEC\n"
    "class Net: ...\n"
)


@pytest.fixture
def dseg_with(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A function that runs dseg beside a package named broken-streets."""

    def call(entries: str, code: str, *words: str) -> subprocess.CompletedProcess[str]:
        site = tmp_path / "site"
        write_package(site, entries, {"streets_spec.py": code})
        path = os.pathsep.join([str(ROOT), str(site)])
        return subprocess.run(
            [sys.executable, "-m", "dseg", *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path, "DSEG_OFFLINE": "1"},
        )

    return call


@pytest.mark.parametrize(
    ("entry", "code", "reason"),
    [
        ("streets_spec:SPEC", "import nothing_like_this", "ModuleNotFoundError: No module named"),
        ("streets_spec:SPEC", "x = 1 / 0", "ZeroDivisionError: division by zero"),
        ("streets_spec:SPEC", "SPEC = 5", "it gives int, not ModelSpec"),
        (
            "streets_spec:SPEC",
            "from dseg.registry import ModelSpec\nSPEC = ModelSpec(title='a', target='net')",
            "The target 'net' of a network names no class",
        ),
    ],
)
def test_a_broken_network_is_a_warning_and_others_are_listed(
    dseg_with: Callable[..., subprocess.CompletedProcess[str]], entry: str, code: str, reason: str
) -> None:
    done = dseg_with(f"[dseg.models]\nmynet = {entry}\n", code, "models", "dabnet")
    assert done.returncode == 0
    assert "dabnet" in done.stdout
    [line] = [line for line in done.stderr.splitlines() if "WARNING" in line]
    start = "WARNING: the network mynet of the package broken-streets cannot be used: "
    assert line.startswith(start + reason)


def test_a_broken_network_that_is_named_is_an_error_with_its_reason(
    dseg_with: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    entries = "[dseg.models]\nmynet = streets_spec:SPEC\n"
    done = dseg_with(entries, "SPEC = 5", "infer", "--model", "MyNet", "x.png")
    assert done.returncode == 2
    assert "The network mynet of the package broken-streets cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_name_of_dseg_cannot_be_replaced_and_commands_that_need_no_list_are_silent(
    dseg_with: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    entries = "[dseg.models]\nDABNet = streets_spec:SPEC\n"
    done = dseg_with(entries, GOOD.format(module="streets_spec"), "models", "fastscnn")
    assert "there is another network of this name" in done.stderr
    assert dseg_with(entries, "x = 1 / 0", "recipes").stderr == ""


def test_what_fails_within_a_package_is_an_error_of_two_lines(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = GOOD.format(module="streets_spec") + (
        "from dseg.datasets import DatasetSpec\n"
        "DATA = DatasetSpec(title='Mine', target='streets_spec:open_it')\n"
        "def open_it(root): return root.name[99]\n"
        "OTHER = DatasetSpec(title='Other', target='streets_spec:name_it')\n"
        "def name_it(root): return root.name\n"
    )
    entries = (
        "[dseg.models]\nmynet = streets_spec:make\n"
        "[dseg.datasets]\nmine = streets_spec:DATA\nother = streets_spec:OTHER\n"
    )
    with installed(here / "site", entries, {"streets_spec.py": code}, monkeypatch):
        words = ("check-data", "--data-dir", "img", "--dataset")
        refused(
            run(*words, "mine"), 2, "img cannot be opened as mine by streets_spec:open_it: Inde"
        )
        refused(run(*words, "other"), 2, "streets_spec:name_it returned str for other, not Dataset")
        with pytest.raises(DsegError, match="is not derived from"):
            dseg.build_model("mynet")
