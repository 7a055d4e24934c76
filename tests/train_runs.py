"""Start trainings in processes that can be killed, and read and compare the files of runs."""

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

# Imports once what every run needs; each run is a process forked from this one.
SERVER = """
import json, os, resource, sys
import matplotlib.backends.backend_agg, matplotlib.figure, torch._dynamo
import dseg.checkpoints, dseg.losses, dseg.training
from dseg.cli import main

print("ready", flush=True)
for line in sys.stdin:
    words, output, limit = json.loads(line)
    child = os.fork()
    if child == 0:
        break
    print("began", child, flush=True)
    print("ended", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
nothing, file = os.open(os.devnull, os.O_RDONLY), os.open(output, os.O_WRONLY | os.O_CREAT)
for number, source in enumerate((nothing, file, file)):
    os.dup2(source, number)
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
main(words, prog_name="dseg")
"""


class Child:
    """A process that trains.

    Attributes:
        pid: id of the process.
        code: exit code, or minus the signal that killed the process; None while it runs.
    """

    def __init__(self, pid: int, output: Path, wait: Callable[[], int]):
        self.pid, self.output, self._wait = pid, output, wait
        self.code: int | None = None

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        if self.code is None:
            self.code = self._wait()
        return self.code

    def text(self) -> str:
        return self.output.read_text()

    def until(self, happened: Callable[[], bool]) -> None:
        """Wait until ``happened`` returns True."""
        end = time.monotonic() + DEADLINE_S
        while not happened():
            os.kill(self.pid, 0)  # raises an error if the process has ended
            assert time.monotonic() < end, self.text()
            time.sleep(0.001)


class ForkServer:
    """Starts processes of ``dseg train``, one after the other, within milliseconds.

    Args:
        folder: folder for their output.
    """

    def __init__(self, folder: Path):
        self._folder, self._count = folder, 0
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=ENV,
            bufsize=0,
        )
        self._child: Child | None = None
        self._line("ready")

    def start(self, *words: object, limit: int = 0, command: str = "train") -> Child:
        """Start a training.

        Args:
            words: arguments of ``dseg train``.
            command: another command, with the same arguments.
            limit: largest size of a file in bytes, 0 for no limit.
        """
        self._end()
        self._count += 1
        output = self._folder / f"output-{self._count}.txt"
        output.touch()
        request = json.dumps([[command, *map(str, words)], str(output), limit]) + "\n"
        assert self._server.stdin is not None
        self._server.stdin.write(request.encode())
        self._child = Child(int(self._line("began")), output, lambda: int(self._line("ended")))
        return self._child

    def close(self) -> None:
        self._end()
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(DEADLINE_S)

    def _end(self) -> None:
        """Kill a process that a failed test has left running."""
        if self._child is not None and self._child.code is None:
            with suppress(ProcessLookupError):
                self._child.signal(signal.SIGKILL)
            self._child.wait()

    def _line(self, kind: str) -> str:
        assert self._server.stdout is not None
        ready = select.select([self._server.stdout], [], [], DEADLINE_S)[0]
        assert ready, "the fork server does not answer"
        line: bytes = self._server.stdout.readline()
        word, _, number = line.decode().strip().partition(" ")
        assert word == kind, line
        return number


def start_command(*words: object, output: Path) -> Child:
    """Start ``python -m dseg train``, as a user does."""
    with output.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "dseg", "train", *map(str, words)],
            stdout=file,
            stderr=file,
            env=ENV,
        )
    return Child(process.pid, output, lambda: process.wait(DEADLINE_S))


def rows(run: Path) -> list[dict[str, Any]]:
    """Return the complete rows of metrics.jsonl without durations and speeds."""
    file = run / "metrics.jsonl"
    lines = file.read_bytes().split(b"\n")[:-1] if file.exists() else []
    found: list[dict[str, Any]] = [json.loads(line) for line in lines]
    timing = ("seconds", "data_seconds", "images_per_s")
    return [{key: row[key] for key in row if key not in timing} for row in found]


def trained(run: Path) -> int:
    """Return the number of training rows in metrics.jsonl."""
    file = run / "metrics.jsonl"
    return file.read_bytes().count(b'"kind": "train"') if file.exists() else 0


def load(run: Path) -> dict[str, Any]:
    """Return the trainer's state from a run's state file."""
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
    """Check that two runs have the same weights, states and rows."""
    for name in ("best.safetensors", "last.safetensors"):
        assert (run / name).read_bytes() == (other / name).read_bytes(), name
    mine, theirs = flatten(load(run)), flatten(load(other))
    assert mine.keys() == theirs.keys()
    assert [key for key in mine if mine[key] != theirs[key]] == []
    assert rows(run) == rows(other)


def wait_and_kill(child: Child, happened: Callable[[], bool], seconds: float = 0.0) -> None:
    """Kill a process some seconds after ``happened`` returns True; it must still be running."""
    child.until(happened)
    time.sleep(seconds)
    child.signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, child.text()
