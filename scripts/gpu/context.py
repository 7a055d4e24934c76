"""JobContext: time limit, results file and commands of a job."""

from __future__ import annotations

import json
import math
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torchvision

from dseg.errors import DsegError
from dseg.files import written_whole
from dseg.jsonio import read_object

ROOT = Path(__file__).resolve().parents[2]
RESULTS = "results.json"
LOG_EVERY_S = 5.0
SAVE_EVERY_S = 60.0
GRACE_S = 12.0  # for a training run to save its state
RESERVE_S = {False: 15.0, True: 1.0}  # before the end, for saving results; by ``tiny``


class OutOfTimeError(Exception):
    """The time limit or a signal ended a part of a job; what it has saved is kept."""


class FailedError(Exception):
    """A part of a job failed; the other parts still run."""


@dataclass
class JobContext:
    """Result folders, time limit and options of a job.

    Attributes:
        job: name of the job.
        out: folder of results; ``results.json`` there is written after each part.
        seconds: time limit of the job.
        tiny: whether everything runs once at a small size, to try the job without a GPU.
        data: folder of CamVid.
        options: command-line options of this job.
        only: parts to run in this start; empty for all.
        begun: monotonic time at which the job started.
        signal: number of the signal that asked the job to stop; 0 for none.
        results: contents of ``results.json``; ``finished`` lists the parts that are done.
        on_save: called every minute, before the results are saved.
    """

    job: str
    out: Path
    seconds: float
    tiny: bool
    data: Path | None = None
    options: dict[str, Any] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    begun: float = field(default_factory=time.monotonic)
    signal: int = 0
    results: dict[str, Any] = field(default_factory=dict)
    on_save: Callable[[], None] | None = None
    _logged: float = 0.0
    _saved: float = 0.0

    def open(self) -> None:
        """Read the results of an earlier start, and record a new one.

        Raises:
            DsegError: the folder holds another job's results, or a damaged file.
        """
        self.results = read_results(self.out)
        now = {"job": self.job, "tiny": self.tiny, "group": self.options.get("group")}
        before = {key: self.results.get(key) for key in now}
        if self.results and before != now:
            there, here = (
                ", ".join(f"{key} {value}" for key, value in facts.items())
                for facts in (before, now)
            )
            raise DsegError(
                f"{self.out} holds the results of another job: {there}, not {here}.",
                hint="name another --out, or repeat the command of that job.",
            )
        self.work.mkdir(parents=True, exist_ok=True)
        self.out.mkdir(parents=True, exist_ok=True)
        self.results.update(now, options=self.options, machine=describe_machine())
        self.results.setdefault("finished", [])
        moment = datetime.now(timezone.utc).isoformat(timespec="seconds")
        device = self.results["machine"]["device"]
        self.results.setdefault("starts", []).append(
            {"at": moment, "minutes": self.seconds / 60, "device": device}
        )
        self.save()

    @property
    def work(self) -> Path:
        """The folder beside ``out`` for states, checkpoints and data, which stay there."""
        return self.out.with_name(f"{self.out.name}.work")

    @property
    def device(self) -> torch.device:
        return torch.device("cuda" if torch.cuda.is_available() and not self.tiny else "cpu")

    @property
    def left(self) -> float:
        """Seconds until work has to stop for the job to end in time; 0 after a signal."""
        if self.signal:
            return 0.0
        return max(0.0, self.begun + self.seconds - RESERVE_S[self.tiny] - time.monotonic())

    @contextmanager
    def stopping_on_signals(self) -> Iterator[None]:
        """Let SIGTERM and Ctrl-C stop the job after its results are saved."""

        def remember(number: int, frame: FrameType | None) -> None:
            self.signal = number

        numbers = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, remember) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def is_finished(self, part: str) -> bool:
        return part in self.results["finished"]

    def facts(self, **more: Any) -> dict[str, Any]:
        """Return what is recorded with every figure: device, versions and the arguments."""
        machine = self.results["machine"]
        return {key: machine[key] for key in ("device", "torch", "cuda")} | more

    def log(self, text: str) -> None:
        self._logged = time.monotonic()
        print(f"[{self._logged - self.begun:6.1f} s] {text}", flush=True)

    def log_sometimes(self, text: Callable[[], str]) -> None:
        """Print a line if none was printed for 5 seconds; save the results every minute."""
        now = time.monotonic()
        if now - self._logged >= LOG_EVERY_S:
            self.log(text())
        if now - self._saved >= SAVE_EVERY_S:
            if self.on_save is not None:
                self.on_save()
            self.save()

    def keep(self, part: str, found: Any, *, finished: bool = False) -> None:
        """Add the results of a part, and save all results."""
        self.results[part] = found
        if finished and not self.is_finished(part):
            self.results["finished"].append(part)
        self.save()

    def save(self) -> None:
        self._saved = time.monotonic()
        with written_whole(self.out / RESULTS) as file:
            file.write_text(
                json.dumps(make_strict(self.results), indent=1, allow_nan=False) + "\n",
                encoding="utf-8",
            )

    def call(
        self,
        words: Sequence[object],
        limit: float,
        *,
        grace: float = 0.0,
        watch: Callable[[], str] | None = None,
    ) -> tuple[int, str]:
        """Run a command for at most ``limit`` seconds; return its exit code and output.

        A command that runs longer is stopped with all its child processes; its code is 124.

        Args:
            words: the command.
            limit: time limit in seconds; the end of the job is a limit too.
            grace: seconds between SIGTERM and SIGKILL, for a command that saves on SIGTERM.
            watch: returns the line to print every few seconds; by default the last line of output.
        """
        log = self.work / f"log-{time.monotonic_ns()}.txt"
        with log.open("wb") as file:
            child = subprocess.Popen(
                [str(word) for word in words],
                cwd=ROOT,
                env=make_environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        end = time.monotonic() + limit
        try:
            while child.poll() is None:
                if time.monotonic() > end or not self.left:
                    _end(child, grace)
                    return 124, read_log(log)
                self.log_sometimes(watch or (lambda: last_line(read_log(log))))
                time.sleep(0.05)
        finally:
            _kill_group(child)
        output = read_log(log)
        log.unlink()
        return child.returncode, output

    def dseg(self, *words: object, limit: float) -> tuple[int, str]:
        """Run a ``dseg`` command as ``call`` does."""
        return self.call([sys.executable, "-m", "dseg", *words], limit)


def make_strict(value: Any) -> Any:
    """Return a value for strict JSON: null for NaN and infinity, text for unknown types."""
    if isinstance(value, dict):
        return {str(key): make_strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [make_strict(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, int)) else str(value)


def read_results(out: Path) -> dict[str, Any]:
    """Return the results in a folder; an empty dict if there are none.

    Raises:
        DsegError: the file cannot be read.
    """
    try:
        return dict(read_object(out / RESULTS)) if (out / RESULTS).exists() else {}
    except (OSError, ValueError) as fault:
        raise DsegError(
            f"{out / RESULTS} cannot be read: {fault}.", hint="remove it, or name another --out."
        ) from fault


def _end(child: subprocess.Popen[bytes], grace: float) -> None:
    """Stop a command by SIGTERM, if it gets a grace period, then kill it."""
    if grace:
        child.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(grace)
    _kill_group(child)
    child.wait()


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def read_log(log: Path) -> str:
    return log.read_bytes().decode(errors="replace")


def last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:200] if lines else "..."


def describe_machine() -> dict[str, Any]:
    """Return device, memory, cores and versions."""
    cuda = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if cuda else _name_cpu(),
        "memory_gb": torch.cuda.get_device_properties(0).total_memory / 1e9 if cuda else None,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "cuda": torch.version.cuda if cuda else None,
        "cudnn": torch.backends.cudnn.version() if cuda else None,  # type: ignore[no-untyped-call]
    }


def _name_cpu() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def make_environment() -> dict[str, str]:
    """Return an environment in which commands import this repository's code, and use PyTorch."""
    paths = [str(ROOT), str(ROOT / "scripts"), os.environ.get("PYTHONPATH", "")]
    own = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "DSEG_RUNTIME": "torch"}
    return {**os.environ, **own}
