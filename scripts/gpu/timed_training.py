"""Train by ``dseg train`` for a given time, in one process.

The command first runs for some seconds, to measure its speed, from which the number of epochs is
chosen so that the schedule ends in time. Then the real run starts, or resumes with the number of
epochs that was chosen at its start. ``training.py`` writes the file that this script reads.

Example:
    python scripts/gpu/timed_training.py order.json
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dseg.cli import main as dseg
from dseg.errors import DsegError
from dseg.jsonio import parse_object

SAFE = 0.97  # fraction of the time that is planned
GAIN = 1.5  # speed-up by compiling, assumed before it is measured
COMPILING_S = 90.0  # time of compiling, assumed before it is measured
COMPILED_AGAIN_S = 40.0  # time to compile again, with the compiler's cache
AGAIN = 0.3  # start of a second run in the process: 5 to 8 s after 23 to 44 s, on an H100
VAL_IMAGE_S = 0.02  # least time per image of a validation that was not measured
ENDLESS = 10**6  # steps of a run that is stopped by a signal


@dataclass(frozen=True, kw_only=True)
class Order:
    """A training run and its time limit.

    Attributes:
        words: arguments of ``dseg train``, without folder and epochs.
        run: folder of the run.
        samples: number of training images.
        val_samples: number of validation images.
        batch: images per step.
        validations: number of validations in the whole run.
        until: value of time.monotonic at which the run has to end.
        measure_s: most seconds of measuring, from the first row of metrics.
        measure_steps: most steps of measuring, before a validation, which is timed too.
        log_every: steps between rows of metrics.
        compile: ``auto``, ``on`` or ``off``.
        epochs: most epochs.
        plan: result of ``make_plan`` at the start of a run that is resumed.
    """

    words: tuple[str, ...]
    run: str
    samples: int
    val_samples: int
    batch: int
    validations: int
    until: float
    measure_s: float = 20.0
    measure_steps: int = 300
    log_every: int = 10
    compile: str = "off"
    epochs: float = 1000.0
    plan: dict[str, Any] | None = None

    @property
    def left(self) -> float:
        return self.until - time.monotonic()


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Speed of a training run.

    Attributes:
        images_per_s: images per second of wall time, after warm-up.
        start_s: seconds to the end of the first step, with data and compiling.
        validation_s: seconds of a validation with its checkpoints and plots; 0 if not reached.
        rows: number of measured rows of metrics.
    """

    images_per_s: float
    start_s: float
    validation_s: float
    rows: int


class Watcher(threading.Thread):
    """Record when rows of metrics.jsonl appear, and stop the measured run by SIGTERM.

    Args:
        file: path of metrics.jsonl.
        order: limits of measuring.
    """

    def __init__(self, file: Path, order: Order):
        super().__init__(daemon=True)
        self.file, self.order = file, order
        self.rows: list[tuple[float, str, int]] = []  # time, kind, step
        self.sent = False
        self._lock, self._over = threading.Lock(), False

    def run(self) -> None:
        while not self._over and not self.sent:
            self._read()
            with self._lock:
                if self.rows and not self._over and self._is_measured():
                    self.sent = True
                    os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)

    def end(self) -> None:
        """Send no more signals."""
        with self._lock:
            self._over = True
        self.join()
        self._read()

    def _read(self) -> None:
        text = self.file.read_bytes().decode(errors="replace") if self.file.exists() else ""
        now = time.monotonic()
        for line in text.split("\n")[len(self.rows) : -1]:
            row = parse_object(line)
            self.rows.append((now, str(row["kind"]), int(row["step"])))

    def _is_measured(self) -> bool:
        kinds = [kind for _, kind, _ in self.rows]
        after = "val" in kinds and kinds[-1] == "train"  # a validation, and a row after it
        validates = self.rows[-1][2] >= self.order.measure_steps  # wait longer for a validation
        seconds = self.order.measure_s * (3 if validates else 1)
        now = time.monotonic()
        return after or now - self.rows[0][0] > seconds or now > self.order.until


def find_speed(rows: list[tuple[float, str, int]], begun: float, batch: int) -> Speed:
    """Compute the speed from the times of rows of metrics.

    Args:
        rows: (time in s, kind, step) of each row, in order.
        begun: time at which the run was started.
        batch: images per step.

    Raises:
        DsegError: there is no row of training.
    """
    ends = [place for place, (_, kind, _) in enumerate(rows) if kind == "val"]
    before = rows[: ends[0]] if ends else rows
    if not before:
        raise DsegError("No training step was completed.", hint="give it more time: --minutes.")
    steady = before[min(1, len(before) - 1) :]  # the first row has warm-up in it
    steps, seconds = steady[-1][2] - steady[0][2], steady[-1][0] - steady[0][0]
    if steps <= 0 or seconds <= 0:
        steps, seconds = before[-1][2], before[-1][0] - begun
    rate = batch * steps / max(seconds, 1e-3)
    validation = 0.0
    if ends and ends[0] and len(rows) > ends[0] + 1:
        (then, _, step), (now, _, next_step) = rows[ends[0] - 1], rows[ends[0] + 1]
        validation = max(0.0, now - then - batch * (next_step - step) / rate)
    start = max(0.0, before[0][0] - begun - batch * max(0, before[0][2] - 1) / rate)
    return Speed(images_per_s=rate, start_s=start, validation_s=validation, rows=len(steady))


def guess_validation(speed: Speed, order: Order) -> float:
    """Return a high estimate of the seconds of a validation that was not reached."""
    return 2 + order.val_samples * max(VAL_IMAGE_S, 1 / speed.images_per_s)


def choose_epochs(speed: Speed, order: Order, seconds: float) -> float:
    """Return the number of epochs that fit into a time; a whole number if at least two."""
    fixed = speed.start_s + order.validations * speed.validation_s
    epochs = max(0.0, SAFE * (seconds - fixed)) * speed.images_per_s / order.samples
    epochs = min(order.epochs, epochs)
    return float(int(epochs)) if epochs >= 2 else int(100 * epochs) / 100


def compiling_may_pay(speed: Speed, seconds: float) -> bool:
    """Return True if a compiled run, at the assumed speed-up, would train more within a time."""
    compiled = seconds - COMPILING_S - speed.start_s - 15 - COMPILED_AGAIN_S
    return GAIN * compiled > seconds - speed.start_s


def compiling_pays(plain: Speed, compiled: Speed, order: Order, seconds: float) -> bool:
    """Return True if a compiled run trains more epochs, although it has to start again."""
    again = replace(compiled, start_s=min(compiled.start_s, plain.start_s + COMPILED_AGAIN_S))
    return choose_epochs(again, order, seconds) > choose_epochs(plain, order, seconds)


def measure(order: Order, *words: str) -> Speed:
    """Run the command until its speed is known."""
    folder = Path(tempfile.mkdtemp(dir=Path(order.run).parent))
    watcher = Watcher(folder / "metrics.jsonl", order)
    every = order.measure_steps * order.batch / order.samples
    begun = time.monotonic()
    watcher.start()
    train(
        *(*order.words, *words, "--out", folder, "--set", f"steps={ENDLESS}", "--draw", 0),
        *("--validate-every", every, "--log-every", order.log_every, "--save-every", ENDLESS),
    )
    watcher.end()
    shutil.rmtree(folder)
    if not watcher.sent:  # another signal
        raise SystemExit(143)
    speed = find_speed(watcher.rows, begun, order.batch)
    if not speed.validation_s:
        speed = replace(speed, validation_s=guess_validation(speed, order))
    print(f"measured{' '.join(('', *words))}: {speed}", flush=True)
    return speed


def make_plan(order: Order) -> dict[str, Any]:
    """Measure, and return the epochs, whether to compile, and the measurements."""
    compiled: Speed | None = None
    plain = None if order.compile == "on" else measure(order)
    if plain is None or (order.compile == "auto" and compiling_may_pay(plain, order.left)):
        compiled = measure(order, "--compile")
    use = compiled is not None and (
        plain is None or compiling_pays(plain, compiled, order, order.left)
    )
    speed = compiled if use or plain is None else plain
    assert speed is not None
    if use:
        known = COMPILED_AGAIN_S if plain is None else plain.start_s + COMPILED_AGAIN_S
        speed = replace(speed, start_s=min(speed.start_s, known))
    else:
        speed = replace(speed, start_s=AGAIN * speed.start_s)
    epochs = choose_epochs(speed, order, order.left)
    return {
        "epochs": epochs,
        "compiled": use,
        "validate_every": max(0.01, epochs / max(1, order.validations)),
        "measured": None if plain is None else asdict(plain),
        "measured_compiled": None if compiled is None else asdict(compiled),
    }


def train(*words: object) -> int:
    """Run ``dseg train`` and return its exit code; exit if it failed."""
    try:
        dseg(["train", *map(str, words)], prog_name="dseg")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
        if code not in (0, 128 + signal.SIGTERM):
            raise
        return code
    return 0


def main(file: Path) -> int:
    content = json.loads(file.read_text(encoding="utf-8"))
    order = Order(**{**content, "words": tuple(content["words"])})
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        plan = order.plan or make_plan(order)
        if not plan["epochs"]:
            raise DsegError(
                f"{order.left:.0f} s are left, too few to train.", hint="use more --minutes."
            )
    except DsegError as fault:
        print(f"Error: {fault.problem} {fault.hint}", flush=True)
        return 124
    file.with_suffix(".plan").write_text(json.dumps(plan), encoding="utf-8")
    print(f"planned: {plan}", flush=True)
    return train(
        *(*order.words, "--out", order.run, "--resume", "--epochs", plan["epochs"]),
        *("--validate-every", plan["validate_every"], "--log-every", order.log_every),
        *(("--compile",) if plan["compiled"] else ()),
    )


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Summarise the rows of metrics of a run."""
    train_rows = [row for row in rows if row["kind"] == "train"]
    later = [row["images_per_s"] for row in train_rows[len(train_rows) // 2 :]]
    scores = [
        {key: row[key] for key in ("step", "epoch", "miou", "pixel_accuracy")}
        for row in rows
        if row["kind"] == "val"
    ]
    return {
        "step": train_rows[-1]["step"] if train_rows else 0,
        "epoch": train_rows[-1]["epoch"] if train_rows else 0.0,
        "loss": train_rows[-1]["loss"] if train_rows else None,
        "images_per_s": statistics.median(later) if later else None,
        "validations": scores,
    }


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
