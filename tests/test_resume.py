"""A training that is killed, stopped or out of disk space resumes to the same bits."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import pytest
from tiny_data import make_camvid
from train_runs import (
    Child,
    ForkServer,
    check_same,
    load,
    rows,
    start_command,
    trained,
    wait_and_kill,
)

STEPS = 12  # 4 epochs of 6 images
RECIPE = [
    *("--model", "DABNet", "--epochs", 4, "--batch-size", 2, "--set", "crop=32x48"),
    *("--set", "optimizer=adam", "--set", "lr=0.01", "--set", "warmup=4", "--set", "ema=0.9"),
    *("--set", "accumulate=2", "--set", "jitter=0.3", "--set", "blur=0.5"),
    *("--set", "rotate=10", "--set", "affinity_weight=0.5"),
]
DROPPING = [
    *("--model", "MobileNetDenseASPP", "--epochs", 4, "--batch-size", 2, "--set", "crop=64x64"),
]
RUNTIME = [
    *("--dataset", "camvid", "--deterministic", "--device", "cpu"),
    *("--save-every", 0, "--log-every", 1, "--draw", 1),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("resume")


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[ForkServer]:
    server = ForkServer(place)
    yield server
    server.close()


@dataclass(frozen=True)
class Reference:
    """An uninterrupted run, and the arguments to start another like it."""

    run: Path
    words: list[object]
    seconds: float  # per step, including start and validations

    def begin(self, run: Path, *more: object) -> list[object]:
        return [*self.words, "--out", run, *more]


def make_reference(server: ForkServer, place: Path, recipe: list[object], val: int) -> Reference:
    words = [*recipe, *RUNTIME, "--data-dir", make_camvid(place / "data", val=val)]
    begun = time.monotonic()
    child = server.start(*words, "--out", place / "run", "-j", 0)
    assert child.wait() == 0, child.text()
    return Reference(place / "run", words, (time.monotonic() - begun) / STEPS)


@pytest.fixture(scope="module")
def reference(server: ForkServer, place: Path) -> Reference:
    return make_reference(server, place / "dabnet", RECIPE, val=12)


def continue_words(reference: Reference, run: Path) -> list[object]:
    """Return the arguments to resume a run, or to start it if there is none."""
    if (run / "run.json").exists():
        return ["--resume", "--out", run]
    return reference.begin(run, "--resume")


def kill_often(
    start: Callable[..., Child], reference: Reference, run: Path, kills: int, *more: object
) -> None:
    """Kill a run at random moments, resume it each time, and compare its end.

    The moments are drawn with the seed KILL_SEED from the environment, or with a random one, which
    the message of a failure contains.
    """
    given = os.environ.get("KILL_SEED")
    seed = int(given) if given else random.SystemRandom().randrange(10**6)
    generator = random.Random(seed)
    moments = sorted(generator.uniform(0, STEPS - 1) for _ in range(kills))
    try:
        kill_at(start, reference, run, moments, *more)
    except Exception as fault:
        steps = ", ".join(f"{moment:.2f}" for moment in moments)
        raise AssertionError(
            f"{fault}\nRepeat with KILL_SEED={seed}: killed at steps {steps}."
        ) from fault


def kill_at(
    start: Callable[..., Child],
    reference: Reference,
    run: Path,
    moments: list[float],
    *more: object,
) -> None:
    """Kill a run at moments in steps, resume it each time, and compare its end."""
    for moment in moments:
        child = start(*continue_words(reference, run), *more)
        steps, rest = divmod(moment, 1)
        wait_and_kill(child, lambda: trained(run) >= steps, rest * reference.seconds)  # noqa: B023
    child = start(*continue_words(reference, run), *more)
    assert child.wait() == 0, child.text()
    check_same(run, reference.run)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_run_killed_at_ten_random_moments_ends_with_the_same_bytes(
    server: ForkServer, reference: Reference, tmp_path: Path, workers: int
):
    kill_often(server.start, reference, tmp_path / "run", 10, "-j", workers)


@pytest.mark.slow
def test_the_command_killed_at_ten_random_moments_ends_with_the_same_bytes(
    reference: Reference, tmp_path: Path
):
    def start(*words: object) -> Child:
        return start_command(*words, output=tmp_path / "output.txt")

    kill_often(start, reference, tmp_path / "run", 10, "-j", 1)


@pytest.mark.slow
def test_a_killed_run_with_dropout_ends_with_the_same_bytes(
    server: ForkServer, place: Path, tmp_path: Path
):
    reference = make_reference(server, place / "mobilenet", DROPPING, val=2)
    kill_often(server.start, reference, tmp_path / "run", 10, "-j", 0)


def parts_of(file: Path) -> list[Path]:
    """Return the temporary files of a file that is being written."""
    digest = blake2b(file.name.encode(), digest_size=4).hexdigest()
    return list(file.parent.glob(f".*-{digest}-*.dseg-part"))


FILES = ["state.pt", "last.safetensors", "state.pt", "confusion.png", "state.pt"]


def test_a_run_killed_while_it_writes_ends_with_the_same_bytes(
    server: ForkServer, reference: Reference, tmp_path: Path
):
    run = tmp_path / "run"
    left = []
    for name in FILES:
        child = server.start(*continue_words(reference, run), "-j", 0)
        wait_and_kill(child, lambda: bool(parts_of(run / name)))  # noqa: B023
        left += [name] if parts_of(run / name) else []
    assert "state.pt" in left
    child = server.start(*continue_words(reference, run))
    assert child.wait() == 0, child.text()
    check_same(run, reference.run)
    assert not parts_of(run / "state.pt")


def test_a_validation_killed_after_its_row_was_written_has_one_row(
    server: ForkServer, reference: Reference, tmp_path: Path
):
    run = tmp_path / "run"
    child = server.start(*continue_words(reference, run), "-j", 0)
    child.until(lambda: trained(run) == 3)
    child.signal(signal.SIGTERM)  # stopped within the validation of step 3
    assert child.wait() == 143
    assert (load(run)["step"], load(run)["validated_at"]) == (3, 0)
    child = server.start(*continue_words(reference, run))
    wait_and_kill(child, lambda: any(row["kind"] == "val" for row in rows(run)))
    assert load(run)["validated_at"] == 0
    child = server.start(*continue_words(reference, run))
    assert child.wait() == 0, child.text()
    check_same(run, reference.run)


def test_a_stopped_run_saves_and_resumes_to_the_same_bytes(
    server: ForkServer, reference: Reference, tmp_path: Path
):
    run = tmp_path / "run"
    for number, code, step, validated_at in (
        (signal.SIGTERM, 143, 1, 0),
        (signal.SIGINT, 130, 4, 3),
        (signal.SIGTERM, 143, 6, 3),  # within a validation
        (signal.SIGTERM, 143, 12, 9),  # within the last one
    ):
        child = server.start(*continue_words(reference, run), "-j", 0)
        child.until(lambda: trained(run) == step)  # noqa: B023
        child.signal(number)
        assert child.wait() == code
        state = load(run)
        done = state["step"]
        assert state["validated_at"] == validated_at
        assert done in ((step,) if step % 3 == 0 else (step, step + 1))
        last = child.text().splitlines()[-1]
        assert last == f"Stopped after step {done}. Continue: dseg train --resume --out {run}"
    child = server.start("--resume", "--out", run)
    assert child.wait() == 0, child.text()
    assert "Trained 12 steps" in child.text() and "Nothing" not in child.text()
    check_same(run, reference.run)


@pytest.mark.slow
def test_the_stopped_command_resumes_to_the_same_bytes(reference: Reference, tmp_path: Path):
    run, output = tmp_path / "run", tmp_path / "output.txt"
    child = start_command(*reference.begin(run), "-j", 1, output=output)
    child.until(lambda: trained(run) == 4)
    child.signal(signal.SIGTERM)
    assert child.wait() == 143
    assert "Traceback" not in child.text()
    child = start_command("--resume", "--out", run, output=output)
    assert child.wait() == 0, child.text()
    check_same(run, reference.run)


def test_a_second_ctrl_c_interrupts_at_once_and_leaves_complete_files(
    server: ForkServer, reference: Reference, tmp_path: Path
):
    for attempt in range(5):
        run = tmp_path / f"run{attempt}"
        child = server.start(*reference.begin(run), "-j", 0)
        child.until(lambda: bool(parts_of(run / "state.pt")))  # noqa: B023
        child.signal(signal.SIGINT)
        time.sleep(0.05)  # two signals at once would be delivered as one
        child.signal(signal.SIGINT)
        assert child.wait() == 130
        if "Stopped after step" not in child.text():
            break  # otherwise the first signal had already ended the run
    error, hint = child.text().splitlines()[-2:]
    assert error == "Error: Interrupted. All files that were written are complete."
    assert hint.startswith("Hint: ") and f"dseg train --resume --out {run}" in hint
    assert [file.name for file in run.glob(".*.dseg-part")] == []
    child = server.start(*continue_words(reference, run))
    assert child.wait() == 0, child.text()
    check_same(run, reference.run)


def test_a_run_on_a_full_disk_keeps_its_state_and_resumes_to_the_same_bytes(
    server: ForkServer, reference: Reference, tmp_path: Path
):
    run = tmp_path / "run"
    child = server.start(*reference.begin(run), "-j", 0)
    wait_and_kill(child, lambda: trained(run) == 4)
    step = load(run)["step"]
    for limit, options, files in (
        (2_500, ("--save-every", 1000, "--validate-every", 0), ["metrics.jsonl", "run.json"]),
        (
            1_000_000,
            ("--save-every", 1000, "--validate-every", 1),
            ["best.safetensors", "last.safetensors"],
        ),
        (5_000_000, ("--save-every", 0), ["state.pt"]),
    ):
        child = server.start("--resume", "--out", run, *options, limit=limit)
        assert child.wait() == 1
        error, hint = child.text().splitlines()[-2:]
        assert [name for name in files if error.startswith(f"Error: {run / name} cannot be")]
        assert "File too large" in error
        assert hint.startswith("Hint: make room")
        assert load(run)["step"] == step
        assert [file.name for file in run.glob(".*.dseg-part")] == []
    child = server.start("--resume", "--out", run)
    assert child.wait() == 0, child.text()
    check_same(run, reference.run)
