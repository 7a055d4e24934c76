"""``dseg distill``: runs that resume, what run.json records, and what is refused."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_runs import refused, run, save_noise
from tiny_data import make_camvid
from train_runs import ForkServer, check_same, trained, wait_and_kill

import dseg
from dseg.checkpoints import save_model, sha256
from dseg.config import DistillConfig
from dseg.errors import DsegError
from dseg.labels import CAMVID, VOC
from dseg.models import build_model
from dseg.training.run_json import read_config

OPTIONS = [
    *("--model", "dabnet_camvid", "--epochs", 2, "--batch-size", 2, "--set", "crop=48x56"),
    *("--recipe", "dabnet_camvid", "--set", "accumulate=2", "--deterministic", "--device", "cpu"),
    *("--set", "ema=0.9", "--save-every", 0, "--log-every", 1, "--draw", 1, "--dataset", "camvid"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, images without masks, and teachers of CamVid and of VOC."""
    place = tmp_path_factory.mktemp("distill")
    make_camvid(place / "data")
    for number in range(3):
        save_noise(place / f"more/{number}.png", 40, 56, seed=number)
    for seed, (name, space) in enumerate({"teacher": CAMVID, "other": CAMVID, "voc": VOC}.items()):
        torch.manual_seed(seed)
        network = build_model("fastscnn", space.num_classes)
        network.card = replace(network.card, label_space=space)
        save_model(network, place / f"{name}.safetensors")
    return place


@pytest.fixture
def words(place: Path) -> list[object]:
    """The arguments of a distillation, without its teacher and folder."""
    return [*OPTIONS, "--data-dir", place / "data", "-j", 0]


@pytest.fixture(scope="module")
def reference(server: ForkServer, place: Path) -> Path:
    """An uninterrupted run."""
    words = [*OPTIONS, "--data-dir", place / "data", "-j", 0]
    words += ["--teacher", place / "teacher.safetensors", "--unlabelled", place / "more"]
    child = server.start(*words, "--out", place / "run", command="distill")
    assert child.wait() == 0, child.text()
    return place / "run"


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[ForkServer]:
    server = ForkServer(place)
    yield server
    server.close()


def test_a_killed_distillation_ends_with_the_same_bytes(
    server: ForkServer, place: Path, words: list[object], reference: Path, tmp_path: Path
) -> None:
    run_ = tmp_path / "run"
    words += ["--teacher", place / "teacher.safetensors", "--unlabelled", place / "more"]
    child = server.start(*words, "--out", run_, command="distill")
    wait_and_kill(child, lambda: trained(run_) >= 2)
    child = server.start("--resume", "--out", run_, "-j", 1, command="distill")
    child.until(lambda: trained(run_) >= 4)
    child.signal(signal.SIGTERM)
    assert child.wait() == 143
    assert child.text().splitlines()[-1].endswith(f"Continue: dseg distill --resume --out {run_}")
    child = server.start("--resume", "--out", run_, "-j", 0)  # dseg train continues it too
    assert child.wait() == 0, child.text()
    check_same(run_, reference)


def test_run_json_records_the_teacher(place: Path, reference: Path) -> None:
    record = json.loads((reference / "run.json").read_text())
    teacher = place / "teacher.safetensors"
    assert record["settings"]["distillation"] == {
        "teachers": [[str(teacher), sha256(teacher)]],
        "teacher_models": [],
        "distill": "both",
        "logits_weight": 1.0,
        "channels_weight": 1.0,
        "temperature": 4.0,
        "unlabelled": [str(place / "more")],
        "unlabelled_ratio": 1.0,
    }
    assert record["data"]["images"] == {"train": 6, "val": 2, "unlabelled": 3}


def test_another_teacher_is_refused_and_a_moved_one_is_not(
    place: Path, reference: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(reference, folder)
    again = ("distill", "--resume", "--out", folder)
    other = place / "other.safetensors"
    refused(run(*again, "--teacher", other), 2, "was started with another teacher", "--resume")
    refused(run(*again, "--temperature", 2), 2, "temperature 4.0 -> 2.0")
    moved = tmp_path / "moved.safetensors"
    shutil.copy(place / "teacher.safetensors", moved)
    done = run(*again, "--teacher", moved)
    assert done.exit_code == 0 and "Nothing left to do." in done.stderr
    text = (folder / "run.json").read_text()
    (folder / "run.json").write_text(text.replace("teacher.safetensors", "other.safetensors"))
    refused(run(*again), 3, "is not the file that the run was started with (SHA-256 ")


def test_changed_unlabelled_images_are_refused(place: Path, reference: Path, tmp_path: Path):
    folder, more = tmp_path / "run", tmp_path / "more"
    shutil.copytree(reference, folder)
    shutil.copytree(place / "more", more)
    again = ("distill", "--resume", "--out", folder, "--unlabelled", more)
    assert run(*again).exit_code == 0
    save_noise(more / "1.png", 40, 56, seed=9)
    refused(run(*again), 3, "1 of 11 images or their masks differ", "--accept-data")


def test_wrong_teachers_are_refused(place: Path, words: list[object], tmp_path: Path) -> None:
    start = ("distill", *words, "--out", tmp_path / "run")
    teacher = ("--teacher", place / "teacher.safetensors")
    refused(run(*start), 2, "No teacher is named.", "--teacher FILE")
    refused(run(*start, "--teacher", "no.pth"), 3, "The teacher no.pth does not exist.")
    refused(
        run(*start, "--teacher", place / "voc.safetensors"),
        3,
        "voc.safetensors (21: background, aeroplane, bicycle, ...) cannot be mapped onto those of "
        "the data (11: Sky, Building, Pole, ...).",
    )
    (tmp_path / "net.onnx").touch()
    refused(run(*start, "--teacher", tmp_path / "net.onnx"), 2, "is an exported file")
    two = ("--teacher-model", "fastscnn", "--teacher-model", "fastscnn")
    refused(run(*start, *teacher, *two), 2, "--teacher-model is given 2 times for 1 teacher.")
    unused = "--unlabelled-ratio has no effect without --unlabelled."
    refused(run(*start, *teacher, "--unlabelled-ratio", 2), 2, unused)
    unused = "--channels-weight has no effect with --distill logits."
    refused(run(*start, *teacher, "--distill", "logits", "--channels-weight", 2), 2, unused)
    nothing = ("--logits-weight", 0, "--channels-weight", 0)
    zero = "Nothing is learnt from the teacher: the weight of logits and channels is 0."
    refused(run(*start, *teacher, *nothing), 2, zero)
    more = ("--unlabelled", place / "more", "--cache", "device")
    refused(run(*start, *teacher, *more), 2, "--cache device keeps labelled images only")
    refused(run(*start, *teacher, "--unlabelled", tmp_path / "none"), 2, "none")
    other = ("--teacher-model", "dabnet")
    refused(run(*start, *teacher, *other), 3, "does not fit", "try --teacher-model fastscnn")
    (tmp_path / "copy.safetensors").write_bytes((place / "teacher.safetensors").read_bytes())
    copy = ("--teacher", tmp_path / "copy.safetensors")
    refused(run(*start, *teacher, *copy), 2, "copy.safetensors are the same", "each teacher once")
    assert not (tmp_path / "run").exists()


def test_a_run_without_a_teacher_is_not_continued_with_one(
    place: Path, words: list[object], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    assert run("train", *words, "--set", "steps=1", "--out", folder).exit_code == 0
    assert "distillation" not in json.loads((folder / "run.json").read_text())["settings"]
    again = ("distill", "--resume", "--out", folder)
    refused(run(*again), 2, "was started without a teacher", "dseg train --resume")
    teacher = ("--teacher", place / "teacher.safetensors")
    refused(run(*again, *teacher), 2, "was started without a teacher", "dseg train --resume")


def test_python_names_a_teacher_by_keyword(place: Path, tmp_path: Path) -> None:
    teacher, more, folder = place / "teacher.safetensors", place / "more", tmp_path / "run"
    options: dict[str, Any] = {"data": ("camvid", place / "data"), "model": "dabnet_camvid"}
    options |= {"recipe": "dabnet_camvid", "device": "cpu", "workers": 0, "batch_size": 2}
    options |= {"overrides": {"steps": 1, "crop": (48, 56)}, "val_split": None, "out": folder}
    dseg.train(**options, teacher=teacher, unlabelled=more, temperature=2, distill="logits")
    found = read_config(folder).distillation
    assert found == DistillConfig(
        teachers=((str(teacher), sha256(teacher)),),
        **{"temperature": 2, "distill": "logits", "unlabelled": (str(more),)},
    )
    with pytest.raises(DsegError, match="temperature requires a teacher"):
        dseg.train(**options, temperature=2)
    with pytest.raises(DsegError, match="are the same"):
        dseg.train(**options, teacher=[teacher, teacher])
    with pytest.raises(DsegError, match="distill cannot be 'all'"):
        dseg.train(**options, teacher=teacher, distill="all")
