"""Train by ``dseg train`` for a given time, in one process.

First the command runs for some seconds, to measure how fast it is; from that the epochs are
chosen, so that the schedule ends in time; then the real run begins, or goes on with the epochs
that were chosen when it was begun. ``training.py`` writes the file that this script reads.

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

SAFE = 0.97  # of the time is planned for
GAIN = 1.5  # of compiling, assumed before it is measured
COMPILING_S = 90.0  # the same
COMPILED_AGAIN_S = 40.0  # to load from the compiler's cache what was compiled before
VAL_IMAGE_S = 0.02  # of one image, at least, where validation was not measured
CEASELESS = 10**6  # steps of a run that is stopped


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be trained for how long.

    Attributes:
        words: ``dseg train``'s, without its folder and epochs.
        run: the run's folder.
        samples: training images.
        val_samples: validation images.
        batch: images a step.
        validations: how many, over the whole run.
        until: of time.monotonic, when the run is to end.
        measure_s: at most, from the first row of metrics.
        measure_steps: at most, before a validation, which is timed too.
        log_every: steps between rows of metrics.
        compile: ``auto``, ``on`` or ``off``.
        epochs: at most.
        plan: as ``make_plan`` returned it for a run that goes on.
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
    """How fast a training is.

    Attributes:
        images_per_s: of the steady state, by the clock on the wall.
        start_s: from the beginning to the first step's end, data and compiling included.
        validation_s: of one validation with its checkpoints and plots; 0 if it was not reached.
        rows: rows of metrics that were measured.
    """

    images_per_s: float
    start_s: float
    validation_s: float
    rows: int


class Watcher(threading.Thread):
    """Notes when rows of metrics.jsonl appear, and stops the run by SIGTERM once it is measured.

    Args:
        file: metrics.jsonl.
        order: how long to measure.
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
                if self.rows and not self._over and self._has_seen_enough():
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

    def _has_seen_enough(self) -> bool:
        kinds = [kind for _, kind, _ in self.rows]
        after = "val" in kinds and kinds[-1] == "train"  # a validation, and a row behind it
        validates = self.rows[-1][2] >= self.order.measure_steps  # which is worth waiting for
        seconds = self.order.measure_s * (3 if validates else 1)
        now = time.monotonic()
        return after or now - self.rows[0][0] > seconds or now > self.order.until


def find_speed(rows: list[tuple[float, str, int]], begun: float, batch: int) -> Speed:
    """Return the speed that the times of rows of metrics show.

    Args:
        rows: (time in s, kind, step) of each, in their order.
        begun: time at which the run was started.
        batch: images a step.

    Raises:
        DsegError: there is no row of training.
    """
    ends = [place for place, (_, kind, _) in enumerate(rows) if kind == "val"]
    before = rows[: ends[0]] if ends else rows
    if not before:
        raise DsegError("The training took no step.", hint="give it more time: --minutes.")
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
    """Return the seconds of a validation that was not reached: rather too many."""
    return 2 + order.val_samples * max(VAL_IMAGE_S, 1 / speed.images_per_s)


def choose_epochs(speed: Speed, order: Order, seconds: float) -> float:
    """Return how many epochs end within so many seconds; whole ones if there are two or more."""
    fixed = speed.start_s + order.validations * speed.validation_s
    epochs = max(0.0, SAFE * (seconds - fixed)) * speed.images_per_s / order.samples
    epochs = min(order.epochs, epochs)
    return float(int(epochs)) if epochs >= 2 else int(100 * epochs) / 100


def may_pay(speed: Speed, seconds: float) -> bool:
    """Return True if compiling would train more within so many seconds, were it as assumed."""
    compiled = seconds - COMPILING_S - speed.start_s - 15 - COMPILED_AGAIN_S
    return GAIN * compiled > seconds - speed.start_s


def pays(plain: Speed, compiled: Speed, order: Order, seconds: float) -> bool:
    """Return True if a compiled run trains more epochs, though it starts once more."""
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
        *(*order.words, *words, "--out", folder, "--set", f"steps={CEASELESS}", "--draw", 0),
        *("--validate-every", every, "--log-every", order.log_every, "--save-every", CEASELESS),
    )
    watcher.end()
    shutil.rmtree(folder)
    if not watcher.sent:  # somebody else's signal
        raise SystemExit(143)
    speed = find_speed(watcher.rows, begun, order.batch)
    if not speed.validation_s:
        speed = replace(speed, validation_s=guess_validation(speed, order))
    print(f"measured{' '.join(('', *words))}: {speed}", flush=True)
    return speed


def make_plan(order: Order) -> dict[str, Any]:
    """Measure, and return the epochs, whether to compile, and what that was concluded from."""
    compiled: Speed | None = None
    plain = None if order.compile == "on" else measure(order)
    if plain is None or (order.compile == "auto" and may_pay(plain, order.left)):
        compiled = measure(order, "--compile")
    use = compiled is not None and (plain is None or pays(plain, compiled, order, order.left))
    speed = compiled if use or plain is None else plain
    assert speed is not None
    if use:
        known = COMPILED_AGAIN_S if plain is None else plain.start_s + COMPILED_AGAIN_S
        speed = replace(speed, start_s=min(speed.start_s, known))
    epochs = choose_epochs(speed, order, order.left)
    return {
        "epochs": epochs,
        "compiled": use,
        "validate_every": max(0.01, epochs / max(1, order.validations)),
        "measured": None if plain is None else asdict(plain),
        "measured_compiled": None if compiled is None else asdict(compiled),
    }


def train(*words: object) -> int:
    """Run ``dseg train``; return its exit code, but end the process if it failed."""
    try:
        dseg(["train", *map(str, words)], prog_name="dseg")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
        if code not in (0, 128 + signal.SIGTERM):
            raise
        return code
    return 0


def main(file: Path) -> int:
    content = json.loads(file.read_text())
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
    file.with_suffix(".plan").write_text(json.dumps(plan))
    print(f"planned: {plan}", flush=True)
    return train(
        *(*order.words, "--out", order.run, "--resume", "--epochs", plan["epochs"]),
        *("--validate-every", plan["validate_every"], "--log-every", order.log_every),
        *(("--compile",) if plan["compiled"] else ()),
    )


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what a run's rows of metrics come to."""
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
