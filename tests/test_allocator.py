"""Memory that a process keeps for CPU inference."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_runs import run, save_noise

from dseg import allocator
from dseg.images import write_png

KEPT = """
import os
from dseg.allocator import keep_freed_memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20

kept = keep_freed_memory() if {called} else None
before = resident()
block = bytearray(b"x" * 1000) * (100 << 10)
del block
print(kept, resident() - before)
"""
needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")


def kept(*, called: bool, **environment: str) -> tuple[str, int]:
    """Return the function's result, and the MiB kept of a freed block of nearly 100 MiB."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    words = subprocess.run(
        [sys.executable, "-c", KEPT.format(called=called)],
        env=clean | environment, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    return words[0], int(words[1])


@needs_glibc
def test_a_large_block_is_kept_when_it_is_freed() -> None:
    result, mib = kept(called=True)
    assert result == "True"
    assert mib > 90
    assert kept(called=False)[1] < 10


@needs_glibc
@pytest.mark.parametrize("name", ["MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_"])
def test_what_the_user_set_stays(name: str) -> None:
    result, mib = kept(called=True, **{name: "65536"})
    assert result == "False"
    assert mib < 10


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(allocator.ctypes, "CDLL", None)  # would fail if it were called
    assert allocator.keep_freed_memory() is False


def test_only_inference_bench_and_reading_of_masks_keep_what_they_free() -> None:
    package = Path(allocator.__file__).parent
    users = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if "keep_freed_memory()" in path.read_text()
    }
    assert users - {"allocator.py"} == {
        "cli/options/load_network.py",
        "cli/bench/__init__.py",
        "cli/export.py",
        "bench/memory.py",
        "cli/eval/__init__.py",
        "cli/transfer_labels.py",
    }


@pytest.mark.parametrize("command", ["infer", "bench", "recipes", "eval", "transfer-labels"])
def test_a_command_of_many_images_on_the_cpu_keeps_what_it_frees(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(allocator, "keep_freed_memory", lambda: asked.append(True))
    save_noise(tmp_path / "image.png", 16, 16)
    masks = tmp_path / "masks"
    write_png(masks / "a.png", np.ones((2, 2), np.uint8))
    words = {
        "infer": (tmp_path / "image.png", "--device", "cpu", "--out", tmp_path / "out"),
        "bench": (
            *("--model", "dabnet", "--size", "32x32", "--device", "cpu", "--seconds", 0.01),
            *("--runtime", "torch", "--measure", "forward"),
        ),
        "recipes": (),
        "eval": ("--pred-dir", masks, "--gt-dir", masks, "--num-classes", 2),
        "transfer-labels": (masks, "--from", "train-ids", "--out", tmp_path / "out"),
    }[command]
    assert run(command, *words).exit_code == 0
    assert asked == ([] if command == "recipes" else [True])
