"""GCNet: its blocks are folded exactly, in every command; what its in-place ReLU changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from authors_masks import draw_image
from cli_runs import pixels, run
from golden.fill import make_input
from goldens import FOLDER, load_golden, read_contract, save_as_the_authors_do
from PIL import Image
from torch import Tensor, nn

import dseg
from dseg.checkpoints import load_model
from dseg.config import RuntimeConfig, TrainConfig
from dseg.datasets import load_dataset
from dseg.distributed import Group
from dseg.folding import fold_blocks, prepare
from dseg.graphs.trace import trace
from dseg.models import SegModel, build_model
from dseg.nn.reparam import Foldable, ParallelConv
from dseg.recipes import find_recipe
from dseg.training.network import make_model

SAMPLES = Path(dseg.__file__).parent / "samples"
GOLDENS = ["gcnet_s_gyyang", *(f"gcnet_{size}_gyyang" for size in "ml")]
MARKED = [GOLDENS[0], *(pytest.param(name, marks=pytest.mark.slow) for name in GOLDENS[1:])]
BLOCKS, OTHERS = {"gcnet_s": 30, "gcnet_l": 36}, 20  # blocks, convolutions outside them


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def authors_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest network's file, in the form for training."""
    file = tmp_path_factory.mktemp("gcnet") / "train.pth"
    save_as_the_authors_do(read_contract(FOLDER, GOLDENS[0]), file)
    return file


@pytest.fixture
def folded_file(authors_file: Path, tmp_path: Path) -> Path:
    """The same network with folded blocks, as a bare state dict."""
    model = load_model(None, authors_file)
    fold_blocks(model)
    torch.save(model.state_dict(), tmp_path / "folded.pth")
    return tmp_path / "folded.pth"


def convolutions(model: nn.Module) -> int:
    return sum(isinstance(module, nn.Conv2d) for module in model.modules())


def inputs_of(contract: dict[str, Any]) -> Iterator[tuple[str, Tensor]]:
    for case, facts in contract["outputs"].items():
        yield case, torch.from_numpy(make_input(facts["seed"], facts["height"], facts["width"]))


def difference(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference in standard deviations."""
    return ((found - expected).abs().max() / expected.std()).item()


@pytest.mark.parametrize("golden", MARKED)
def test_folded_blocks_compute_the_same_for_every_golden(golden: str, tmp_path: Path) -> None:
    contract = read_contract(FOLDER, golden)
    save_as_the_authors_do(contract, tmp_path / "authors.pth")
    model = load_golden(golden, tmp_path / "authors.pth")
    deployed = prepare(model, device="cpu", channels_last=False)
    assert not any(isinstance(module, Foldable) for module in deployed.modules())
    for _, image in inputs_of(contract):
        (expected,), (found,) = model.logits(image), deployed.logits(image)
        assert difference(found, expected) < 1e-5
        assert torch.equal(found.argmax(1), expected.argmax(1))


def test_kernels_are_those_that_the_authors_fold(authors_file: Path) -> None:
    model = load_model(None, authors_file)
    fold_blocks(model)
    recorded = np.load(FOLDER / f"{GOLDENS[0]}.npz")
    for index in (2, 6):  # with the input itself among the paths, and without
        conv = model.stem[index].conv
        theirs = {
            name: torch.from_numpy(recorded[f"fold_backbone.stem.{index}.reparam_3x3.{name}"])
            for name in ("weight", "bias")
        }
        assert difference(conv.weight[:16, :16], theirs["weight"]) < 1e-5
        assert difference(conv.bias, theirs["bias"]) < 1e-5


def test_a_file_of_either_form_gives_the_same_mask(
    authors_file: Path, folded_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(draw_image(187, 250)).save("a.png")
    forms = {"train": authors_file, "folded": folded_file}
    for name, file in forms.items():
        result = run("infer", "a.png", "-w", file, "-o", name, "--save", "train_ids")
        assert result.exit_code == 0, result.output
        assert "The network is gcnet_s" in result.stderr
    masks = [pixels(f"{name}/train_ids/a.png") for name in forms]
    assert len(np.unique(masks[0])) > 5
    assert np.array_equal(*masks)
    assert [load_model(None, file).card.kwargs["folded"] for file in forms.values()] == [
        False,
        True,
    ]


@pytest.mark.parametrize("name", BLOCKS)
def test_each_block_becomes_one_convolution(name: str) -> None:
    with torch.device("meta"):
        model = build_model(name)
    assert convolutions(model) == 6 * BLOCKS[name] + OTHERS
    assert convolutions(prepare(model, device="meta")) == BLOCKS[name] + OTHERS
    with torch.device("meta"):
        assert convolutions(build_model(name, folded=True)) == BLOCKS[name] + OTHERS


def test_an_exported_graph_has_the_folded_form(authors_file: Path) -> None:
    graph = trace(load_model(None, authors_file), size=(64, 96))
    operations = [node.op_type for node in graph.graph.node]
    assert operations.count("Conv") == BLOCKS["gcnet_s"] + OTHERS


def test_a_relu_that_is_not_in_place_gives_the_recorded_change(authors_file: Path) -> None:
    contract = read_contract(FOLDER, GOLDENS[0])
    model = load_model(None, authors_file)
    images = dict(inputs_of(contract))
    before = model.logits(images["even"])[0]
    for fusion in model.fusions:
        fusion.add_after_relu = False
    change = difference(model.logits(images["even"])[0], before)
    recorded = contract["if_the_shared_relu_were_not_in_place"]["main_max_change_over_std"]
    assert change == pytest.approx(recorded, rel=1e-3)


def test_a_block_of_two_names_is_folded_once_and_draws_no_numbers() -> None:
    model = nn.ModuleDict({"a": ParallelConv(3, 3), "b": nn.Sequential(nn.ReLU())})
    model["b"].append(model["a"])
    random = torch.get_rng_state()
    fold_blocks(model)
    assert torch.equal(torch.get_rng_state(), random)
    assert isinstance(model["a"].conv, nn.Conv2d)
    assert model["b"][1] is model["a"]


def test_the_networks_own_blocks_do_not_change() -> None:
    model: SegModel = build_model("gcnet_s").eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for weight in prepare(model, device="cpu").parameters():
        weight.zero_()
    after = model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_training_folded_blocks_is_a_warning(folded_file: Path) -> None:
    config = TrainConfig(
        **{"model": "gcnet_s", "datasets": (("scenes", str(SAMPLES)),), "split": "demo"},
        **{"val_split": "", "label_space": "", "class_file": "", "recipe_name": ""},
        **{"weights": str(folded_file), "reset_head": False, "backbone_weights": "", "amp": "off"},
        **{"on_bad_data": "stop", "world_size": 1, "seed": 0, "deterministic": False},
        recipe=find_recipe("gcnet"),
    )
    scenes = load_dataset("scenes", SAMPLES, "demo")
    runtime = RuntimeConfig(device="cpu")
    _, remarks = make_model(config, scenes, Group(), torch.device("cpu"), runtime)
    assert "WARNING: the blocks in folded.pth are folded for inference" in remarks


def test_the_published_recipe() -> None:
    recipe = find_recipe("gcnet")
    assert (recipe.optimizer, recipe.lr, recipe.momentum, recipe.power) == ("sgd", 0.01, 0.9, 0.9)
    assert (recipe.steps, recipe.batch, recipe.weight_decay) == (120_000, 12, 5e-4)
    assert (recipe.crop, recipe.scales, recipe.continuous) == ((1024, 1024), (0.5, 2.0), True)
    assert (recipe.loss, recipe.aux_loss, recipe.aux_weight) == ("ohem", "ohem", 0.4)
    assert (recipe.ohem_threshold, recipe.ohem_keep * 3 * 1024**2) == (0.9, 131_072)
    assert sum(recipe.published_weights) == pytest.approx(19.0001)
