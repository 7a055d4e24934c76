"""Resume moved, changed and longer runs: what is accepted, refused and reported."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_runs import contents, refused, run
from click.testing import Result
from PIL import Image
from tiny_data import make_camvid
from train_runs import load, rows

from dseg.datasets import load_dataset
from dseg.training.fingerprint import END, find_changes, take_fingerprint


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set and a finished run of 4 steps, 2 epochs of 4 images."""
    place = tmp_path_factory.mktemp("begun")
    data = make_camvid(place / "data", train=4, val=1)
    result = run(
        *("train", "--model", "DABNet", "--recipe", "dabnet_cityscapes"),
        *("--dataset", "camvid", "--data-dir", data),
        *("--out", place / "run", "--device", "cpu", "-j", 0, "--batch-size", 2, "--draw", 0),
        *(
            "--set",
            "crop=32x48",
            "--set",
            "warmup=0",
            "--epochs",
            2,
            "--save-every",
            0,
            "--log-every",
            1,
        ),
        *("--validate-every", 0, "--deterministic"),
    )
    assert result.exit_code == 0, result.stderr
    return place


@pytest.fixture
def place(begun: Path, tmp_path: Path) -> Path:
    """A copy of it; the copied run still uses the data of the original."""
    shutil.copytree(begun, tmp_path / "place")
    return tmp_path / "place"


def resume(place: Path, *words: object) -> Result:
    return run("train", "--resume", "--out", place / "run", *words)


def moved(place: Path, *words: object) -> Result:
    """Resume the copied run on the copied data."""
    return resume(place, "--data-dir", place / "data", *words)


def facts_of(place: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((place / "run/run.json").read_text())
    return facts


def edit(file: Path) -> None:
    """Replace an image or mask by another of the same size."""
    with Image.open(file) as image:
        pixels = np.asarray(image).copy()
    pixels[:2] = 0 if pixels[0].max() else 1
    Image.fromarray(pixels).save(file)


# Data


def test_a_run_continues_on_a_moved_data_set_of_the_same_content(place: Path, begun: Path) -> None:
    (place / "data").rename(place / "elsewhere")
    result = resume(place, "--data-dir", place / "elsewhere", "--epochs", 3)
    assert result.exit_code == 0, result.stderr
    assert "WARNING" not in result.stderr
    assert load(place / "run")["step"] == 6
    assert facts_of(place)["settings"]["datasets"] == [["camvid", str(place / "elsewhere")]]
    assert resume(place).stderr.splitlines()[0] == "Nothing left to do."


@pytest.mark.parametrize("folder", ["train", "trainannot", "val", "valannot"])
def test_a_file_with_other_content_is_detected(place: Path, folder: str) -> None:
    edit(place / "data" / folder / "0.png")
    before = contents(place / "run")
    problem = (
        "1 of 5 images or their masks differ from those that the run was started with, first "
        f"{place / 'data' / folder.removesuffix('annot') / '0.png'}."
    )
    refused(moved(place), 3, problem, "--accept-data")
    assert contents(place / "run") == before


def test_other_data_are_used_if_they_are_accepted(place: Path) -> None:
    for number in (1, 3):
        edit(place / f"data/train/{number}.png")
    result = moved(place, "--accept-data", "--epochs", 3)
    assert result.exit_code == 0, result.stderr
    assert (
        "WARNING: 2 of 5 images or their masks differ from those that the run was started with, "
        f"first {place / 'data/train/1.png'}; they are accepted."
    ) in result.stderr.splitlines()
    assert [change["step"] for change in facts_of(place)["changes"]] == [4, 4]
    assert "2 of 5 images" in facts_of(place)["changes"][0]["what"]
    assert resume(place).exit_code == 0  # from now on these are the run's


def test_missing_and_new_images_are_named(place: Path) -> None:
    for folder in ("train", "trainannot"):
        (place / "data" / folder / "2.png").rename(place / "data" / folder / "8.png")
        shutil.copy(place / "data" / folder / "0.png", place / "data" / folder / "9.png")
    problem = (
        "The data are not those that the run was started with: 6 images now, 5 then; 1 is "
        "missing, first 2; 2 are new, first 8."
    )
    refused(moved(place), 3, problem, "restore the data set")


def test_accepting_data_requires_resume(tmp_path: Path) -> None:
    result = run("train", "--accept-data", "--out", tmp_path)
    refused(result, 2, "--accept-data requires --resume")


def rewrite_state(place: Path, **changes: Any) -> None:
    for name in ("state.pt", "state-previous.pt"):
        state = torch.load(place / "run" / name, weights_only=True)
        state.update(changes)
        torch.save({k: v for k, v in state.items() if v is not None}, place / "run" / name)


def names_of(*names: str) -> list[Any]:
    """Return what an older dseg saved of the data."""
    return [len(names), hashlib.sha256(json.dumps(names).encode()).hexdigest()]


def test_a_state_of_an_older_dseg_is_resumed_with_a_remark(place: Path) -> None:
    rewrite_state(place, data=names_of("0", "1", "2", "3"), threads=None)
    result = moved(place, "--epochs", 3)
    assert result.exit_code == 0, result.stderr
    assert "The state is from an older dseg, which saved only the names" in result.stderr
    assert load(place / "run")["step"] == 6
    rewrite_state(place, data=names_of("0", "1", "2"))
    refused(moved(place), 3, "4 images now, 3 then, or other names.", "--accept-data")


@pytest.mark.parametrize(
    "data", [[], {}, {"samples": 3, "classes": []}, {"samples": {"a": 1}, "classes": []}, [None]]
)
def test_a_state_without_a_fingerprint_is_refused(place: Path, data: Any) -> None:
    rewrite_state(place, data=data)
    result = moved(place)
    assert result.exit_code == 3 and result.stderr.startswith("Error: "), result.stderr


def test_the_ends_of_long_files_and_all_of_short_ones_count(tmp_path: Path) -> None:
    dataset = load_dataset("camvid", make_camvid(tmp_path / "d", train=2, val=1), "train")
    file = dataset.samples[0].image
    before = take_fingerprint(dataset, None)
    data = bytearray(3 * END)
    file.write_bytes(data)
    long = take_fingerprint(dataset, None)
    assert find_changes(before.state(), long).startswith("1 of 2 images")
    assert find_changes(long.state(), take_fingerprint(dataset, None)) == ""
    for place in (0, END - 1, 2 * END, 3 * END - 1):
        file.write_bytes(data[:place] + b"x" + data[place + 1 :])
        assert find_changes(long.state(), take_fingerprint(dataset, None)) != ""
    file.unlink()  # an unreadable file counts as empty
    gone = take_fingerprint(dataset, None)
    assert find_changes(gone.state(), take_fingerprint(dataset, None)) == ""


def test_other_classes_are_other_data(tmp_path: Path) -> None:
    root = make_camvid(tmp_path / "d", train=2, val=1)
    own = take_fingerprint(load_dataset("camvid", root, "train"), None)
    from dseg.labels import LABEL_SPACES

    mapped = load_dataset("camvid", root, "train", space=LABEL_SPACES["cityscapes"])
    other = take_fingerprint(mapped, None)
    assert find_changes(own.state(), other) == (
        "The classes are not those that the run was started with: 19 now, 11 then"
    )
    assert own.samples.keys() == other.samples.keys()
    assert not set(own.samples.values()) & set(other.samples.values())


# Epochs


def test_a_finished_run_continues_with_more_epochs(place: Path) -> None:
    result = resume(place, "--epochs", 4)
    assert result.exit_code == 0, result.stderr
    change = "The schedule changes from step 4 on: poly over 8 steps (4 epochs), 4 before."
    assert change in result.stderr.splitlines()
    facts = facts_of(place)
    assert (facts["steps"], facts["settings"]["recipe"]["epochs"]) == (8, 4.0)
    assert facts["changes"] == [{"step": 4, "what": change}]
    trained = [row for row in rows(place / "run") if row["kind"] == "train"]
    assert [row["step"] for row in trained] == [1, 2, 3, 4, 5, 6, 7, 8]
    lr = facts["settings"]["recipe"]["lr"]
    power = facts["settings"]["recipe"]["power"]
    assert trained[3]["lr"] == pytest.approx(lr * (1 - 3 / 4) ** power)
    assert trained[4]["lr"] == pytest.approx(lr * (1 - 4 / 8) ** power)
    again = resume(place)
    assert again.stderr.splitlines()[0] == "Nothing left to do."
    assert facts_of(place)["changes"] == [{"step": 4, "what": change}]


@pytest.mark.parametrize("words", [["--epochs", 1], ["--set", "steps=2"]])
def test_fewer_epochs_than_are_done_are_refused(place: Path, words: list[object]) -> None:
    before = contents(place / "run")
    problem = (
        f"{place / 'run'} has done 4 steps (2 epochs), more than the 2 steps (1 epoch) that "
        "are requested."
    )
    refused(resume(place, *words), 2, problem, "use more --epochs")
    assert contents(place / "run") == before


def test_other_values_of_the_recipe_are_refused_with_more_epochs_too(begun: Path) -> None:
    result = resume(begun, "--epochs", 4, "--set", "lr=0.5")
    refused(result, 2, "was started with other options: lr 0.045 -> 0.5.", "continue with its own")


# Threads


def test_another_number_of_threads_is_reported_for_deterministic_runs(place: Path) -> None:
    assert facts_of(place)["threads"] == 1
    rewrite_state(place, threads=3)
    result = resume(place)
    assert result.stderr.splitlines()[0] == (
        "WARNING: this run was computed with 3 threads per process, now 1: its result will differ "
        "from that of an uninterrupted run (set OMP_NUM_THREADS=3)."
    )
    assert result.exit_code == 0
    facts = facts_of(place)
    facts["settings"]["deterministic"] = False
    (place / "run/run.json").write_text(json.dumps(facts))
    assert "WARNING" not in resume(place).stderr


def test_the_same_files_elsewhere_have_the_same_fingerprint(tmp_path: Path) -> None:
    root = make_camvid(tmp_path / "a", train=2, val=1)
    shutil.copytree(root, tmp_path / "b")
    (tmp_path / "c").symlink_to(tmp_path / "b")
    states = [
        take_fingerprint(load_dataset("camvid", tmp_path / name, "train"), None).state()
        for name in "abc"
    ]
    assert states[0] == states[1] == states[2]
