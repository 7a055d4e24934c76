"""The two generations of a run's state, damaged states, and signals."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_data import make_camvid

from dseg.errors import DsegError
from dseg.training import Stop, stopping_on_signals
from dseg.training.state import StateWriter, has_state, load_state, save_state


def make_state(step: int) -> dict[str, Any]:
    return {"step": step, "weights": torch.arange(500_000, dtype=torch.float32)}


def step_of(run: Path) -> tuple[int, str]:
    state, file = load_state(run)
    return state["step"], file.name


def test_the_state_before_the_newest_is_kept(tmp_path: Path):
    assert not has_state(tmp_path)
    for step in (1, 2, 3):
        save_state(tmp_path, make_state(step))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["state-previous.pt", "state.pt"]
    assert step_of(tmp_path) == (3, "state.pt")
    (tmp_path / "state.pt").unlink()  # killed after the old one was renamed
    assert has_state(tmp_path)
    assert step_of(tmp_path) == (2, "state-previous.pt")


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flip(data: bytes) -> bytes:
    place = len(data) // 2  # one bit within the weights
    return data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


@pytest.mark.parametrize("damage", [cut, flip, lambda data: b"", lambda data: b"\x80\x02x" * 9])
def test_the_previous_state_replaces_a_damaged_one(tmp_path: Path, damage):
    save_state(tmp_path, make_state(1))
    save_state(tmp_path, make_state(2))
    newest = tmp_path / "state.pt"
    newest.write_bytes(damage(newest.read_bytes()))
    assert step_of(tmp_path) == (1, "state-previous.pt")


def test_two_damaged_states_are_reported_with_their_problems(tmp_path: Path):
    for name in ("state.pt", "state-previous.pt"):
        (tmp_path / name).write_bytes(b"nonsense")
    with pytest.raises(DsegError) as fault:
        load_state(tmp_path)
    assert fault.value.exit_code == 3
    assert "state.pt: File is not a zip file; state-previous.pt: File" in fault.value.problem
    assert "\n" not in fault.value.problem


class Trap:
    def __reduce__(self):
        return os.mkdir, ("sprung",)


def test_code_in_a_state_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"step": 1, "trap": Trap()}, tmp_path / "state.pt")
    with pytest.raises(DsegError) as fault:
        load_state(tmp_path)
    assert fault.value.exit_code == 3
    assert not (tmp_path / "sprung").exists()
    torch.load(tmp_path / "state.pt", weights_only=False)
    assert (tmp_path / "sprung").exists()  # the trap works


class Failing(io.BytesIO):
    """A file whose first write is incomplete and fails."""

    def __init__(self, fault: BaseException):
        super().__init__()
        self.fault = fault

    def write(self, data: Any) -> int:
        super().write(data[:10])
        raise self.fault


def fail_to_save(run: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda *_: Failing(fault))
        save_state(run, make_state(3))


def test_an_interruption_while_the_state_is_written_leaves_both_generations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    save_state(tmp_path, make_state(1))
    save_state(tmp_path, make_state(2))
    with pytest.raises(KeyboardInterrupt):
        fail_to_save(tmp_path, monkeypatch, KeyboardInterrupt())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["state-previous.pt", "state.pt"]
    assert step_of(tmp_path) == (2, "state.pt")


def test_a_full_disk_leaves_both_generations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save_state(tmp_path, make_state(1))
    save_state(tmp_path, make_state(2))
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(DsegError) as fault:
        full = OSError(errno.ENOSPC, "No space left on device")
        fail_to_save(tmp_path, monkeypatch, full)
    assert fault.value.exit_code == 1
    assert fault.value.problem == (
        f"{tmp_path / 'state.pt'} cannot be written: No space left on device."
    )
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before
    save_state(tmp_path, make_state(3))
    assert step_of(tmp_path) == (3, "state.pt")


def test_the_exit_code_of_a_stop():
    stop = Stop()
    assert (stop(), stop.exit_code) == (False, 0)
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        stop.signal = number
        assert (stop(), stop.exit_code) == (True, code)


def test_signals_are_recorded_and_their_handlers_restored():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stopping_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert (stop(), stop.exit_code) == (True, 143)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_outside_the_main_thread_handlers_are_unchanged():
    found: list[Any] = []

    def look() -> None:
        with stopping_on_signals() as stop:
            found.append((signal.getsignal(signal.SIGTERM), stop()))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [(before, False)]


def test_too_little_memory_is_not_reported_as_damage(tmp_path: Path, monkeypatch):
    for step in (1, 2):
        save_state(tmp_path, make_state(step))

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(RuntimeError, match="allocate memory"):
        load_state(tmp_path)


def test_a_state_is_written_with_the_values_at_the_time_of_saving(tmp_path: Path, monkeypatch):
    begin = threading.Event()

    def later(run: Path, state: dict[str, Any]) -> None:
        assert begin.wait(60)
        save_state(run, state)

    monkeypatch.setattr("dseg.training.state.save_state", later)
    weights = torch.ones(3)
    writer = StateWriter(tmp_path)
    writer.save({"deep": [{"weights": weights}], "pair": (1, weights)})
    weights.zero_()  # the next step
    assert not has_state(tmp_path)
    begin.set()
    writer.wait()
    state, _ = load_state(tmp_path)
    assert state["deep"][0]["weights"].tolist() == [1, 1, 1]
    assert state["pair"][0] == 1
    assert state["pair"][1].tolist() == [1, 1, 1]


@pytest.mark.parametrize("call", ["save", "wait"])
def test_a_state_that_could_not_be_written_is_reported_by_the_next_call(
    tmp_path: Path, monkeypatch, call: str
):
    def fail(run: Path, state: dict[str, Any]) -> None:
        raise DsegError("The disk is full.", hint="make room.")

    writer = StateWriter(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("dseg.training.state.save_state", fail)
        writer.save(make_state(1))
        with pytest.raises(DsegError, match="The disk is full"):
            writer.save(make_state(2)) if call == "save" else writer.wait()
    writer.save(make_state(3))
    writer.wait()
    assert step_of(tmp_path) == (3, "state.pt")


def test_sigterm_for_all_processes_of_a_job_leaves_the_workers_to_their_parent(tmp_path):
    make_camvid(tmp_path / "data", 8, 2)
    words = ("--model", "dabnet", "--dataset", "camvid", "--data-dir", tmp_path / "data")
    small = (
        "--set",
        "crop=32x48",
        "--batch-size",
        2,
        "--set",
        "steps=100000",
        "--val-split",
        "none",
    )
    run = ("--out", tmp_path / "run", "--device", "cpu", "-j", 2, "--log-every", 1)
    child = subprocess.Popen(
        list(map(str, (sys.executable, "-m", "dseg", "train", *words, *small, *run))),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    metrics = tmp_path / "run" / "metrics.jsonl"
    end = time.monotonic() + 120
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < end:
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGTERM)
    text = child.communicate(timeout=120)[1]
    assert child.returncode == 143, text
    assert "Stopped after step" in text and "Traceback" not in text
