"""The bundled weights: they are found, documented, and segment a street."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from cli_runs import run

import dseg
from dseg.checkpoints import find_bundled, sha256
from dseg.errors import CheckpointError

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "dseg"
SAMPLES = PACKAGE / "samples"
FILES = sorted((PACKAGE / "weights").glob("*.safetensors"))


def test_the_bundled_file_is_found_from_any_folder(here: Path) -> None:
    assert find_bundled() == PACKAGE / "weights" / "dabnet.safetensors"


def test_the_bundled_file_is_found_in_a_zip_file(tmp_path: Path) -> None:
    archive = tmp_path / "dseg.pyz"
    with ZipFile(archive, "w") as packed:
        for file in [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.toml"), *FILES]:
            packed.write(file, file.relative_to(ROOT))
    program = (
        "from dseg.checkpoints import find_bundled, find_weights, sha256\n"
        "file = find_bundled()\n"
        "assert file == find_weights('dabnet'), find_weights('dabnet')\n"
        "print(file, sha256(file))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(archive), "HOME": str(tmp_path), "DSEG_OFFLINE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    file, digest = done.stdout.split()
    assert Path(file).name == "dabnet.safetensors"
    assert digest == sha256(FILES[0])
    assert not Path(file).parent.exists()  # removed when the process ends


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_file_is_small_and_its_digest_is_documented(file: Path) -> None:
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
    assert "Using the bundled demo network dabnet" in result.stderr
    truth = SAMPLES / "gtFine" / "demo"
    assert run("eval", "--pred-dir", "out", "--gt-dir", truth, "--json", "s.json").exit_code == 0
    found = json.loads(Path("s.json").read_text())["classScores"]
    assert found["road"] > 0.8 and found["building"] > 0.7 and found["sky"] > 0.6


def test_without_the_bundled_file_the_hint_names_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dseg.checkpoints.locations.bundled_folder", lambda: Path("nowhere"))
    with pytest.raises(CheckpointError, match="bundled") as caught:
        find_bundled()
    assert caught.value.exit_code == 3
    assert "choose a network with --model" in caught.value.hint
