"""``dseg plan`` and the plans that training uses by default: rules, files, and what they train."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from cli_runs import refused, run
from data_trees import write
from tiny_data import make_camvid

from dseg.planning.choose import choose_crop, make_plan
from dseg.planning.facts import DataFacts, Machine
from dseg.planning.timing import StepTimes
from dseg.recipes.file import read_recipe_file

SMALL = DataFacts(
    train=22,
    val=6,
    height=240,
    width=320,
    sizes=1,
    names=("road", "crack"),
    fractions=(0.95, 0.05),
    cityscapes=False,
)
LARGE = replace(SMALL, train=3000, val=500, height=1080, width=1920, fractions=(0.5, 0.5))
CPU = Machine(device="cpu", name="2 CPU cores", memory=16 << 30)
GPU = Machine(device="cuda", name="a GPU", memory=40 << 30)


def settings() -> dict:
    return json.loads(Path("run/run.json").read_text())["settings"]


@pytest.mark.parametrize(
    ("data", "machine", "crop"),
    [
        (SMALL, CPU, (240, 320)),
        (LARGE, CPU, (312, 552)),
        (LARGE, GPU, (536, 960)),
        (replace(SMALL, height=375, width=500), CPU, (360, 480)),
        (replace(SMALL, height=10, width=4000), CPU, (16, 4000)),
    ],
)
def test_the_crop_fits_the_images_and_the_machine(data, machine, crop) -> None:
    assert choose_crop(data, machine) == crop


def test_few_small_images_are_trained_whole_from_the_bundled_weights() -> None:
    plan = make_plan(SMALL, CPU)
    assert (plan.model, plan.weights, plan.reset_head) == ("dabnet", "bundled", True)
    recipe = plan.recipe
    assert (recipe.crop, recipe.batch, recipe.accumulate) == ((240, 320), 4, 1)
    assert (recipe.class_weights, recipe.epochs) == ("log", 60)
    assert plan.reasons["class_weights"] == "counted here: crack has 5.00% of the pixels"
    assert min(recipe.scales) >= 0.9  # little padding


@pytest.mark.parametrize(("network", "averaged"), [("pidnet_s", True), ("bisenetv2", False)])
def test_class_weights_that_are_counted_do_not_scale_the_loss(network: str, averaged: bool) -> None:
    plan = make_plan(SMALL, CPU, model=network)
    assert (plan.recipe.class_weights, plan.recipe.loss_mean) == ("log", "weights")
    assert ("loss_mean" in plan.reasons) is averaged


def test_images_of_very_different_sizes_are_not_called_whole() -> None:
    same = make_plan(replace(SMALL, smallest=(240, 320), largest=(240, 320)), CPU)
    assert same.reasons["crop"] == "whole images (height x width)"
    assert same.data == "22 images and 6 to validate, 320x240 pixels, 2 classes"
    mixed = make_plan(replace(SMALL, sizes=9, smallest=(225, 300), largest=(2400, 3200)), CPU)
    assert mixed.reasons["crop"] == "fits into most images; 1% of the largest (height x width)"
    assert mixed.data == "22 images and 6 to validate, 300x225 to 3200x2400 pixels, 2 classes"
    assert "whole images" not in mixed.reasons["scales"]


def test_the_classes_of_cityscapes_keep_the_classifier() -> None:
    assert not make_plan(replace(SMALL, cityscapes=True), CPU).reset_head


def test_more_images_get_fewer_passes() -> None:
    plan = make_plan(LARGE, GPU)
    assert plan.recipe.batch == 16
    assert plan.recipe.class_weights == "none"
    assert 100 <= plan.recipe.epochs <= 120
    assert make_plan(replace(LARGE, train=100_000), GPU).recipe.epochs == 10


def test_little_memory_needs_micro_batches() -> None:
    tight = replace(GPU, memory=8 << 30)
    assert make_plan(LARGE, tight).recipe.accumulate == 8
    measured = StepTimes(seconds_per_image=0.01, bytes_per_image=1 << 30)
    assert make_plan(LARGE, tight, times=measured).recipe.accumulate == 4


def test_the_batch_is_divisible_by_the_processes() -> None:
    plan = make_plan(SMALL, replace(CPU, processes=3))
    assert plan.recipe.batch == 6


def test_minutes_become_steps() -> None:
    plan = make_plan(LARGE, CPU, times=StepTimes(0.25), minutes=50)
    assert plan.recipe.batch == 4
    assert plan.recipe.epochs == 2.4  # 1794 steps of 4 images, and validations of whole images
    assert plan.time == "; about 50 min"
    short = make_plan(SMALL, CPU, times=StepTimes(1.0), minutes=1)
    assert short.reasons["epochs"].endswith("steps: the fewest of use, in more than 1 minute")


def test_a_named_network_keeps_its_own_optimizer_at_the_rate_of_its_batch() -> None:
    plan = make_plan(SMALL, CPU, model="bisenetv2", weights="file.pth")
    recipe = plan.recipe
    assert (plan.weights, plan.base, recipe.optimizer) == ("", "bisenetv2", "sgd")
    assert (recipe.lr, recipe.head_lr, recipe.batch) == (0.000625, 10, 4)


@pytest.mark.parametrize("model", ["bisenetv2", "swiftnet_r18", "unet_r18", "sfnet_r18"])
def test_random_weights_learn_by_adam_at_a_high_rate(model: str) -> None:
    plan = make_plan(SMALL, CPU, model=model)
    recipe = plan.recipe
    assert (recipe.optimizer, recipe.lr, recipe.weight_decay) == ("adam", 0.003, 2e-4)
    assert (recipe.head_lr, recipe.backbone_decay, recipe.schedule) == (1, 1, "poly")
    assert recipe.ema == 0.95
    assert "--weights" in plan.reasons["weights"]


def test_random_weights_need_more_passes() -> None:
    plan = make_plan(SMALL, CPU, weights="none")
    assert (plan.weights, plan.reset_head, plan.recipe.epochs) == ("none", False, 120)
    assert plan.reasons["weights"] == "random, as you asked"


def test_training_starts_from_random_weights_on_request(camvid) -> None:
    words = ("--dataset", "camvid", "--data-dir", "data", "--out", "run", "--dry-run")
    result = run("train", *words, "--weights", "none")
    assert result.exit_code == 0, result.output
    assert "parameters, random weights\n" in result.output


@pytest.fixture
def camvid(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return make_camvid(Path("data"), 6, 2)


def test_a_plan_is_written_with_a_reason_for_each_value_and_trained(camvid) -> None:
    words = ("--dataset", "camvid", "--data-dir", "data", "--device", "cpu")
    result = run("plan", *words)
    assert result.exit_code == 0, result.output
    text = Path("plan.toml").read_text()
    assert text.rstrip() == result.stdout.rstrip()
    assert max(map(len, text.splitlines())) <= 80
    assert '\nmodel = "dabnet"        # fast to train, and its weights are bundled\n' in text
    file = read_recipe_file(Path("plan.toml"))
    assert (file.model, file.weights, file.reset_head) == ("dabnet", "bundled", True)
    assert "crop=40x56" in file.overrides
    refused(run("plan", *words), 2, "plan.toml already exists.", "--overwrite")
    trained = run("train", "--recipe", "plan.toml", *words, "--out", "run", "--epochs", 1, "-j", 0)
    assert trained.exit_code == 0, trained.output
    found = settings()
    assert (found["model"], found["weights"], found["recipe_name"]) == (
        *("dabnet", "bundled", "plan.toml"),
    )
    assert (found["recipe"]["crop"], found["recipe"]["epochs"]) == ([40, 56], 1)
    assert run("train", "--resume", "--out", "run").exit_code == 0


def test_few_images_are_planned_without_asking(camvid) -> None:
    words = ("--dataset", "camvid", "--data-dir", "data", "--device", "cpu", "-j", 0)
    result = run("train", *words, "--out", "run", "--epochs", 1, "--set", "lr=0.1")
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines()[0] == (
        "Planned for 6 images and 2 to validate, 56x40 pixels, 11 classes: dabnet, from the "
        "bundled weights, crops of 40x56, 1 epoch (dseg plan explains it; --recipe NAME replaces "
        "it)."
    )
    found = settings()
    assert (found["recipe_name"], found["reset_head"]) == ("planned", True)
    assert found["recipe"]["lr"] == 0.1
    other = run("train", *words, "--out", "other", "--epochs", 1, "--recipe", "dabnet_camvid", "-q")
    assert other.exit_code == 2 and "No network is named" in other.stderr


def test_the_next_command_names_all_that_the_data_need(camvid) -> None:
    space = ("--label-space", "cityscapes")
    result = run("plan", "--dataset", "camvid", "--data-dir", "data", *space, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines()[-1] == (
        "Written: plan.toml. Next: dseg train --recipe plan.toml --dataset camvid --data-dir data "
        "--label-space cityscapes --out run"
    )
    problem = "--dataset is missing, and data has no class file."
    refused(run("plan", "--data-dir", "data", "-o", "b.toml"), 2, problem, "looks like")


def test_the_published_recipe_holds_for_the_data_it_is_for(camvid) -> None:
    words = ("--dataset", "camvid", "--data-dir", "data", "--device", "cpu", "-j", 0)
    small = ("--set", "crop=32x48", "--set", "steps=1", "--batch-size", 2, "-q")
    result = run("train", *words, "--model", "dabnet_camvid", "--out", "run", *small)
    assert result.exit_code == 0, result.output
    assert (settings()["recipe_name"], settings()["weights"]) == ("dabnet_camvid", "")


def test_the_most_accurate_network_within_a_latency_is_chosen(camvid, monkeypatch) -> None:
    times = {"espnet": 5.0, "dabnet": 9.0}

    def measured(work, **_):
        name = work.__defaults__[0].card.network
        return type("Timing", (), {"median_ms": times.get(name, 90.0)})

    monkeypatch.setattr("dseg.planning.timing.measure", measured)
    words = ("--dataset", "camvid", "--data-dir", "data", "--device", "cpu")
    result = run("plan", *words, "--latency", 8, "--json", "-")
    assert json.loads(result.stdout)["model"] == "espnet"
    refused(
        run("plan", *words, "--latency", 1, "--overwrite"), 2, "the fastest is espnet with 5 ms"
    )
    refused(run("plan", *words, "--latency", 1, "--model", "dabnet"), 2, "--latency both choose")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("model = ", "is not valid TOML"),
        ("lr = 0.1", "unknown field 'lr'"),
        ("[recipe]\nlrr = 0.1", "does not set a field of a recipe"),
        ("[recipe]\nlr = 'fast'", "lr=fast is invalid"),
        ("model = 3", "model is 3"),
        ("reset_head = 1", "reset_head is 1"),
        ("base = 'dabnets'", "Unknown recipe 'dabnets'"),
    ],
)
def test_faulty_recipe_files_are_explained(camvid, text, problem) -> None:
    write("own.toml", text)
    words = ("--recipe", "own.toml", "--model", "dabnet", "--dataset", "camvid")
    result = run("train", *words, "--data-dir", "data", "--out", "run")
    assert (result.exit_code, problem in result.stderr) == (2, True), result.stderr
    assert (
        run(
            "train", "--recipe", "gone.toml", *words[2:], "--data-dir", "data", "--out", "run"
        ).exit_code
        == 2
    )
