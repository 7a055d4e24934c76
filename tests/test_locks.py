"""Folders that several processes write to: one training at a time, any number of identical runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli_runs import contents, refused, run, written
from click.testing import Result
from PIL import Image
from tiny_data import make_camvid
from train_runs import ENV, rows, start_command

from dseg.locks import LockedError, locked

HOLDER = """
import os, sys, time
from pathlib import Path
from dseg.locks import locked
with locked(Path(sys.argv[1])):
    if sys.argv[2:] == ["fork"] and os.fork() == 0:
        print("forked", os.getpid(), flush=True)
        time.sleep(60)
        os._exit(0)
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def holding(file: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Let another process hold a lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(file), *words], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_lock_is_refused_while_it_is_held_and_leaves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "er" / "x.lock"
    with locked(file):
        with pytest.raises(LockedError, match=rf"process {os.getpid()} on .+, since 20\d\d-"):
            locked(file).__enter__()
        assert file.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_holder_blocks_nobody(tmp_path: Path) -> None:
    file = tmp_path / "x.lock"
    with holding(file) as process:
        with pytest.raises(LockedError, match=f"process {process.pid} on "):
            locked(file).__enter__()
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert file.exists()
        with locked(file):
            pass
    assert not file.exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_worker_that_outlives_its_killed_parent_does_not_keep_the_lock(tmp_path: Path) -> None:
    file = tmp_path / "x.lock"
    with holding(file, "fork") as process:
        assert process.stdout is not None
        process.send_signal(signal.SIGKILL)
        process.wait()
        with locked(file, wait_s=10):  # the worker has perhaps not started yet
            pass


def test_a_link_in_the_place_of_a_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    (tmp_path / "x.lock").symlink_to("mine.txt")
    with pytest.raises(OSError):
        locked(tmp_path / "x.lock").__enter__()
    assert (tmp_path / "mine.txt").read_text() == "kept"


@pytest.fixture
def camvid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return make_camvid(tmp_path / "camvid", 4, 1)


def train_words(*words: object) -> list[object]:
    return [
        *("--model", "DABNet", "--dataset", "camvid", "--data-dir", "camvid", "--out", "run"),
        *("--batch-size", 2, "--set", "crop=32x48", "--device", "cpu", "-j", 0),
        *("--log-every", 1, "--validate-every", 0, "--save-every", 0, "--draw", 0, *words),
    ]


@pytest.mark.parametrize("words", [[], ["--resume"]])
def test_a_second_training_in_a_folder_is_refused(camvid: Path, words: list[object]) -> None:
    with holding(Path("run/.dseg-train.lock")) as process:
        result = run("train", *train_words("--set", "steps=1", *words))
        problem = f"Another dseg train is running in run (process {process.pid} on "
        refused(result, 2, problem, "wait until it has ended, or name another --out.")
        assert written("run") == [".dseg-train.lock"]
    assert run("train", *train_words("--set", "steps=1")).exit_code == 0
    assert ".dseg-train.lock" not in written("run")


def test_a_refused_training_leaves_no_folder(camvid: Path) -> None:
    refused(run("train", *train_words("--set", "steps=1", "--split", "none")), 2, "no split")
    assert not Path("run").exists()


def test_of_two_trainings_in_one_folder_one_is_done_and_a_kill_blocks_nothing(
    camvid: Path, tmp_path: Path
) -> None:
    first = start_command(*train_words("--set", "steps=500"), output=tmp_path / "first.txt")
    first.until(lambda: len(rows(Path("run"))) > 0)
    second = start_command(*train_words("--set", "steps=2"), output=tmp_path / "second.txt")
    assert second.wait() == 2
    error, _ = second.text().splitlines()
    assert error.startswith(f"Error: Another dseg train is running in run (process {first.pid} on")
    first.signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    (tmp_path / "run/run.json").unlink()
    for name in ("state.pt", "state-previous.pt"):
        (tmp_path / "run" / name).unlink(missing_ok=True)
    again = run("train", *train_words("--set", "steps=2"))
    assert again.exit_code == 0, again.stderr
    assert [row["step"] for row in rows(Path("run"))] == [1, 2, 2]


def test_two_alike_runs_of_inference_share_a_folder(here: Path, checkpoint: Path) -> None:
    words = ("infer", "img", "-w", checkpoint, "--device", "cpu")
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "dseg", *map(str, words)], stderr=subprocess.PIPE, env=ENV
        )
        for _ in range(2)
    ]
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    kinds = ("color", "label_ids", "overlay")
    assert written() == sorted(
        [
            *("dseg-run.json", "overview.jpg"),
            *(f"{kind}/{n}" for kind in kinds for n in ("a.png", "sub/b.png")),
        ]
    )
    before = contents("dseg-out")
    assert json.loads(before["dseg-run.json"])["network"] == "mobilenetdenseaspp"
    for name in written():
        if name.endswith(".png"):
            with Image.open(Path("dseg-out", name)) as image:
                image.load()
    assert run(*words, "-o", "alone").exit_code == 0
    assert contents("alone") == before


def test_results_are_not_removed_while_others_write_them(infer: Callable[..., Result]) -> None:
    infer("img")
    before = contents("dseg-out")
    with holding(Path("dseg-out/.dseg-run-7-abc.lock")) as process:
        result = infer("img", "--tile", "32", "--overwrite")
        problem = f"Another run with other options is writing to dseg-out (process {process.pid} on"
        refused(result, 2, problem, "wait until it has ended, or name another --out.")
        assert {k: v for k, v in contents("dseg-out").items() if "lock" not in k} == before
        assert infer("img", "--overwrite").exit_code == 0  # allowed with the same settings
        process.kill()
        process.wait()
        assert infer("img", "--tile", "32", "--overwrite").exit_code == 0
    assert ".dseg-run-7-abc.lock" not in written()


def test_a_record_is_compared_and_written_by_one_run_at_a_time(
    infer: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dseg.predict.manifest.TIMEOUT_S", 0.0)
    with holding(Path("dseg-out/.dseg-run.lock")):
        refused(infer("img"), 2, "Another run with other options is writing to dseg-out")
        assert written() == [".dseg-run.lock"]
    assert infer("img").exit_code == 0


def test_while_a_run_writes_its_lock_is_held(
    infer: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def look(*_: object, **__: object) -> None:
        seen.extend(path.name for path in Path("dseg-out").glob(".dseg-run*.lock"))
        raise KeyboardInterrupt

    monkeypatch.setattr("dseg.predict.Predictor.begin", look)
    assert infer("img").exit_code == 130
    (name,) = seen
    assert name.startswith(f".dseg-run-{os.getpid()}-")
    assert written() == ["dseg-run.json"]
