"""Training in processes of its own that can be killed, and what is left of a run."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

DEADLINE_S = 120.0
ENV = {**os.environ, "OMP_NUM_THREADS": "1"}

# Imports what every run needs, once; each run is a process forked from here.
MOTHER = """
import json, os, resource, sys
import matplotlib.backends.backend_agg, matplotlib.figure, torch._dynamo
import dseg.checkpoints, dseg.losses, dseg.training
from dseg.cli import main

print("ready", flush=True)
for line in sys.stdin:
    words, said, limit = json.loads(line)
    child = os.fork()
    if child == 0:
        break
    print("began", child, flush=True)
    print("ended", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
nothing, file = os.open(os.devnull, os.O_RDONLY), os.open(said, os.O_WRONLY | os.O_CREAT)
for number, source in enumerate((nothing, file, file)):
    os.dup2(source, number)
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
main(words, prog_name="dseg")
"""


class Child:
    """A process that trains.

    Attributes:
        pid: of the process.
        code: its exit status, minus the signal that it died of; None while it runs.
    """

    def __init__(self, pid: int, said: Path, wait: Callable[[], int]):
        self.pid, self.said, self._wait = pid, said, wait
        self.code: int | None = None

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        if self.code is None:
            self.code = self._wait()
        return self.code

    def text(self) -> str:
        return self.said.read_text()

    def until(self, happened: Callable[[], bool]) -> None:
        """Wait for something, looking often."""
        end = time.monotonic() + DEADLINE_S
        while not happened():
            os.kill(self.pid, 0)  # raises once it is gone
            assert time.monotonic() < end, self.text()
            time.sleep(0.001)


class Nursery:
    """Starts ``dseg train`` in processes of their own, one after the other, within milliseconds.

    Args:
        folder: for what they say.
    """

    def __init__(self, folder: Path):
        self._folder, self._count = folder, 0
        self._mother = subprocess.Popen(
            [sys.executable, "-c", MOTHER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=ENV,
            bufsize=0,
        )
        self._child: Child | None = None
        self._line("ready")

    def start(self, *words: object, limit: int = 0) -> Child:
        """Start a training.

        Args:
            words: after ``dseg train``.
            limit: bytes that any file may grow to, 0 for no limit.
        """
        self._end()
        self._count += 1
        said = self._folder / f"said-{self._count}.txt"
        said.touch()
        request = json.dumps([["train", *map(str, words)], str(said), limit]) + "\n"
        assert self._mother.stdin is not None
        self._mother.stdin.write(request.encode())
        self._child = Child(int(self._line("began")), said, lambda: int(self._line("ended")))
        return self._child

    def close(self) -> None:
        self._end()
        assert self._mother.stdin is not None
        self._mother.stdin.close()
        self._mother.wait(DEADLINE_S)

    def _end(self) -> None:
        """End what a test that failed has left at work."""
        if self._child is not None and self._child.code is None:
            with suppress(ProcessLookupError):
                self._child.signal(signal.SIGKILL)
            self._child.wait()

    def _line(self, kind: str) -> str:
        assert self._mother.stdout is not None
        ready = select.select([self._mother.stdout], [], [], DEADLINE_S)[0]
        assert ready, "nothing happens"
        line: bytes = self._mother.stdout.readline()
        word, _, number = line.decode().strip().partition(" ")
        assert word == kind, line
        return number


def start_command(*words: object, said: Path) -> Child:
    """Start ``python -m dseg train``, as a user does."""
    with said.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "dseg", "train", *map(str, words)],
            stdout=file,
            stderr=file,
            env=ENV,
        )
    return Child(process.pid, said, lambda: process.wait(DEADLINE_S))


def rows(run: Path) -> list[dict[str, Any]]:
    """Return the whole lines of metrics.jsonl without what depends on time."""
    file = run / "metrics.jsonl"
    lines = file.read_bytes().split(b"\n")[:-1] if file.exists() else []
    found: list[dict[str, Any]] = [json.loads(line) for line in lines]
    timing = ("seconds", "images_per_s")
    return [{key: row[key] for key in row if key not in timing} for row in found]


def trained(run: Path) -> int:
    """Return how many steps the metrics know of."""
    file = run / "metrics.jsonl"
    return file.read_bytes().count(b'"kind": "train"') if file.exists() else 0


def load(run: Path) -> dict[str, Any]:
    """Return what a run's state says of its trainer."""
    state: dict[str, Any] = torch.load(run / "state.pt", weights_only=True)["trainer"]
    return state


def flatten(value: Any, name: str = "") -> dict[str, Any]:
    """Return a state's numbers, and its tensors as bytes."""
    if isinstance(value, torch.Tensor):
        flat = value.contiguous().reshape(-1).view(torch.uint8)
        return {name: (value.dtype, tuple(value.shape), flat.numpy().tobytes())}
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {k: v for key, item in items for k, v in flatten(item, f"{name}.{key}").items()}
    return {name: value}


def check_same(run: Path, other: Path) -> None:
    """Check that two runs came to the same bits."""
    for name in ("best.safetensors", "last.safetensors"):
        assert (run / name).read_bytes() == (other / name).read_bytes(), name
    mine, theirs = flatten(load(run)), flatten(load(other))
    assert mine.keys() == theirs.keys()
    assert [key for key in mine if mine[key] != theirs[key]] == []
    assert rows(run) == rows(other)


def wait_and_kill(child: Child, happened: Callable[[], bool], seconds: float = 0.0) -> None:
    """Kill a process so many seconds after something has happened, at work still."""
    child.until(happened)
    time.sleep(seconds)
    child.signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, child.text()
