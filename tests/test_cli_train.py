"""``dseg train``: the results of a run, and errors before and during training."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_runs import contents, misused, pixels, refused, run, written
from data_trees import CLASSES, TREES, make_cityscapes, make_folder
from PIL import Image
from tiny_data import make_camvid

from dseg.checkpoints import load_model
from dseg.models import build_model
from dseg.training.loop import Trainer

TINY = (
    *("train", "--out", "run", "--batch-size", 2, "--set", "crop=32x48", "--set", "steps=2"),
    *("--device", "cpu", "-j", 0, "--log-every", 1, "-q"),
)
CAMVID = ("--model", "DABNet", "--dataset", "camvid", "--data-dir", "camvid")
FILES = [
    *("best.safetensors", "confusion.png", "iou.png", "last.safetensors", "loss.png"),
    "metrics.jsonl",
    *("miou.png", "predictions/0.png", "predictions/1.png", "run.json", "state.pt"),
]


@pytest.fixture(scope="module", autouse=True)
def published_recipes() -> Iterator[None]:
    """Train by the networks' own recipes, not by plans for so few images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dseg.planning.run.FEW", 0)
        yield


@pytest.fixture(autouse=True)
def camvid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return make_camvid(Path("camvid"))


def train(*words: object):
    return run(*TINY, *words)


def read_rows(kind: str) -> list[dict[str, Any]]:
    rows = map(json.loads, Path("run/metrics.jsonl").read_text().splitlines())
    return [row for row in rows if row["kind"] == kind]


# Results of a run


def test_a_run_leaves_weights_curves_and_pictures(camvid):
    result = train(*CAMVID, "--seed", 7, "--json", "-")
    assert result.exit_code == 0, result.output
    assert written("run") == FILES
    best = read_rows("val")[-1]["miou"]
    assert result.stderr.splitlines() == [
        f"Trained 2 steps; best validation mIoU: {100 * best:.2f} %. Results: run",
        "Next: dseg eval -w run/best.safetensors --dataset camvid --data-dir camvid",
        "Next: dseg infer -w run/best.safetensors PHOTOS",
    ]
    facts = {"run": "run", "step": 2, "stopped": False, "early": False, "best_miou": best}
    assert json.loads(result.stdout) == facts
    assert [(row["step"], row["epoch"]) for row in read_rows("train")] == [(1, 0.3333), (2, 0.6667)]
    assert all(np.isfinite(row["loss"]) and row["lr"] > 0 for row in read_rows("train"))
    config = json.loads(Path("run/run.json").read_text())["settings"]
    assert (config["model"], config["seed"]) == ("dabnet", 7)
    assert config["recipe_name"] == "dabnet_cityscapes"
    assert (config["recipe"]["crop"], config["recipe"]["batch"]) == ([32, 48], 2)
    assert all(pixels(Path("run") / name).std() > 0 for name in FILES if name.endswith(".png"))


def test_its_weights_are_used_without_further_options(camvid):
    train(*CAMVID, "--val-split", "0.2")
    for name in ("best", "last"):
        weights = f"run/{name}.safetensors"
        words = ("--img-dir", "camvid/val", "--device", "cpu", "--out", name)
        assert run("infer", "--weights", weights, *words).exit_code == 0
        assert len(written(Path(name) / "color")) == 2
    assert contents("best/color") == contents("last/color")


@pytest.mark.parametrize("name", TREES)
def test_each_data_set_can_be_trained_on(tmp_path, name):
    TREES[name](Path(name))
    result = train("--model", "dabnet", "--dataset", name, "--data-dir", name)
    assert result.exit_code == 0, result.output
    row = read_rows("val")[-1]
    assert len(row["class_iou"]) == {"camvid": 11, "voc": 21, "folder": 3}.get(name, 19)
    assert 0 <= row["miou"] <= 1


@pytest.mark.parametrize("name", ["MobileNetDenseASPP", "DenseASPP121"])
def test_other_networks_are_trained_by_their_own_recipes(camvid, name):
    result = train(*CAMVID, "--model", name)
    assert result.exit_code == 0, result.output
    assert written("run") == FILES
    assert (
        json.loads(Path("run/run.json").read_text())["settings"]["recipe_name"]
        == "denseaspp_cityscapes"
    )


def test_two_data_sets_are_joined_on_the_classes_of_one(camvid):
    make_cityscapes(Path("scenes"))
    joined = ("--dataset", "scenes", "--data-dir", "scenes", "--label-space", "cityscapes")
    result = train(*CAMVID, *joined)
    assert result.exit_code == 0, result.output
    assert read_rows("train")[-1]["epoch"] == 0.5  # 4 of 6 + 2 images
    assert json.loads(Path("run/run.json").read_text())["settings"]["datasets"] == [
        ["camvid", "camvid"],
        ["scenes", "scenes"],
    ]
    assert len(read_rows("val")[0]["class_iou"]) == 19
    shutil.rmtree("run")
    refused(train(*CAMVID, *joined[:4]), 2, "", "--label-space")
    assert not Path("run").exists()


def test_a_data_set_without_the_validation_split_is_only_trained_on(camvid):
    make_cityscapes(Path("scenes"))
    for kind in ("leftImg8bit", "gtFine"):
        shutil.rmtree(Path("scenes") / kind / "val")
    joined = ("--dataset", "scenes", "--data-dir", "scenes", "--label-space", "camvid")
    words = ("--recipe", "dabnet_camvid", "--out", "run", "--dry-run")
    shown = run("train", *CAMVID, *joined, *words, "--set", "crop=32").output
    assert "8 images to train on (train), 2 to validate on (val of camvid)" in shown
    result = train(*CAMVID, *joined)
    assert result.exit_code == 0, result.output
    facts = json.loads(Path("run/run.json").read_text())
    assert facts["data"]["images"] == {"train": 8, "val": 2}
    shutil.rmtree("run")
    refused(train(*CAMVID, *joined, "--val-split", "half"), 2, "half", "")


def test_training_starts_from_weights_with_a_new_head(camvid):
    assert train(*CAMVID).exit_code == 0
    Path("run/best.safetensors").rename("first.safetensors")
    shutil.rmtree("run")
    make_folder(Path("folder"))
    words = ("--model", "dabnet", "--dataset", "folder", "--data-dir", "folder")
    start = ("--weights", "first.safetensors")
    refused(train(*words, *start), 3, "first.safetensors does not fit dabnet: ", "reset the head")
    assert not Path("run").exists()
    assert train(*words, *start, "--reset-head").exit_code == 0
    assert list(read_rows("val")[0]["class_iou"]) == [entry["name"] for entry in CLASSES["class"]]


def test_a_checkpoint_without_the_recipes_auxiliary_heads_is_reported(camvid):
    small = ("--set", "batch=2", "--set", "crop=64x64", "--set", "aux_weight=0.4")
    words = ("--model", "bisenetv2", *CAMVID[2:], "-w", "first.pth", *small)
    model = build_model("bisenetv2", 11, aux=True)
    torch.save(model.state_dict(), "first.pth")
    assert "no auxiliary heads" not in train(*words).stderr
    torch.save(build_model("bisenetv2", 11).state_dict(), "first.pth")
    messages = train(*words, "-o", "bare").stderr
    assert (
        "first.pth has no auxiliary heads, so the recipe's auxiliary loss (weight 0.4)" in messages
    )


def test_training_continues_with_in_place_norms(camvid):
    state = build_model("dabnet_camvid").state_dict()
    name = next(key for key in state if key.endswith("norm.weight"))
    torch.save({**state, name: torch.full_like(state[name], -0.5)}, "theirs.pth")
    words = ("--model", "dabnet_camvid", *CAMVID[2:], "-w", "theirs.pth", "--set", "lr=1e-9")
    result = train(*words, "--inplace-abn")
    assert result.exit_code == 0, result.output
    learnt = load_model(weights="run/last.safetensors").state_dict()[name]
    torch.testing.assert_close(learnt, torch.full_like(learnt, 0.5), atol=1e-4, rtol=0)
    assert json.loads(Path("run/run.json").read_text())["settings"]["inplace_abn"] is True
    assert run("train", "--out", "run", "--resume", "-q").exit_code == 0


def test_a_run_from_before_inplace_abn_can_be_resumed(camvid):
    assert train(*CAMVID).exit_code == 0
    facts = json.loads(Path("run/run.json").read_text())
    assert facts["settings"].pop("inplace_abn") is None
    Path("run/run.json").write_text(json.dumps(facts))
    assert "Nothing left to do." in run("train", "--out", "run", "--resume", "-q").stderr


def test_a_run_without_validation_has_the_last_weights_only_and_is_not_overwritten(camvid):
    result = train(*CAMVID, "--val-split", "none")
    assert "best validation mIoU: not validated" in result.stderr
    left = ["last.safetensors", "loss.png", "metrics.jsonl", "run.json", "state.pt"]
    assert written("run") == left
    before = contents("run")
    refused(train(*CAMVID), 2, "run already contains a run.", "--resume, or name another --out.")
    assert contents("run") == before


# Errors before training


@pytest.mark.parametrize(
    ("words", "problem", "hint"),
    [
        (["--recipe", "dabnet_camvit"], "Unknown recipe 'dabnet_camvit'.", "dabnet_camvid"),
        (["--set", "flipp=1"], "'flipp=1' does not set a field", "did you mean flip"),
        (["--set", "lr=fast"], "lr=fast is invalid.", "lr is a number"),
        (["--set", "crop=8"], "crop=8 is out of range.", "16 to 8192"),
        (["--batch-size", 0], "batch=0 is out of range.", ""),
        (["--batch-size", 3, "--set", "accumulate=2"], "A batch of 3 cannot be", "batch=4"),
        (["--dataset", "voc"], "2 data sets and 1 folder are named.", "its --data-dir"),
        (["--data-dir", "more"], "1 data set and 2 folders are named.", "its --data-dir"),
        (["--split", "trian"], "no split 'trian'.", "there are: train, val."),
        (["--val-split", "test"], "no split 'test'.", "there are: train, val."),
        (["--val-split", "0.9"], "0.9 of the training split", "up to 0.5"),
        (["--label-space", "citiscapes"], "Unknown label space 'citiscapes'.", "cityscapes"),
        (["--device", "cuda:99"], "This machine has no device 'cuda:99'.", "cpu"),
        (["--amp", "fp16"], "Precision 'fp16' cannot be used on cpu.", ""),
        (["--reset-head"], "--reset-head requires --weights", "--weights"),
        (["--classes", ""], "The class file . cannot be used with camvid", "--classes"),
        (["--inplace-abn"], "--inplace-abn requires --weights", "--weights"),
        (["--raw-weights"], "--raw-weights requires --weights", "--weights"),
        (["--backbone-weights", "imagenet"], "dabnet has no backbone", "denseaspp121"),
        (["--checkpoint-activations"], "dabnet has no dense blocks", ""),
        (["--recipe", "dabnet_camvid", "--label-space", "cityscapes"], "has 11 class weights", ""),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, list) else None,
)
def test_impossible_options_are_refused_before_anything_is_written(camvid, words, problem, hint):
    refused(train(*CAMVID, *words), 2, problem, hint)
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("words", "problem", "hint"),
    [
        (["--dataset", "camvit"], "No data set named 'camvit'.", "did you mean camvid?"),
        (["--dataset", "cityscapes"], "camvid is not a cityscapes data set", "--dataset camvid."),
        (
            [],
            "--dataset is missing, and camvid has no class file.",
            "--dataset camvid, which it looks like",
        ),
    ],
)
def test_a_folder_of_another_kind_is_reported(camvid, words, problem, hint):
    refused(train("--model", "dabnet", "--data-dir", "camvid", *words), 2, problem, hint)
    assert not Path("run").exists()


def test_a_network_is_required(camvid):
    refused(train(*CAMVID[2:]), 2, "No network is named.", "--model")
    misused(train(*CAMVID[2:], "--model", "DABnett"), "Did you mean dabnet")
    refused(
        train(*CAMVID, "--weights", "gone.safetensors"),
        3,
        "Checkpoint gone.safetensors does not exist.",
    )
    assert not Path("run").exists()


def test_a_missing_tensorboard_is_reported_before_training(camvid, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    refused(train(*CAMVID, "--tensorboard"), 2, "TensorBoard", "pip install 'dseg[tensorboard]'")
    assert not Path("run").exists()


def save_ids(path: str, value: int, height: int = 40, width: int = 56) -> None:
    Image.fromarray(np.full((height, width), value, np.uint8)).save(path)


def ignore_all() -> None:
    for number in range(6):
        save_ids(f"camvid/trainannot/{number}.png", 11)


def cut(path: str) -> None:
    Path(path).write_bytes(Path(path).read_bytes()[:900])


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda: save_ids("camvid/trainannot/3.png", 0, 44, 60), "trainannot/3.png has 60x44 pix"),
        (lambda: save_ids("camvid/trainannot/3.png", 77), "trainannot/3.png holds the value 77"),
        (lambda: Path("camvid/train/3.png").write_bytes(b""), "train/3.png"),
        (lambda: Path("camvid/trainannot/3.png").unlink(), "have no mask, the first: camvid/train"),
        (lambda: Path("camvid/trainannot/3.png").write_text("no mask"), "trainannot/3.png"),
        (lambda: save_ids("camvid/valannot/1.png", 77), "valannot/1.png holds the value 77"),
        (lambda: ignore_all(), "All pixels of all masks are ignored."),
        (lambda: [p.unlink() for p in Path("camvid/val").iterdir()], "val of camvid in camvid has"),
        (lambda: shutil.rmtree("camvid/train"), "has no split 'train'"),
    ],
)
def test_bad_data_are_found_before_the_first_step(camvid, spoil, problem):
    spoil()
    refused(train(*CAMVID), 2, problem)
    assert not Path("run").exists()


def test_training_requires_labelled_pixels_besides_bad_samples(camvid):
    ignore_all()
    refused(train(*CAMVID, "--on-bad-data", "skip"), 2, "No pixel of camvid's split train is lab")


# Errors during training


@pytest.mark.parametrize("network", ["MobileNetDenseASPP_OS16", "DenseASPP121_OS16"])
def test_a_single_value_per_channel_is_refused(camvid, network):
    words = ("--model", network, "--set", "crop=16", "--batch-size", 1)
    problem = "Batch norm gets a single value per channel from 1x16x16 pixels"
    refused(train(*CAMVID, *words), 2, problem, "use a larger crop or batch")
    assert written("run") == []
    assert train(*CAMVID, *words[2:]).exit_code == 0  # DABNet's channels have more values


def test_an_image_damaged_in_its_middle_ends_the_run_with_its_name(camvid):
    whole = Path("camvid/train/5.png").read_bytes()
    cut("camvid/train/5.png")
    words = ("--set", "steps=3", "--save-every", 0, "--no-check")
    result = train(*CAMVID, *words)
    refused(result, 1, "camvid/train/5.png cannot be decoded", "--on-bad-data skip.")
    assert [row["step"] for row in read_rows("train")] == [1]
    Path("camvid/train/5.png").write_bytes(whole)
    again = train(*CAMVID, *words, "--resume")
    assert again.exit_code == 3 and "images or their masks differ" in again.stderr
    assert train(*CAMVID, *words, "--resume", "--accept-data").exit_code == 0
    assert [row["step"] for row in read_rows("train")] == [1, 2, 3]


def test_settings_without_effect_are_named(camvid):
    result = train(*CAMVID, "--set", "steps=1", "--set", "edge_weight=2", "--set", "lr_end=0.1")
    warning = (
        "WARNING: without effect in this run: lr_end without schedule=cosine; edge_weight, as the "
        "network has no border output."
    )
    assert [line for line in result.stderr.splitlines() if "WARNING" in line] == [warning]


def test_a_broken_image_can_be_left_out_and_is_named_once(camvid):
    cut("camvid/train/5.png")
    result = train(*CAMVID, "--set", "steps=9", "--on-bad-data", "skip", "--val-split", "none")
    assert result.exit_code == 0
    warning = "WARNING: left out: camvid/train/5.png cannot be decoded: image file is truncated."
    assert [line for line in result.stderr.splitlines() if "WARNING" in line] == [warning]


def test_a_nan_loss_ends_the_run(camvid):
    words = ("--set", "lr=100", "--set", "warmup=0", "--set", "steps=30", "--val-split", "none")
    refused(train(*CAMVID, *words), 1, "run/not-a-number.json", "--set clip=1")
    assert len(json.loads(Path("run/not-a-number.json").read_text())["images"]) == 2
    assert not Path("run/last.safetensors").exists()


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_saves_first_and_a_second_one_ends_at_once(camvid, monkeypatch, times):
    take_step = Trainer._take_step

    def interrupted(trainer: Trainer, micro_batches: Any) -> None:
        take_step(trainer, micro_batches)
        for _ in range(times if trainer.step == 1 else 0):
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_take_step", interrupted)
        result = train(*CAMVID, "--set", "steps=4", "--save-every", 0)
    assert result.exit_code == 130
    last = result.stderr.splitlines()[-1]
    assert "dseg train --resume --out run" in last
    assert last.startswith("Stopped after step 2." if times == 1 else "Hint: ")
    again = run("train", "--resume", "--out", "run", "-q")
    assert again.exit_code == 0, again.output
    assert [row["step"] for row in read_rows("train")] == [1, 2, 3, 4]
