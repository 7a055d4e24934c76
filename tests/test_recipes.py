"""Recipes: the published values, and how --set changes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runs import run, table_rows

from dseg import MODELS
from dseg.config.resumed import find_differences
from dseg.config.train import TrainConfig
from dseg.errors import DsegError
from dseg.recipes import RECIPES, Recipe, find_recipe
from dseg.recipes.effects import RULES, find_idle
from dseg.recipes.recipe import FIELDS


def test_every_network_names_a_recipe_that_exists() -> None:
    assert {spec.recipe for spec in MODELS.values()} <= set(RECIPES)


def test_the_published_values_of_dabnet_on_camvid() -> None:
    recipe = find_recipe("DABNet-CamVid")
    assert (recipe.optimizer, recipe.lr, recipe.weight_decay) == ("adam", 1e-3, 2e-4)
    assert (recipe.batch, recipe.epochs, recipe.crop) == (16, 1000, (360, 480))
    assert (recipe.warmup, recipe.warmup_from, recipe.power) == (500, 1 / 3, 0.9)
    assert recipe.scales == (0.75, 1.0, 1.25, 1.5, 1.75, 2.0) and not recipe.continuous
    assert sum(recipe.published_weights) == pytest.approx(75.84782)


def test_the_published_values_of_the_accurate_networks() -> None:
    gald, dgcnet = find_recipe("gald"), find_recipe("dgcnet")
    assert (gald.crop, dgcnet.crop) == ((769, 769), (832, 832))
    for recipe in (gald, dgcnet):
        assert (recipe.optimizer, recipe.lr, recipe.power) == ("sgd", 0.01, 0.9)
        assert (recipe.batch, recipe.steps, recipe.weight_decay) == (8, 50_000, 5e-4)
        assert (recipe.loss, recipe.ohem_threshold, recipe.aux_weight) == ("ohem", 0.7, 0.4)
        assert recipe.ohem_keep * recipe.crop[0] * recipe.crop[1] == pytest.approx(100_000)
        assert (recipe.scales[0], recipe.scales[-1], len(recipe.scales)) == (0.7, 2.1, 15)
    assert (find_recipe("gald_fixed").schedule, find_recipe("gald_fixed").lr) == ("constant", 1e-4)
    semseg = find_recipe("semseg")
    assert (semseg.epochs, semseg.batch, semseg.crop) == (200, 16, (713, 713))
    assert (semseg.rotate, semseg.blur, semseg.weight_decay) == (10, 0.5, 1e-4)
    assert find_recipe("psanet").crop == (705, 705)
    assert len(find_recipe("ocnet").published_weights) == 19
    assert (find_recipe("dfn").aux_weight, find_recipe("dfn").edge_weight) == (1.0, 0.1)


@pytest.mark.parametrize(
    ("setting", "field", "value"),
    [
        ("lr=0.5", "lr", 0.5),
        ("crop=360x480", "crop", (360, 480)),
        ("crop=64", "crop", (64, 64)),
        ("scales=0.5,1,2", "scales", (0.5, 1.0, 2.0)),
        ("optimizer=adamw", "optimizer", "adamw"),
        ("continuous=false", "continuous", False),
        ("batch = 4", "batch", 4),
        ("weight-decay=0", "weight_decay", 0.0),
        ("class_weights=log", "class_weights", "log"),
        ("flip=0.25", "flip", 0.25),
        ("mirror=0.25", "flip", 0.25),  # its stored name
    ],
)
def test_a_setting_replaces_one_field(setting: str, field: str, value: object) -> None:
    old = Recipe(source="x")
    new = old.override([setting])
    assert getattr(new, field) == value
    assert type(getattr(new, field)) is type(getattr(old, field))


def make_config(recipe: Recipe) -> TrainConfig:
    return TrainConfig(
        **{"model": "dabnet_camvid", "datasets": (("camvid", "data"),), "split": "train"},
        **{"val_split": "", "label_space": "", "class_file": "", "recipe_name": ""},
        **{"weights": "", "reset_head": False, "backbone_weights": "", "amp": "off"},
        **{"on_bad_data": "stop", "world_size": 1, "seed": 0, "deterministic": False},
        recipe=recipe,
    )


def test_files_of_a_run_keep_the_stored_name_of_flip(tmp_path: Path) -> None:
    from dseg.training.run_json import read_config, write_config

    config = make_config(Recipe(source="x", flip=0.25))
    write_config(tmp_path, config, {})
    stored = json.loads((tmp_path / "run.json").read_text())["settings"]["recipe"]
    assert list(stored)[8:11] == ["continuous", "mirror", "jitter"]
    assert stored["mirror"] == 0.25
    assert read_config(tmp_path) == config


def test_differences_name_fields_as_set_reads_them() -> None:
    configs = [make_config(Recipe(source="x", flip=flip)) for flip in (0.5, 0.0)]
    assert find_differences(*configs) == ["flip 0.5 -> 0.0"]


def test_a_part_of_an_epoch_counts_even_where_the_recipe_has_a_whole_number() -> None:
    assert find_recipe("dabnet_camvid").override(["epochs=2.5", "lr=1"]).epochs == 2.5


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("lr", "Write field=value"),
        ("learning_rate=1", "field=value"),
        ("bach=4", "did you mean batch"),
        ("batch=four", "a whole number"),
        ("batch=0", "use 1 to"),
        ("batch=2.5", "a whole number"),
        ("lr=nan", "use 0 to 100"),
        ("lr=-1", "use 0 to 100"),
        ("crop=0x5", "use 16 to"),
        ("crop=1x2x3", "a size like"),
        ("optimizer=lion", "one of sgd, adam, adamw"),
        ("crop=wide", "now 512x512"),
        ("continuous=maybe", "continuous is true or false, now true"),
        ("scales=wide", "numbers separated by commas, now 0.5,2."),
        ("scales=", "set scales"),
        ("source=me", "field=value"),
    ],
)
def test_a_wrong_setting_has_a_hint(setting: str, words: str) -> None:
    with pytest.raises(DsegError) as caught:
        Recipe(source="x").override([setting])
    assert words in str(caught.value)


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(DsegError, match="did you mean dabnet_camvid"):
        find_recipe("dabnet_camvit")


def test_the_command_lists_recipes_and_shows_values_as_they_are_set() -> None:
    listed = run("recipes").stdout
    assert all(name in listed for name in RECIPES)
    shown = run("recipes", "dabnet-camvid").stdout
    plain = {row[0]: "".join(row[1:]) for row in table_rows(shown)[:-1]}
    assert (plain["crop"], plain["lr"], plain["continuous"]) == ("360x480", "0.001", "false")
    same = [f"{key}={value}" for key, value in plain.items()]
    assert find_recipe("dabnet_camvid").override(same).lr == 1e-3
    assert (
        json.loads(run("recipes", "dabnet_camvid", "--json").stdout)["dabnet_camvid"]["batch"] == 16
    )


def test_an_unknown_recipe_of_the_command_is_two_lines() -> None:
    result = run("recipes", "dabnet_camvit")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 2


@pytest.mark.parametrize(
    ("settings", "borders", "expected"),
    [
        (["lr=1", "ohem_keep=0.1", "loss=ohem"], False, []),
        (["ohem_keep=0.1"], False, ["ohem_keep without loss=ohem or aux_loss=ohem"]),
        (["halvings=3", "steps=9"], False, ["halvings without schedule=halving"]),
        (["epochs=3", "steps=9"], False, ["epochs without steps=0"]),
        (["edge_weight=2"], True, []),
        (["edge_weight=2"], False, ["edge_weight, as the network has no border output"]),
    ],
)
def test_values_without_effect_are_found(settings, borders, expected) -> None:
    base = Recipe(source="x")
    assert find_idle(base.override(settings), base, borders=borders) == expected


def test_every_rule_names_fields_of_recipes() -> None:
    assert {name for names, _, _ in RULES for name in names} <= set(FIELDS)
