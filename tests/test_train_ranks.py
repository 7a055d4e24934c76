"""Training in two processes: the weights of one, and a run that survives a killed process.

With OHEM each process selects hard pixels among its own images, and with dropout each draws its own
masks, so neither gives the same numbers in two processes as in one.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_runs import written
from ranks import exit_code, own_words, torchrun
from safetensors.torch import load_file
from tiny_data import make_camvid
from torch import Tensor
from train_cases import START, make_data, train_all

from dseg.checkpoints import load_model
from dseg.data.sampler import StepSampler
from dseg.data.stream import Stream
from dseg.data.transforms import Augmentation
from dseg.datasets import load_dataset
from dseg.distributed import Group
from dseg.labels import IGNORE
from dseg.losses import SegLoss
from dseg.models import build_model
from dseg.training.state import load_state
from dseg.training.validate import validate

TRAIN_CASES = Path(__file__).with_name("train_cases.py")
Runs = tuple[Path, Path, Path]
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The data, and the runs of each case in one process and in two."""
    place = tmp_path_factory.mktemp("ranks")
    data, alone, both = place / "data", place / "alone", place / "both"
    make_data(data)
    result = torchrun(TRAIN_CASES, "cases", data, both)
    assert result.returncode == 0, result.stderr
    before = torch.get_num_threads()
    train_all(data, alone, Group())
    torch.set_num_threads(before)
    return data, alone, both


def read_weights(folder: Path) -> State:
    return load_file(folder / "last.safetensors")


def read_rows(folder: Path, kind: str) -> list[dict[str, Any]]:
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [row for row in rows if row["kind"] == kind]


def find_distance(one: State, other: State, start: State) -> float:
    """Return the distance of the results of two steps from the same weights, relative to a step."""
    parameters = dict(build_model("dabnet_camvid").named_parameters())
    apart = sum(float((one[name] - other[name]).square().sum()) for name in parameters)
    length = sum(float((one[name] - start[name]).square().sum()) for name in parameters)
    return (apart / length) ** 0.5


def find_norm_distance(one: State, other: State) -> float:
    """Return the largest difference of running statistics, relative to values above 1."""
    names = [name for name in one if ".running_" in name or name.endswith("num_batches_tracked")]
    return max(
        float(((one[name] - other[name]).abs() / one[name].abs().clamp(min=1)).max())
        for name in names
    )


def count_labelled(root: Path) -> list[int]:
    """Return the number of labelled pixels in the first step of each of two processes."""
    dataset = load_dataset("camvid", root, "train")
    stream = Stream(dataset, Augmentation(crop=(40, 56)), seed=0, fill=(0, 0, 0))
    shards = [next(iter(StepSampler(batch=8, rank=rank, world_size=2, last=1))) for rank in (0, 1)]
    return [
        sum(int((stream.crop(position).train_ids != IGNORE).sum()) for position in shard)
        for shard in shards
    ]


@pytest.mark.parametrize("case", ["one step", "taught", "weighted", "micro-batches", "one image"])
def test_a_step_of_two_processes_is_that_of_one(runs: Runs, case: str) -> None:
    """Compare steps of plain SGD, which are proportional to the gradient."""
    data, alone, both = runs
    one, other = read_weights(alone / case), read_weights(both / case)
    assert find_distance(one, other, load_file(data / START)) < 3e-5
    assert find_norm_distance(one, other) < 3e-5


def test_the_labelled_pixels_of_that_step_are_unevenly_distributed(runs: Runs) -> None:
    few, many = sorted(count_labelled(runs[0] / "uneven"))
    assert many > 3 * few > 0  # so that the mean of the processes' means differs


def test_the_micro_batches_of_two_processes_add_up_to_one_batch(runs: Runs) -> None:
    """Compare on copies of one image, as batch norm normalises each micro-batch separately."""
    data, alone, both = runs
    one, other = (
        read_weights(alone / "one image"),
        read_weights(both / "one image in micro-batches"),
    )
    assert find_distance(one, other, load_file(data / START)) < 3e-5


def test_after_many_steps_two_processes_are_near_one(runs: Runs) -> None:
    data, alone, both = runs
    one, other = read_weights(alone / "many steps"), read_weights(both / "many steps")
    assert find_distance(one, other, load_file(data / START)) < 1e-3
    losses = [
        [row["loss"] for row in read_rows(folder / "many steps", "train")]
        for folder in (alone, both)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert len(losses[0]) == 4


def test_two_processes_score_three_images_as_one_does(runs: Runs) -> None:
    data, _, both = runs
    network = load_model("dabnet_camvid", both / "many steps/last.safetensors")
    network = network.to(memory_format=torch.channels_last)
    dataset = load_dataset("camvid", data / "noise", "val")
    found = validate(network, dataset, Group(), device="cpu", loss=SegLoss())
    assert found is not None and len(dataset) == 3
    (row,) = read_rows(both / "many steps", "val")
    reported = {name: value for name, value in row["class_iou"].items() if value is not None}
    assert reported == {name: value for name, value in found.class_iou.items() if value == value}
    assert (row["miou"], row["pixel_accuracy"]) == (found.mean_iou, found.pixel_accuracy)
    assert row["loss"] == pytest.approx(found.loss, rel=1e-12)
    assert 0 < row["pixel_accuracy"] < 1


def train_words(out: Path | str, *words: object) -> tuple[object, ...]:
    """Return the arguments of a tiny training in the folder that contains ``camvid``."""
    return (
        *("train", "--model", "dabnet_camvid", "--dataset", "camvid", "--data-dir", "camvid"),
        *("--out", out, "--batch-size", 2, "--set", "crop=32x48", "--device", "cpu", "-j", 0),
        *("--log-every", 1, "--validate-every", 0, "--save-every", 0, "--draw", 0, *words),
    )


@pytest.fixture
def camvid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return make_camvid(tmp_path / "camvid", 6, 3)


@pytest.mark.slow
def test_a_killed_process_is_started_again_and_the_bits_are_the_same(camvid: Path) -> None:
    words = ("--set", "steps=6", "--deterministic", "--resume")
    whole = torchrun("-m", "dseg", *train_words("whole", *words))
    assert whole.returncode == 0, whole.stderr
    killed = torchrun("--max-restarts", 1, TRAIN_CASES, *train_words("killed", *words))
    assert killed.returncode == 0, killed.stderr
    assert "exitcode: -9" in killed.stderr
    for name in ("best.safetensors", "last.safetensors"):
        assert Path("killed", name).read_bytes() == Path("whole", name).read_bytes()
    assert written("killed") == written("whole")
    for kind in ("train", "val"):
        timeless = [
            [
                {**row, "seconds": 0, "data_seconds": 0, "images_per_s": 0}
                for row in read_rows(Path(folder), kind)
            ]
            for folder in ("whole", "killed")
        ]
        assert timeless[0] == timeless[1]
    assert [row["step"] for row in read_rows(Path("killed"), "train")] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_a_bad_sample_of_one_process_is_reported_once_and_ends_both(camvid: Path) -> None:
    (camvid / "train/4.png").write_bytes((camvid / "train/4.png").read_bytes()[:500])
    start = time.perf_counter()
    result = torchrun("-m", "dseg", *train_words("run", "--set", "steps=50", "--no-check"))
    assert exit_code(result) == 1
    reported = [line for line in own_words(result) if line.startswith(("Error:", "Hint:"))]
    assert len(reported) == 2 and "4.png" in reported[0], result.stderr
    assert "--on-bad-data skip" in reported[1]
    assert time.perf_counter() - start < 60


@pytest.mark.slow
def test_a_stopped_torchrun_leaves_a_run_to_resume(camvid: Path) -> None:
    out = Path("run")
    process = start_torchrun("-m", "dseg", *train_words(out, "--set", "steps=100000"))
    try:
        deadline = time.perf_counter() + 60
        while not (out / "state.pt").exists() and time.perf_counter() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode != 0
    assert f"Continue: dseg train --resume --out {out}" in stderr, stderr
    state, file = load_state(out)
    step = state["trainer"]["step"]
    assert (file.name, step >= 1) == ("state.pt", True)
    assert read_rows(out, "train")[-1]["step"] == step
    assert step < 100_000


def start_torchrun(*words: object) -> subprocess.Popen[str]:
    """Start two processes, as ``ranks.torchrun`` does, and let them run."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")
    return subprocess.Popen(
        [*command, "--master-port", str(port), *map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
