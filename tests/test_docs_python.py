"""docs/python.md and docs/notebook.ipynb do what they say."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cli_runs import run
from doc_code import FILE, blocks_of, cells_of, execute, files_of, read_notebook
from package_sites import installed
from PIL import Image

import dseg
from dseg.synth import draw_scene

SAMPLES = Path(dseg.__file__).parent / "samples" / "leftImg8bit" / "demo" / "dsegville"


@pytest.fixture
def photos(here: Path) -> Path:
    """street.jpg, a folder of two photos, and a folder of own data with its class file."""
    street = Image.open(SAMPLES / "dsegville_000000_000019_leftImg8bit.png").resize((256, 128))
    street.save("street.jpg", quality=95)
    for index in range(2):
        Path("photos").mkdir(exist_ok=True)
        street.save(f"photos/{index}.png")
    for index in range(6):
        image, label_ids, _ = draw_scene(0, index, (64, 96))
        for kind, pixels in {"images": image, "masks": np.where(label_ids == 7, 1, 0)}.items():
            Path("my-photos", kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(f"my-photos/{kind}/{index}.png")
    assert run("init", "my-photos", "--names", "other,road").exit_code == 0
    return here


@pytest.fixture
def packages(here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The two packages of the page, as pip installs them: modules and entry points."""
    files = files_of("python.md")
    entries = files.pop("pyproject.toml").replace("project.entry-points.", "").replace('"', "")
    lines = [line for line in entries.splitlines() if not FILE.match(f"{line}\n")]
    files["mynet/__init__.py"] = ""
    with installed(here / "site", "\n".join(lines), files, monkeypatch) as site:
        yield site


@pytest.mark.filterwarnings("ignore:.*images are held back")
def test_the_examples_of_the_page_run(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = [block for block in blocks_of("python.md", "python") if not FILE.match(block)]
    names = execute(blocks, "python.md")
    assert names["summary"].done == 2
    assert 0 <= names["outcome"].best <= 1
    assert set(names["scores"].class_iou) == {"other", "road"}
    assert names["prediction"].train_ids.shape == (128, 256)
    for kind, count in {"results": 3, "own-results": 3}.items():
        assert len([f for f in Path(kind).iterdir() if f.is_dir()]) == count
    assert Image.open("street-mask.png").size == (256, 128)
    assert "Using the bundled demo network" in capsys.readouterr().err


def test_the_notebook_runs_and_has_no_outputs(here: Path) -> None:
    notebook = read_notebook("notebook.ipynb")
    assert all(not cell.get("outputs") for cell in notebook["cells"])
    names = execute(cells_of(notebook), "notebook.ipynb")
    assert names["outcome"].step == 4
    assert names["prediction"].areas()["road"] > 0.1
    assert names["summary"].done == 2
    assert {"overlay.png", "mask.png"} <= {path.name for path in here.iterdir()}
    shutil.rmtree("run")


def test_every_command_takes_the_network_of_a_package(packages: Path, photos: Path) -> None:
    shown = run("models", "mynet")
    assert "MyNet" in shown.output or "mynet" in shown.output
    options = ("--device", "cpu", "--set", "steps=2", "--set", "batch=2", "--set", "crop=64x64")
    own = ("--dataset", "folder", "--data-dir", "my-photos", "--out", "run", "-j", "0")
    done = run("train", "--model", "MyNet", *own, *options, "--recipe", "fastseg")
    assert done.exit_code == 0, done.output
    done = run("infer", "-w", "run/last.safetensors", "photos", "--out", "out", "--device", "cpu")
    assert done.exit_code == 0, done.output
    found = np.asarray(
        Image.open("out/train_ids/0.png" if Path("out/train_ids").exists() else "out/color/0.png")
    )
    expected = dseg.load(weights="run/last.safetensors", device="cpu")("photos/0.png")
    assert np.array_equal(found, expected.train_ids)
    inspected = run("inspect", "run/last.safetensors")
    assert "mynet" in inspected.output
    assert dseg.build_model("mynet").card.kwargs == {"width": 24}


def test_every_command_takes_the_data_set_of_a_package(packages: Path, here: Path) -> None:
    for split in ("train", "val"):
        for kind in ("photos", "masks"):
            Path(f"own/{kind}_{split}").mkdir(parents=True)
        rng = np.random.default_rng(0)
        for index in range(2):
            image = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
            image.save(f"own/photos_{split}/{index}.png")
            mask = np.full((64, 64), 1, np.uint8)
            mask[:20], mask[20:30] = 2, 0
            Image.fromarray(mask).save(f"own/masks_{split}/{index}.png")
    checked = run("check-data", "--dataset", "MyData", "--data-dir", "own")
    assert checked.exit_code == 0, checked.output
    pair = dseg.load_dataset("mydata", "own", "val").read(0)
    assert np.unique(pair.train_ids, return_counts=True)[1].tolist() == [34 * 64, 20 * 64, 640]
    done = run(
        *("train", "--model", "mynet", "--dataset", "mydata", "--data-dir", "own", "--out", "run"),
        *("--set", "steps=1", "--set", "batch=2", "--set", "crop=64x64", "--device", "cpu"),
        *("-j", "0", "--recipe", "fastseg"),
    )
    assert done.exit_code == 0, done.output
    scores = dseg.evaluate(weights="run/last.safetensors", data=("mydata", "own"), device="cpu")
    assert list(scores.class_iou) == ["road", "other"]
