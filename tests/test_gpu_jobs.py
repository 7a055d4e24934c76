"""The prepared GPU jobs, each tried at a tiny size on the CPU."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_data import make_camvid

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "scripts" / "gpu"), str(ROOT / "scripts")]

import bundled  # noqa: E402
import timed_training  # noqa: E402
import zoo  # noqa: E402
from context import JobContext, make_strict  # noqa: E402
from hold_out_drive import hold_out  # noqa: E402
from jobs import JOBS, run_job  # noqa: E402
from timed_training import (  # noqa: E402
    Order,
    Speed,
    choose_epochs,
    compiling_may_pay,
    compiling_pays,
    find_speed,
    guess_validation,
    make_plan,
)

from dseg.checkpoints import load_model  # noqa: E402
from dseg.errors import DsegError  # noqa: E402

OPTIONS = {"group": 1, "compile": "auto", "keep": []}
ENV = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
FACTS = ("device", "torch", "dtype", "batch")


@pytest.fixture(autouse=True)
def one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def start(name: str, out: Path, *only: str, minutes: float = 5, **options: Any) -> int:
    return run_job(
        name,
        out,
        seconds=60 * minutes,
        tiny=options.pop("tiny", True),
        data=options.pop("data", None),
        only=only,
        options=OPTIONS | options,
    )


def results(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "results.json").read_text())
    return found


def files(out: Path) -> set[str]:
    return {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}


def command(*words: object) -> subprocess.Popen[str]:
    """Start a job as a user does, from the repository's root without PYTHONPATH."""
    return subprocess.Popen(
        [sys.executable, "scripts/gpu/job.py", *map(str, words)],
        cwd=ROOT,
        env=ENV,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(happened: Callable[[], bool], child: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not happened():
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
def test_camvid_stops_on_sigterm_with_its_state_and_goes_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, run = tmp_path / "out", tmp_path / "out.work" / "dabnet"
    data = make_camvid(tmp_path / "data", train=30, size=(96, 128))
    child = command("camvid", "--tiny", "--minutes", 5, "--out", out, "--data", data)
    wait_until((run / "metrics.jsonl").exists, child)
    child.send_signal(signal.SIGTERM)
    child.communicate()
    found = results(out)
    assert (child.returncode, found["complete"], found["finished"]) == (143, False, [])
    plan = found["dabnet"]["plan"]
    assert (plan["epochs"], plan["compiled"]) == (1.0, False)
    assert (run / "state.pt").exists()
    step = found["dabnet"]["step"]
    assert 1 <= step < 16

    assert start("camvid", out, data=data) == 0
    found = results(out)
    assert (found["complete"], found["finished"], len(found["starts"])) == (True, ["dabnet"], 2)
    assert found["dabnet"]["plan"] == plan
    assert found["dabnet"]["step"] == 16  # 32 frames of train and val, 2 a step
    assert [score["step"] for score in found["dabnet"]["validations"]] == [16]
    assert set(FACTS) <= set(found["dabnet"])
    kept = {"best.safetensors", "last.safetensors", "metrics.jsonl", "loss.png", "miou.png"}
    assert files(out) == {"results.json", *kept}
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["kind"] == "train"] == list(range(1, 17))
    assert not (run / "state.pt").exists()  # a finished run has no state

    before = (out / "results.json").read_bytes()
    capfd.readouterr()
    assert start("camvid", out) == 0
    assert "holds the finished job camvid: nothing to do" in capfd.readouterr().out
    assert (out / "results.json").read_bytes() == before


@pytest.mark.slow
def test_zoo_with_too_little_time_keeps_what_it_has(tmp_path: Path) -> None:
    out = tmp_path / "out"
    data = make_camvid(tmp_path / "data", size=(96, 128))
    for kind in ("", "annot"):
        shutil.copytree(data / f"val{kind}", data / f"test{kind}")
    assert start("zoo", out, "fastscnn", "table", data=data) == 1  # two networks are left
    first = results(out)
    assert (first["complete"], first["finished"]) == (False, ["fastscnn"])
    assert first["table"]["checkpoints"] == ["fastscnn"]
    scores = [first["fastscnn"]["test"]["averageScoreClasses"]]
    assert scores == [score["miou"] for score in first["fastscnn"]["validations"]]  # a copy of val
    assert start("zoo", out, minutes=0.1, data=data) == 1
    second = results(out)
    assert second["complete"] is False
    assert "fastscnn" in second["finished"] and "swiftnet_r18" not in second["finished"]
    assert second["fastscnn"] == first["fastscnn"]
    assert set(FACTS) <= set(second["fastscnn"])
    assert "| `fastscnn` | 1 | " in (out / "table.md").read_text()
    assert (out / "curves.png").stat().st_size < 200_000
    model = load_model(weights=out / "fastscnn.safetensors")
    assert (model.card.network, model.card.label_space.name) == ("fastscnn", "camvid")


@pytest.mark.slow
def test_bundled_trains_on_camvid_and_drawn_scenes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert start("bundled", out, "scenes", "dabnet") == 0
    found = results(out)
    assert found["finished"] == ["scenes", "dabnet"]
    assert found["complete"] is False  # the second network was not requested
    assert found["scenes"] == {"train": 4, "val": 1, "size": "96x128"}
    assert (found["dabnet"]["step"], found["dabnet"]["batch"]) == (5, 2)  # of 6 + 4 images
    names = ("best.safetensors", "metrics.jsonl", "miou.png")
    assert files(out) == {"results.json", *(f"dabnet/{name}" for name in names)}
    model = load_model(weights=out / "dabnet" / "best.safetensors")
    assert model.card.label_space.name == "cityscapes"


@pytest.mark.slow
def test_small_compares_what_helps_with_few_images(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert start("small", out) == 0
    found = results(out)
    variants = ["base", "lr", "strong", "mixed", "all"]
    assert found["finished"] == ["scenes", *variants, "table"]
    assert found["scenes"] == {"train": 4, "val": 0, "size": "96x128"}
    assert [found[name]["step"] for name in variants] == [3, 3, 3, 5, 5]  # 6 images, 4 scenes
    assert "lr=0.003" in found["all"]["command"]
    assert files(out) == {"results.json", "table.md", "curves.png"}


def test_one_drive_is_held_out(tmp_path: Path) -> None:
    for name in ("a_1", "a_2", "b_1"):
        for kind, suffix in (("train", "jpg"), ("trainannot", "png")):
            (tmp_path / "all" / kind).mkdir(parents=True, exist_ok=True)
            (tmp_path / "all" / kind / f"{name}.{suffix}").write_text(name)
    assert hold_out(tmp_path / "all", tmp_path / "held", "b") == (2, 1)
    assert files(tmp_path / "held") == {
        *("train/a_1.jpg", "trainannot/a_1.png", "train/a_2.jpg", "trainannot/a_2.png"),
        *("val/b_1.jpg", "valannot/b_1.png"),
    }
    with pytest.raises(SystemExit, match="no image of the drive c"):
        hold_out(tmp_path / "all", tmp_path / "none", "c")


@pytest.mark.parametrize(
    ("only", "fraction"),
    [((), 0.6), (("scenes", "dabnet"), 1.0), (("dabnet", "mobilenetdenseaspp"), 0.6)],
    ids=str,
)
def test_the_first_network_gets_all_of_the_time_unless_another_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, only: tuple[str, ...], fraction: float
) -> None:
    given: list[float] = []
    monkeypatch.setattr(
        bundled, "train_network", lambda context, model, seconds: given.append(seconds)
    )
    context = JobContext("bundled", tmp_path, 10_000, True, only=only)
    bundled.train_dabnet(context)
    assert given == [pytest.approx(10_000 * fraction, rel=0.01)]


def test_throughput_goes_on_behind_what_is_measured(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert start("throughput", out, minutes=0.0) == 1
    held = results(out)
    assert (held["complete"], held["finished"]) == (False, [])
    made_up = {"recipe": "r", "crop": "1x2", "batch": 3, "images_per_s": 4.5, "peak_gb": 6.0}
    held["networks"] = {"dabnet": {**made_up, "dtype": "bf16"}}
    (out / "results.json").write_text(json.dumps(held))
    assert start("throughput", out) == 0
    networks = results(out)["networks"]
    assert networks["dabnet"] == held["networks"]["dabnet"]
    assert set(networks) == {"dabnet", "fastscnn"}
    row = networks["fastscnn"]
    assert (row["recipe"], row["crop"], row["batch"]) == ("fastscnn", "64x64", 2)
    assert row["images_per_s"] > 0 and row["peak_gb"] > 0 and set(FACTS) <= set(row)
    assert "| `dabnet` | r | 1x2 | 3 | 4.5 | 6.00 | bf16 |" in (out / "table.md").read_text()
    assert files(out) == {"results.json", "table.md", "throughput.png"}


def test_check_has_the_bench_before_throughput_and_compiles_last(tmp_path: Path) -> None:
    order = list(JOBS["check"].parts(JobContext("check", tmp_path, 0, True)))
    assert order[:3] == ["tests", "bench", "throughput"]
    assert order[-1] == "bench_compiled"
    out = tmp_path / "out"
    assert start("check", out, "tests", "throughput", "bench_compiled") == 0
    found = results(out)
    assert found["finished"] == ["tests", "throughput", "bench_compiled"]
    assert found["tests"]["exit_code"] == 0
    bf16 = found["throughput"]["bf16"]
    assert (bf16["dtype"], bf16["batch"], bf16["crop"]) == ("bf16", 2, "45x60")
    assert bf16["images_per_s"] > 0


def test_what_is_missing_is_named_at_once(tmp_path: Path) -> None:
    child = command("camvid", "--out", tmp_path / "out")
    out, output = child.communicate()
    assert (child.returncode, out) == (2, "")
    problem, hint = output.splitlines()
    assert problem.startswith("Error: The job camvid needs ")
    assert "the folder of CamVid (--data)" in problem and "a GPU" in problem
    assert "scripts/gpu/README.md" in hint
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.work").exists()


@pytest.mark.parametrize("name", ["camvid", "bundled", "zoo"])
def test_a_folder_of_another_layout_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "data" / "images").mkdir(parents=True)
    with pytest.raises(DsegError, match="camvid data set"):
        start(name, tmp_path / "out", data=tmp_path / "data")
    assert not (tmp_path / "out").exists()


def test_unknown_parts_and_other_jobs_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DsegError, match=r"nonsense.*: dabnet"):
        start("camvid", tmp_path / "out", "nonsense")
    start("throughput", tmp_path / "out", minutes=0.0)
    with pytest.raises(DsegError, match="holds the results of another job: job throughput"):
        start("camvid", tmp_path / "out")


def test_networks_that_dseg_lacks_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(zoo.GROUPS, 1, ("no_such_net", "fast_scnn"))
    context = JobContext("zoo", tmp_path, 0, True, options={"group": 1, "keep": []})
    assert list(zoo.find_parts(context)) == ["fastscnn", "table"]
    assert zoo.find_skipped(context) == ["no_such_net"]
    monkeypatch.setitem(zoo.GROUPS, 1, ("no_such_net",))
    with pytest.raises(DsegError, match="dseg has none of no_such_net"):
        zoo.find_parts(context)
    other = JobContext("zoo", tmp_path, 0, True, options={"group": 2, "keep": ["fastscnn"]})
    with pytest.raises(DsegError, match="--keep names fastscnn"):
        zoo.find_parts(other)


ORDER = Order(words=(), run="", samples=400, val_samples=100, batch=16, validations=10, until=0)


def test_speed_is_of_the_steady_state_by_the_wall_clock() -> None:
    rows = [(22.0, "train", 10), (23.0, "train", 20), (23.5, "train", 30)]
    speed = find_speed([*rows, (24.5, "val", 30), (25.3, "train", 40)], begun=10.0, batch=16)
    assert speed.images_per_s == pytest.approx(320)  # 10 steps of 16 in half a second
    assert speed.start_s == pytest.approx(11.55)  # 12 s less 9 steps of 0.05 s
    assert speed.validation_s == pytest.approx(1.3)  # 1.8 s less 10 steps
    alone = find_speed(rows[:1], begun=10.0, batch=16)
    assert alone.images_per_s == pytest.approx(160 / 12)
    with pytest.raises(DsegError, match="No training step was completed"):
        find_speed([], begun=0.0, batch=16)


def test_a_validation_that_was_not_reached_is_guessed() -> None:
    speed = Speed(images_per_s=400, start_s=10, validation_s=0, rows=9)
    assert guess_validation(speed, ORDER) == 4  # 2 s and 100 images of 20 ms
    assert guess_validation(replace(speed, images_per_s=10), ORDER) == 12


def test_epochs_end_in_time() -> None:
    speed = Speed(images_per_s=400, start_s=10, validation_s=2, rows=9)
    assert choose_epochs(speed, ORDER, 330) == 291  # 97 % of 300 s, one epoch a second
    assert choose_epochs(speed, ORDER, 31.5) == 1.45
    assert choose_epochs(speed, ORDER, 30) == 0
    assert choose_epochs(speed, ORDER, 1e6) == 1000


def test_compiling_is_for_long_runs() -> None:
    plain = Speed(images_per_s=400, start_s=10, validation_s=2, rows=9)
    compiled = Speed(images_per_s=650, start_s=90, validation_s=2, rows=9)
    assert not compiling_may_pay(plain, 300)
    assert compiling_may_pay(plain, 500)
    assert compiling_pays(plain, compiled, ORDER, 400)
    assert not compiling_pays(plain, compiled, ORDER, 80)
    slow = Speed(images_per_s=283, start_s=90, validation_s=2, rows=9)
    assert not compiling_pays(plain, slow, ORDER, 400)


@pytest.mark.parametrize(
    ("compile", "seconds", "measured", "compiled"),
    [("off", 400, [()], False), ("auto", 200, [()], False), ("on", 200, [("--compile",)], True),
     ("auto", 500, [(), ("--compile",)], True)],
)  # fmt: skip
def test_a_plan_measures_what_it_decides_about(
    compile: str,
    seconds: float,
    measured: list[tuple[str, ...]],
    compiled: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def measure(order: Order, *words: str) -> Speed:
        seen.append(words)
        rate, start_s = (650, 90) if words else (400, 10)
        return Speed(images_per_s=rate, start_s=start_s, validation_s=2, rows=9)

    monkeypatch.setattr(timed_training, "measure", measure)
    until = time.monotonic() + seconds
    plan = make_plan(replace(ORDER, compile=compile, until=until))
    assert (seen, plan["compiled"]) == (measured, compiled)
    start_s, rate = {False: (3, 400), True: (50 if len(measured) > 1 else 40, 650)}[compiled]
    epochs = 0.97 * (seconds - start_s - 20) * rate / 400
    assert plan["epochs"] == pytest.approx(epochs, abs=2)
    assert plan["validate_every"] == pytest.approx(plan["epochs"] / 10)


def test_results_are_strict_json() -> None:
    given = {"a": float("nan"), 1: (2.5, float("inf")), "path": Path("x"), "ok": [True, None]}
    assert make_strict(given) == {"a": None, "1": [2.5, None], "path": "x", "ok": [True, None]}
