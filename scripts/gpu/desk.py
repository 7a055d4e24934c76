"""What all jobs share: a clock that ends them, a file of results, commands with a limit."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torchvision

ROOT = Path(__file__).parents[2]


@dataclass
class Desk:
    """Where a job puts its results and how much time it has.

    Attributes:
        out: the folder of results; ``results.json`` there is written after each part.
        seconds: from the beginning to the end.
        tiny: whether all is done once and small, to try the job without a GPU.
    """

    out: Path
    seconds: float
    tiny: bool
    begun: float = field(default_factory=time.monotonic)
    results: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        self.keep("machine", describe_machine())

    @property
    def device(self) -> torch.device:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @property
    def left(self) -> float:
        """Seconds until the job has to be over."""
        return self.begun + self.seconds - time.monotonic()

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.begun:6.1f} s] {text}", flush=True)

    def keep(self, part: str, found: Any) -> None:
        """Take a part's results, and write the file anew."""
        self.results[part] = found
        text = json.dumps(self.results, indent=1, default=str)
        temporary = self.out / "results.json.new"
        temporary.write_text(text + "\n")
        temporary.replace(self.out / "results.json")

    def call(self, words: Sequence[object], limit: float) -> tuple[int, str]:
        """Run a command for at most ``limit`` seconds; return its exit code and what it said.

        A command that runs longer is stopped, with all processes that it began: code 124.
        """
        child = subprocess.Popen(
            [str(word) for word in words],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, _paths()))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            said, _ = child.communicate(timeout=max(1.0, min(limit, self.left)))
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            said, _ = child.communicate()
            return 124, said
        return child.returncode, said

    def dseg(self, *words: object, limit: float) -> tuple[int, str]:
        """Run a ``dseg`` command, see ``call``."""
        return self.call([sys.executable, "-m", "dseg", *words], limit)


def describe_machine() -> dict[str, Any]:
    """Return what every figure depends on."""
    cuda = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if cuda else platform.processor(),
        "memory_gb": torch.cuda.get_device_properties(0).total_memory / 1e9 if cuda else None,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if cuda else None,  # type: ignore[no-untyped-call]
    }


def _paths() -> list[str]:
    return [str(ROOT), str(ROOT / "scripts"), os.environ.get("PYTHONPATH", "")]
