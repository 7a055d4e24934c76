"""What ``dseg train`` shows and records of a run, ``--dry-run`` and ``--patience``."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runs import refused, run
from PIL import Image
from tiny_data import make_camvid

from dseg.data.transforms import Augmentation
from dseg.labels import unnamed_label_space
from dseg.training import figures, loop
from dseg.training.callbacks import Intervals
from dseg.training.figures import Figures
from dseg.training.metrics import MetricsFile
from dseg.training.padding import find_padding, find_remark, suggest_crop
from dseg.training.provenance import find_commit
from dseg.training.trial import count_validations, describe_duration

CAMVID = (
    *("--model", "DABNet", "--recipe", "dabnet_cityscapes"),
    *("--dataset", "camvid", "--data-dir", "camvid"),
)
TINY = (
    *("train", *CAMVID, "--out", "run", "--batch-size", 2, "--set", "crop=32x48"),
    *("--device", "cpu", "-j", 0, "--draw", 0),
)


@pytest.fixture(autouse=True)
def camvid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return make_camvid(Path("camvid"), 4)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no figures, which takes longer than these runs."""
    monkeypatch.setattr(Figures, "_draw", lambda self: None)


def facts() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("run/run.json").read_text())
    return found


def val_rows() -> list[dict[str, Any]]:
    rows = map(json.loads, Path("run/metrics.jsonl").read_text().splitlines())
    return [row for row in rows if row["kind"] == "val"]


# The start, and run.json


@pytest.mark.usefixtures("undrawn")
def test_a_run_is_described_before_it_starts() -> None:
    words = ("--epochs", 1.5, "--set", "accumulate=2", "--set", "jitter=0.3", "--patience", 3)
    result = run(*TINY, *words, "--validate-every", 0.5)
    lines = result.stderr.replace("\n         ", " ").splitlines()  # wrapped lines are indented
    assert [line.split()[0] for line in lines[:9]] == [
        *("Network", "Device", "Data", "Images", "Classes", "Recipe", "Crops", "Length", "Results")
    ]
    texts = dict(line.split(maxsplit=1) for line in lines[:9])
    assert texts["Network"] == "dabnet, 0.75 M parameters, random weights"
    assert texts["Device"].startswith("cpu, ") and texts["Device"].endswith(", float32")
    assert texts["Data"] == "camvid: 4 images to train on (train), 2 to validate on (val)"
    assert texts["Images"] == "40x56 pixels (height x width)"
    assert texts["Classes"] == "11: Sky, Building, Pole, Road, Pavement, Tree and 5 more"
    assert texts["Recipe"].startswith("dabnet_cityscapes: sgd, learning rate 0.045 (poly), OHEM ")
    crops = "32x48, 2 per step in micro-batches of 1, scaled by 0.75 to 2, flipped, colours changed"
    assert texts["Crops"] == crops
    assert texts["Length"] == (
        "1.5 epochs = 3 steps, validated after every step, ended after 3 validations without a "
        "better mIoU"
    )
    assert texts["Results"] == "run/"


@pytest.mark.usefixtures("undrawn")
def test_run_json_records_where_a_run_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/bin/dseg", "train", "--data-dir", "my data"])
    assert run(*TINY, "--set", "steps=1", "-q").exit_code == 0
    first = facts()
    assert first["command"] == "dseg train --data-dir 'my data'"
    assert first["date"][4:5] == "-" and first["date"].endswith("+00:00")
    assert {"dseg", "torch", "torchvision", "numpy", "python"} == first["versions"].keys()
    assert first["commit"] is None or len(first["commit"].removesuffix("-dirty")) == 40
    assert first["data"]["images"] == {"train": 4, "val": 2}
    assert len(first["data"]["fingerprint"]) == 32
    assert first["classes"][:2] == ["Sky", "Building"]
    assert first["resumed"] == []
    assert first["outcome"] == {"step": 1, "stopped": False, "early": False}
    (row,) = val_rows()
    names = ("step", "epoch", "miou", "pixel_accuracy", "loss")
    assert first["score"]["last"] == first["score"]["best"] == {name: row[name] for name in names}
    monkeypatch.setattr(sys, "argv", ["dseg", "train", "--resume"])
    assert run("train", "--out", "run", "--resume", "--set", "steps=2", "-q").exit_code == 0
    later = facts()
    assert [later[name] == first[name] for name in ("command", "date", "versions", "data")] == [
        *(True, True, True, True)
    ]
    (again,) = later["resumed"]
    assert (again["step"], again["command"]) == (1, "dseg train --resume")
    assert later["score"]["last"]["step"] == 2


@pytest.mark.usefixtures("undrawn")
def test_the_fingerprint_depends_on_the_contents_of_the_data() -> None:
    words = (*TINY, "--set", "steps=1", "-q", "--val-split", "none")
    assert run(*words).exit_code == 0
    before = facts()["data"]["fingerprint"]
    shutil.rmtree("run")
    assert run(*words).exit_code == 0
    assert facts()["data"]["fingerprint"] == before
    assert (facts()["score"], facts()["outcome"]["step"]) == (None, 1)
    shutil.rmtree("run")
    shutil.copy("camvid/train/0.png", "camvid/train/1.png")
    assert run(*words).exit_code == 0
    assert facts()["data"]["fingerprint"] != before


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_is_that_of_the_checkout(tmp_path: Path) -> None:
    package = tmp_path / "here/dseg"
    package.mkdir(parents=True)
    assert find_commit(package) is None
    git = ("git", "-C", str(package.parent), "-c", "user.name=a", "-c", "user.email=a@b.c")
    subprocess.run([*git, "init", "-q"], check=True)
    assert find_commit(package) is None  # no commit yet
    (package / "file.py").write_text("1")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "first"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    assert find_commit(package) == head.stdout.strip()
    (package / "file.py").write_text("2")
    assert find_commit(package) == f"{head.stdout.strip()}-dirty"


# Padding


def test_the_padding_of_a_crop_is_the_part_outside_of_the_image() -> None:
    augmentation = Augmentation(crop=(80, 56))
    assert find_padding(augmentation, [(40, 56)]) == 0.5
    assert find_padding(augmentation, [(40, 56), (80, 56)]) == 0.25
    assert find_padding(replace(augmentation, scales=(2.0,)), [(40, 56)]) == 0
    assert find_padding(replace(augmentation, short_side=80), [(40, 56)]) == 0
    assert find_padding(augmentation, []) == 0


def test_the_suggested_crop_has_less_padding() -> None:
    photos = [(240, 320)] * 3
    wide = Augmentation(crop=(768, 768), scales=(0.5, 2.0), continuous=True)
    assert suggest_crop(wide, photos) == (240, 320)
    small = replace(wide, scales=(0.25, 0.5))
    crop = suggest_crop(small, photos)
    assert crop == (96, 144) and find_padding(replace(small, crop=crop), photos) <= 0.3
    assert find_remark(replace(wide, crop=(240, 320)), photos) == ""


@pytest.mark.usefixtures("undrawn")
def test_much_padding_is_reported_once_with_a_better_crop() -> None:
    words = ("--set", "steps=1", "--set", "scales=1", "--val-split", "none")
    result = run(*TINY, *words, "--set", "crop=80x80")
    assert [line for line in result.stderr.splitlines() if "WARNING" in line] == [
        "WARNING: on average 65 % of each crop is padding: the crop is 80x80, the images are 40x56 "
        "pixels (height x width). Better: --set crop=32x48"
    ]
    shutil.rmtree("run")
    assert "WARNING" not in run(*TINY, *words).stderr


# --dry-run


def test_a_dry_run_tries_a_batch_and_writes_nothing() -> None:
    result = run(*TINY, "--epochs", 3, "--dry-run", "--json", "-")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in Path().iterdir()) == ["camvid"]
    found = json.loads(result.stdout)
    assert (found["dry_run"], found["steps"], found["workers"]) == (True, 6, 0)
    seconds = [found[name] for name in ("read_seconds", "step_seconds", "validation_seconds")]
    assert all(value > 0 for value in seconds)
    assert found["estimated_seconds"] == pytest.approx(
        6 * (seconds[0] + seconds[1]) + 3 * seconds[2]
    )
    assert found["peak_memory_bytes"] > 1e8 and 1 < found["loss"] < 10
    names = [line.split()[0] for line in result.stderr.splitlines()]
    assert names[:1] == ["Network"]
    assert names[-6:] == ["Batch", "Step", "Speed", "Memory", "Time", "Written"]
    assert "for 6 steps and 3 validations of" in result.stderr


def test_a_dry_run_finds_what_a_run_would_fail_of() -> None:
    refused(
        run(*TINY, "--dry-run", "--resume"), 2, "--dry-run tries out a new run", "leave out one"
    )
    Image.fromarray(np.full((40, 56), 77, np.uint8)).save("camvid/trainannot/3.png")
    refused(run(*TINY, "--dry-run", "-q"), 2, "trainannot/3.png holds the value 77")
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (29, "less than a minute"),
        (3300, "about 55 min"),
        (7500, "about 2 h 5 min"),
        (200_000, "about 2.3 days"),
    ],
)
def test_an_estimated_time_is_described_in_words(seconds: float, text: str) -> None:
    assert describe_duration(seconds) == text


@pytest.mark.parametrize(("every", "count"), [(0, 1), (4, 3), (5, 2), (20, 1)])
def test_the_last_step_is_validated_too(every: int, count: int) -> None:
    intervals = Intervals(steps=10, validate_every=every)
    assert count_validations(intervals) == count
    assert sum(intervals.validates(step) for step in range(1, 11)) == count


# --patience


@pytest.fixture
def scripted(undrawn: None, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replace the mean IoU of each validation by the next of these values."""
    scores: list[float] = []
    validate = loop.validate

    def scored(*words: Any, **more: Any) -> Any:
        found = validate(*words, **more)
        return None if found is None else replace(found, mean_iou=scores.pop(0))

    monkeypatch.setattr(loop, "validate", scored)
    return scores


PATIENT = (*TINY, "--batch-size", 4, "--epochs", 10, "--patience", 2, "-q")
NOT_BETTER = [0.3, 0.5, 0.4, 0.5]  # the fourth is the second that is not better


def test_a_run_ends_when_its_score_no_longer_improves(scripted: list[float]) -> None:
    scripted += NOT_BETTER
    result = run(*PATIENT)
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines()[0].startswith("Ended early")
    assert "Trained 4 steps; best validation mIoU: 50.00 %" in result.stderr
    assert [row["step"] for row in val_rows()] == [1, 2, 3, 4]
    assert facts()["outcome"] == {"step": 4, "stopped": False, "early": True}
    assert facts()["settings"]["patience"] == 2
    assert "Nothing left to do." in run("train", "--out", "run", "--resume", "-q").stderr
    scripted += [0.4]
    more = run("train", "--out", "run", "--resume", "--patience", 3, "-q")
    assert more.exit_code == 0 and "Ended early" in more.stderr
    assert [row["step"] for row in val_rows()][4:] == [5]


def test_a_stopped_run_keeps_its_patience(
    scripted: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    take_step = loop.Trainer._take_step

    def stopped(trainer: loop.Trainer, micro_batches: Any) -> None:
        take_step(trainer, micro_batches)
        if trainer.step == 3:  # in the fourth
            os.kill(os.getpid(), signal.SIGTERM)

    scripted += NOT_BETTER
    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "_take_step", stopped)
        assert run(*PATIENT).exit_code == 143
    assert scripted == [0.5] and facts()["outcome"]["stopped"]
    assert "Ended early" in run("train", "--out", "run", "--resume", "-q").stderr
    assert [row["step"] for row in val_rows()] == [1, 2, 3, 4]


@pytest.mark.parametrize("words", [("--val-split", "none"), ("--validate-every", 0)])
def test_patience_requires_validations(words: tuple[Any, ...]) -> None:
    problem = "--patience 2 counts validations, but there are none before the end."
    refused(run(*TINY, "--patience", 2, *words), 2, problem, "--val-split, --validate-every")
    assert not Path("run").exists()


# Figures


def test_figures_are_drawn_first_last_and_for_a_twentieth_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, moments = [0.0], []

    def draw(*_: object) -> None:  # takes a second
        moments.append(clock[0])
        clock[0] += 1.0

    monkeypatch.setattr(figures, "write_loss_plot", draw)
    metrics = MetricsFile(tmp_path / "metrics.jsonl")
    shown = Figures(tmp_path, unnamed_label_space(2), metrics, lambda: clock[0])
    for _ in range(50):  # every second
        shown.update()
        clock[0] += 1.0
    shown.close()
    shown.close()
    assert moments == [0.0, 20.0, 40.0, 53.0]


def test_the_loss_is_drawn_from_the_first_epoch_without_validation() -> None:
    result = run(*TINY, "--set", "steps=4", "--val-split", "none", "--log-every", 100)
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4]  # at the end of each epoch
    assert "step 2/4  train loss" in result.stderr.replace("  epoch", " epoch")
    assert Path("run/loss.png").is_file() and not Path("run/iou.png").exists()
