"""What a process keeps of the memory that it frees."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
from click.testing import CliRunner

from dseg import allocator, cli

KEPT = """
import os
from dseg.allocator import keep_freed_memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20

told = keep_freed_memory() if {called} else None
before = resident()
block = bytearray(b"x" * 1000) * (100 << 10)
del block
print(told, resident() - before)
"""
needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")


def kept(*, called: bool, **environment: str) -> tuple[str, int]:
    """Return what the function says, and the MiB kept of a freed block of nearly 100 MiB."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    said = subprocess.run(
        [sys.executable, "-c", KEPT.format(called=called)],
        env=clean | environment, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    return said[0], int(said[1])


@needs_glibc
def test_a_large_block_is_kept_when_it_is_freed() -> None:
    told, mib = kept(called=True)
    assert told == "True"
    assert mib > 90
    assert kept(called=False)[1] < 10


@needs_glibc
@pytest.mark.parametrize("name", ["MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_"])
def test_what_the_user_set_stays(name: str) -> None:
    told, mib = kept(called=True, **{name: "65536"})
    assert told == "False"
    assert mib < 10


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(allocator.ctypes, "CDLL", None)  # would fail if it were called
    assert allocator.keep_freed_memory() is False


def test_every_command_keeps_what_it_frees(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(cli, "keep_freed_memory", lambda: asked.append(True))
    assert CliRunner().invoke(cli.main, ["recipes"]).exit_code == 0
    assert asked == [True]
