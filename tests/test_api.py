"""dseg.train and dseg.evaluate by keywords give what the commands give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_runs import run
from PIL import Image
from torch import nn

import dseg
from dseg.api.data import find_data
from dseg.config import make_config
from dseg.config.resumed import find_differences
from dseg.errors import DsegError
from dseg.training import read_config

SAMPLES = Path(dseg.__file__).parent / "samples"
DEMO = ("scenes", SAMPLES)
FEW: dict[str, Any] = {
    "model": "DABNet",
    "data": DEMO,
    "split": "demo",
    "val_split": None,
    "recipe": "dabnet_cityscapes",
    "overrides": {"steps": 2, "crop": (32, 64)},
    "batch_size": 2,
    "device": "cpu",
    "workers": 0,
}


def write_own(folder: str, count: int = 10) -> None:
    """Write images and masks of two classes, in a folder without splits."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        Path(folder, kind).mkdir(parents=True)
    for index in range(count):
        image = rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)
        mask = np.zeros((64, 96), np.uint8)
        mask[32:] = 1
        image[32:] //= 4
        Image.fromarray(image).save(f"{folder}/images/{index}.png")
        Image.fromarray(mask).save(f"{folder}/masks/{index}.png")
    assert run("init", folder, "--names", "top,bottom").exit_code == 0


def test_keywords_train_as_the_configuration_does(here: Path) -> None:
    assert dseg.train(**FEW, out="words").step == 2
    overrides = ["steps=2", "crop=32x64", "batch=2"]
    config = make_config(
        "dabnet", [("scenes", str(SAMPLES))], recipe="dabnet_cityscapes", overrides=overrides,
        split="demo", val_split="",
    )  # fmt: skip
    assert read_config(Path("words")) == config
    with pytest.raises(DsegError, match="words already contains a run"):
        dseg.train(**FEW, out="words")


@pytest.mark.filterwarnings("ignore:.*schedule changes", "ignore:.*epochs")
def test_a_run_is_continued_by_its_folder_alone(here: Path) -> None:
    dseg.train(**{**FEW, "overrides": {"crop": (32, 64)}}, out="run", epochs=1)
    assert dseg.train(out="run", resume=True, epochs=3).step == 3
    with pytest.raises(DsegError, match="has its own options") as caught:
        dseg.train(model="dabnet", out="run", resume=True)
    assert caught.value.hint == "leave out model."


@pytest.mark.filterwarnings("ignore:.*held back", "ignore:.*not divided into splits")
def test_own_data_get_the_plan_of_the_command(here: Path) -> None:
    write_own("own")
    outcome = dseg.train(data="own", out="words", epochs=1, device="cpu", workers=0)
    assert outcome.best >= 0
    options = ("--epochs", "1", "--device", "cpu", "-j", "0")
    done = run("train", "--dataset", "folder", "--data-dir", "own", "--out", "cli", *options)
    assert done.exit_code == 0, done.output
    assert find_differences(read_config(Path("words")), read_config(Path("cli"))) == []
    scores = dseg.evaluate(weights="words/best.safetensors", data="own", device="cpu")
    assert scores.num_images == len(dseg.load_dataset("folder", "own", "val"))
    options = ("--dataset", "folder", "--data-dir", "own", "--device", "cpu", "--json", "-")
    shown = run("eval", "-w", "words/best.safetensors", *options)
    assert json.loads(shown.stdout)["averageScoreClasses"] == pytest.approx(scores.mean_iou)
    assert "confusion" not in repr(scores)


def test_a_network_gets_the_official_scores_of_cityscapes(here: Path) -> None:
    predictor = dseg.load(device="cpu", quiet=True)
    scores = dseg.evaluate(model=predictor, data=DEMO, split="demo")
    assert scores.num_images == 2
    predictor.predict_folder(SAMPLES / "leftImg8bit", "out", kinds=["label_ids"])
    on_disk = dseg.evaluate("out", SAMPLES / "gtFine" / "demo")
    assert np.array_equal(scores.confusion, on_disk.confusion)
    assert predictor.fall_back


def test_a_module_is_scored_by_its_predictor(here: Path) -> None:
    write_own("own")
    module = nn.Conv2d(3, 2, 1)
    nn.init.zeros_(module.weight)
    module.bias.data = torch.tensor([1.0, 0.0])
    own = dseg.Predictor(module, classes=["top", "bottom"], device="cpu")
    scores = dseg.evaluate(model=own, data="own", split="all")
    assert scores.class_iou == {"top": 0.5, "bottom": 0.0}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("own", [("folder", "own")]),
        (Path("own"), [("folder", "own")]),
        (("CamVid", "a"), [("camvid", "a")]),
        ([("camvid", "a"), ["voc", Path("b")]], [("camvid", "a"), ("voc", "b")]),
    ],
)
def test_data_are_a_folder_or_pairs(data: Any, expected: list[tuple[str, str]], here: Path) -> None:
    assert find_data(data) == expected


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({}, "No data are named"),
        ({"data": 5}, "data cannot be 5"),
        ({"data": "camvid"}, "The folder of the data set camvid is missing"),
        ({"data": ("camvi", "x")}, "No data set named 'camvi'"),
        ({"data": "nothing"}, "nothing does not exist"),
        ({"data": DEMO, "epoch": 3}, "Training has no option 'epoch'"),
        ({"data": DEMO, "overrides": {"rate": 3}}, "does not set a field"),
        ({"data": DEMO, "weights": "a", "backbone_weights": "b"}, "both name the initial weights"),
        ({"data": DEMO, "recipe": "dabnet_cityscapes"}, "No network is named"),
    ],
)
def test_training_refuses_what_makes_no_sense(
    values: dict[str, Any], problem: str, here: Path
) -> None:
    with pytest.raises(DsegError, match=problem):
        dseg.train(**values)
    assert not Path("run/run.json").exists()


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({}, "Neither predictions nor a network"),
        ({"model": "dabnet"}, "A network is scored on a data set"),
        ({"model": "dabnet", "gt_dir": "a"}, "A network is scored on a data set"),
        ({"pred_dir": "a", "data": DEMO, "data_dir": "b"}, "named twice"),
        ({"model": "dabnet", "data": [DEMO, DEMO]}, "2 data sets are named"),
        ({"model": nn.Conv2d(3, 2, 1), "data": DEMO}, "classes of Conv2d are not known"),
    ],
)
def test_evaluation_refuses_what_makes_no_sense(
    values: dict[str, Any], problem: str, here: Path
) -> None:
    with pytest.raises(DsegError, match=problem):
        dseg.evaluate(**values)


@pytest.mark.parametrize("name", [5, ["dabnet"]])
def test_what_is_no_name_is_not_loaded(name: Any) -> None:
    with pytest.raises(dseg.DsegError, match="is not the name of a network"):
        dseg.load(name)


def test_errors_of_load_name_its_arguments() -> None:
    with pytest.raises(DsegError) as caught:
        dseg.load(precision="int8", quiet=True)
    hint = "run dseg export --precision int8, and name its file with weights."
    assert caught.value.hint == hint


def test_options_become_arguments_where_there_are_some() -> None:
    from dseg.api.words import in_python
    from dseg.config import EvalConfig

    @in_python(EvalConfig, others=["overrides"])
    def fail(*, runtime: str, class_file: str, instances: bool) -> None:
        raise DsegError(
            "--runtime is odd (or --classes FILE); try --runtime onnx.",
            hint="use --classes, --no-instances or --set lr=1, not --out.",
        )

    with pytest.raises(DsegError) as caught:
        fail(runtime="", class_file="", instances=True)
    assert str(caught.value) == (
        'runtime is odd (or class_file=FILE); try runtime="onnx".\n'
        "Hint: use class_file, instances=False or overrides lr=1, not --out."
    )
