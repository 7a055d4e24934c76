"""What ``dseg train --resume`` accepts and refuses, and runs with NaN or infinity."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from cli_runs import contents, refused, run
from click.testing import Result
from tiny_data import make_camvid
from train_runs import load, rows

from dseg.checkpoints import load_model


@pytest.fixture(scope="module", autouse=True)
def published_recipes() -> Iterator[None]:
    """Train by the networks' own recipes, not by plans for so few images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dseg.planning.run.FEW", 0)
        yield


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set and a finished run of 3 steps."""
    place = tmp_path_factory.mktemp("options")
    train(place, "--seed", 5, "--validate-every", 0.5, "--log-every", 1)
    return place


@pytest.fixture
def place(begun: Path, tmp_path: Path) -> Path:
    """A copy of it; the copied run still uses the data of the original."""
    shutil.copytree(begun, tmp_path / "place")
    return tmp_path / "place"


def train(place: Path, *words: object) -> Result:
    data = place / "data"
    if not data.exists():
        make_camvid(data, train=4, val=1)
    return run(
        *("train", "--model", "DABNet", "--dataset", "camvid", "--data-dir", data),
        *("--out", place / "run", "--device", "cpu", "-j", 0, "--batch-size", 2, "--draw", 1),
        *("--set", "crop=32x48", "--set", "steps=3", "--save-every", 0, *words),
    )


def resume(place: Path, *words: object) -> Result:
    return run("train", "--resume", "--out", place / "run", *words)


def use_data_of(place: Path) -> None:
    """Let a copied run use the copied data."""
    file = place / "run" / "run.json"
    facts = json.loads(file.read_text())
    facts["settings"]["datasets"] = [["camvid", str(place / "data")]]
    file.write_text(json.dumps(facts))


def test_a_finished_run_is_left_as_it_is(begun: Path):
    before = contents(begun / "run")
    result = resume(begun)
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == "Nothing left to do."
    assert contents(begun / "run") == before


def test_options_that_are_not_given_are_those_of_the_run(begun: Path):
    resume(begun)
    facts = json.loads((begun / "run" / "run.json").read_text())
    assert (facts["conditions"]["validate_every"], facts["conditions"]["log_every"]) == (0.5, 1)
    assert (facts["conditions"]["device"], facts["conditions"]["workers"]) == ("cpu", 0)
    assert facts["settings"]["seed"] == 5
    assert resume(begun, "--model", "DABNet", "--seed", 5).exit_code == 0


@pytest.mark.parametrize(
    ("words", "difference"),
    [
        (["--seed", 6], "seed 5 -> 6"),
        (["--set", "lr=0.5"], "lr 0.045 -> 0.5"),
        (["--batch-size", 4], "batch 2 -> 4"),
        (["--deterministic"], "deterministic False -> True"),
        (["--no-tf32"], "tf32 True -> False"),
        (["--model", "MobileNetDenseASPP"], "model dabnet -> mobilenetdenseaspp"),
        (["--recipe", "dabnet_camvid"], "recipe_name dabnet_cityscapes -> dabnet_camvid"),
        (["--val-split", "none"], "val_split val -> "),
        (["--amp", "bf16"], "amp off -> bf16"),
    ],
)
def test_other_options_are_refused_and_named(begun: Path, words: list[object], difference: str):
    before = contents(begun / "run")
    refused(
        resume(begun, *words),
        2,
        f"was started with other options: {difference}",
        "continue with its own",
    )
    assert contents(begun / "run") == before


def test_a_run_is_not_overwritten(begun: Path):
    before = contents(begun / "run")
    refused(train(begun), 2, "already contains a run", "--resume")
    assert contents(begun / "run") == before


def test_resuming_without_a_run_requires_data(tmp_path: Path):
    problem = f"No data set is named, and {tmp_path / 'run'} has no run to resume."
    refused(resume(tmp_path), 2, problem, "--data-dir")


def test_an_image_more_is_another_data_set(place: Path):
    use_data_of(place)
    for folder in ("train", "trainannot"):
        shutil.copy(place / "data" / folder / "0.png", place / "data" / folder / "9.png")
    refused(resume(place), 3, "6 images now, 5 then; 1 is new, first 9.", "restore the data set")
    assert (place / "run/run.json").exists()  # the run can still be resumed


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"settings": {}}', '{"settings": {"recipe": 3}}', "\udcff"]
)
def test_a_damaged_configuration_is_reported(place: Path, text: str):
    (place / "run" / "run.json").write_bytes(text.encode(errors="surrogateescape"))
    refused(resume(place), 2, "run.json cannot be read", "another --out")


def test_a_damaged_state_is_replaced_by_the_previous_one_with_a_warning(place: Path):
    use_data_of(place)
    wanted = [(row["kind"], row["step"]) for row in rows(place / "run")]
    newest = place / "run" / "state.pt"
    newest.write_bytes(newest.read_bytes()[:-1000])
    result = resume(place)
    assert result.exit_code == 0
    warning = (
        f"WARNING: {newest} is missing or damaged; continuing from state-previous.pt, which is "
        "from step 2."
    )
    assert result.stderr.splitlines().count(warning) == 1
    assert load(place / "run")["step"] == 3
    assert [(row["kind"], row["step"]) for row in rows(place / "run")] == wanted


@pytest.mark.parametrize("content", [{}, {"data": 3}, [1], {"data": [], "trainer": None}, 7])
def test_a_state_of_something_else_is_refused(place: Path, content: object):
    use_data_of(place)
    torch.save(content, place / "run" / "state.pt")
    result = resume(place)
    assert result.exit_code == 3
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == ["Error", "Hint"]


def test_two_damaged_states_are_refused(place: Path):
    use_data_of(place)
    for name in ("state.pt", "state-previous.pt"):
        (place / "run" / name).write_bytes(b"broken")
    refused(resume(place), 3, "contains no readable state", "another --out")


def test_a_plot_on_a_full_disk_is_reported_and_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fill_up(figure: object, part: Path, **options: object) -> None:
        part.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", fill_up)
        result = train(tmp_path, "--log-every", 1, "--validate-every", 1)
    error, hint = result.stderr.splitlines()[-2:]
    assert (result.exit_code, hint[:15]) == (1, "Hint: make room")
    assert error.endswith("loss.png cannot be written: No space left on device.")
    assert load(tmp_path / "run")["step"] == 1
    assert resume(tmp_path).exit_code == 0
    assert (tmp_path / "run" / "loss.png").exists()
    assert [row["step"] for row in rows(tmp_path / "run")] == [1, 2, 2, 3, 3]


def check_not_finite(place: Path, result: Result, fits: Callable[[str], bool]) -> None:
    """Check that a run reports its images, and has saved neither NaN nor infinity."""
    error, hint = result.stderr.splitlines()[-2:]
    assert result.exit_code == 1 and fits(error), error
    assert "lower the learning rate" in hint
    facts = json.loads((place / "run" / "not-a-number.json").read_text())
    assert f" step {facts['step']} " in error
    assert facts["lr"] == pytest.approx(100 * (1 - (facts["step"] - 1) / 40) ** 0.9)
    assert len(facts["images"]) == 2
    assert set(facts["images"]) <= {str(number) for number in range(4)}
    state = load(place / "run")
    assert state["step"] < facts["step"]
    floats = [t for t in state["model"].values() if t.is_floating_point()]
    assert all(bool(torch.isfinite(tensor).all()) for tensor in floats)
    for file in (place / "run").glob("*.safetensors"):
        kept = load_model("DABNet", file, num_classes=11).state_dict()
        assert all(bool(torch.isfinite(tensor).all()) for tensor in kept.values())


RISING = ["--set", "lr=100", "--set", "optimizer=sgd", "--set", "warmup=0", "--set", "steps=40"]


def test_a_nan_loss_ends_the_run_and_is_not_saved(tmp_path: Path):
    result = train(tmp_path, *RISING, "--set", "momentum=0.999")
    check_not_finite(tmp_path, result, lambda error: True)


def test_infinite_weights_are_not_saved_although_the_loss_is_finite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def overflow(optimizer: torch.optim.SGD) -> None:
        overflow.steps += 1
        if overflow.steps == 3:
            optimizer.param_groups[0]["params"][0].data.fill_(float("inf"))

    overflow.steps = 0
    monkeypatch.setattr("torch.optim.SGD.step", lambda self, *a, **k: overflow(self))
    result = train(tmp_path, *RISING)
    check_not_finite(tmp_path, result, lambda error: "weights after step 3 are not finite" in error)
