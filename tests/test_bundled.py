"""The weights that ship: what they are, that they are found, and that they know a street."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runs import run

import dseg
from dseg.checkpoints import find_bundled, sha256
from dseg.checkpoints.locations import bundled_folder
from dseg.errors import CheckpointError

ROOT = Path(__file__).parent.parent
SAMPLES = Path(dseg.__file__).parent / "samples"
FILES = sorted((ROOT / "weights").glob("*.safetensors"))


def test_what_ships_is_found_from_anywhere(here: Path) -> None:
    assert find_bundled() == ROOT / "weights" / "dabnet.safetensors"
    assert bundled_folder() in (ROOT / "weights",)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_file_is_small_and_the_one_that_the_table_says(file: Path) -> None:
    assert file.stat().st_size <= 6_000_000
    assert f"`{sha256(file)}`" in (ROOT / "weights" / "README.md").read_text()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_file_has_cityscapes_classes_and_its_scores(file: Path) -> None:
    model = dseg.load_model(weights=file)
    assert model.card.network == file.stem
    assert model.card.label_space.name == "cityscapes"
    table = (ROOT / "weights" / "README.md").read_text()
    for name in ("camvid_test_miou", "scenes_val_miou"):
        assert f"{100 * model.card.scores[name]:.2f}" in table


def test_the_demo_segments_the_drawn_streets_without_naming_a_network(here: Path) -> None:
    images = SAMPLES / "leftImg8bit"
    result = run("infer", "--img-dir", images, "--out", "out", "--device", "cpu")
    assert result.exit_code == 0
    assert "No network is named: using the bundled dabnet.safetensors" in result.stderr
    truth = SAMPLES / "gtFine" / "demo"
    assert run("eval", "--pred-dir", "out", "--gt-dir", truth, "--json", "s.json").exit_code == 0
    found = json.loads(Path("s.json").read_text())["classScores"]
    assert found["road"] > 0.8 and found["building"] > 0.7 and found["sky"] > 0.6


def test_an_installation_without_them_says_what_to_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dseg.checkpoints.locations.bundled_folder", lambda: Path("nowhere"))
    with pytest.raises(CheckpointError) as caught:
        find_bundled()
    assert caught.value.exit_code == 3
    assert "choose a network with --model" in caught.value.hint
