"""Weights of backbones: which files fit, which are refused, and where ImageNet's are found."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import pytest
import torch
from checkpoint_files import Evil, refused, write
from file_server import serving
from golden.fill import fill_state_dict
from goldens import FOLDER, read_contract
from torchvision_nets import LITTLE, OnResNet, saved, theirs

from dseg.checkpoints import load_backbone, save_model
from dseg.checkpoints.backbone import find_backbone_weights
from dseg.checkpoints.keys import map_keys
from dseg.errors import DsegError
from dseg.models import build_model

FILE = "mobilenet_v2-b0353104.pth"
AUTHORS_ALONE = {
    "ddrnet_23_slim": "ddrnet_23_slim_aug_ydhonghit",
    "pidnet_s": "pidnet_s_aug_xujiacong",
}
URL = f"https://download.pytorch.org/models/{FILE}"


@pytest.mark.slow
def test_a_file_of_another_depth_is_refused_and_named(tmp_path: Path) -> None:
    model = build_model("denseaspp121")
    before = copy.deepcopy(model.state_dict())
    fault = refused(lambda: load_backbone(model, saved(theirs("densenet169"), tmp_path / "d.pth")))
    assert "d.pth does not fit densenet121, the backbone of denseaspp121: " in fault.problem
    assert "unknown (first denseblock3.denselayer25.norm1.weight)" in fault.problem
    assert "the file fits densenet169, the backbone of denseaspp169, den" in fault.hint
    assert "densenet121-a639ec97.pth" in fault.hint
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    fault = refused(lambda: load_backbone(OnResNet(50), saved(theirs("resnet152"), tmp_path / "r")))
    assert "the file fits resnet152, which no network of dseg uses" in fault.hint


@pytest.mark.parametrize("lost", ["features.norm5.bias", "features.denseblock2.denselayer3.conv1"])
def test_a_file_that_lacks_a_part_is_refused(tmp_path: Path, lost: str) -> None:
    state = theirs("densenet121").state_dict()
    state = {key: value for key, value in state.items() if not key.startswith(lost)}
    model = build_model("denseaspp_densenet121_citys")
    fault = refused(lambda: load_backbone(model, write(state, tmp_path / "d.pth")))
    assert f"1 missing (first {lost.removeprefix('features.')}" in fault.problem


def test_a_file_without_any_known_key_is_refused(tmp_path: Path) -> None:
    file = write({"a": torch.ones(2), "classifier.1.bias": torch.ones(3)}, tmp_path / "j.pth")
    fault = refused(lambda: load_backbone(build_model(LITTLE), file))
    assert "0 keys matched, 255 missing (first stem.conv.weight)" in fault.problem


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x00\x01" * 50, b"PK\x03\x04"])
def test_a_file_that_is_not_a_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "junk.pth").write_bytes(content)
    fault = refused(lambda: load_backbone(build_model(LITTLE), tmp_path / "junk.pth"))
    assert "not a complete checkpoint" in fault.problem


def test_a_file_that_does_not_exist_is_reported(tmp_path: Path) -> None:
    fault = refused(lambda: load_backbone(build_model(LITTLE), tmp_path / "none.pth"))
    assert fault.problem == f"Checkpoint {tmp_path / 'none.pth'} does not exist."
    assert URL in fault.hint


def test_our_own_file_gives_its_backbone_alone(tmp_path: Path) -> None:
    torch.manual_seed(4)
    source, model = build_model(LITTLE, 5), build_model(f"{LITTLE}_os16", 7)
    save_model(source, tmp_path / "own.safetensors")
    before = copy.deepcopy(model.state_dict())
    report = load_backbone(model, tmp_path / "own.safetensors")
    assert report.fresh == ()
    for key, value in model.state_dict().items():
        given = source.state_dict()[key] if key.startswith("backbone.") else before[key]
        assert torch.equal(value, given), key
    fault = refused(lambda: load_backbone(build_model("denseaspp121"), report.path))
    assert f"the backbone of {LITTLE}, {LITTLE}_os16" in fault.hint


def test_the_authors_own_file_gives_its_backbone_too(tmp_path: Path) -> None:
    source, model = build_model("denseaspp121"), build_model("denseaspp121", 5)
    state = source.state_dict()
    authors = {key.replace("backbone.", "features."): value for key, value in state.items()}
    report = load_backbone(model, write(authors, tmp_path / "densenet121.pkl"))
    assert report.fresh == ()
    assert all(
        torch.equal(model.state_dict()[f"backbone.{k}"], state[f"backbone.{k}"])
        for k in report.matched
    )


@pytest.mark.parametrize("spelling", ["bn1 is the first norm", "bn1 is the last norm"])
def test_a_deep_stem_is_found_under_either_of_its_names(tmp_path: Path, spelling: str) -> None:
    torch.manual_seed(5)
    source, model = build_model("pspnet_r50"), build_model("pspnet_r50", 5)
    state = source.backbone.state_dict()
    names = {"conv1.7": "bn1"}
    if spelling == "bn1 is the first norm":
        pairs = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"))
        names = {f"conv1.{3 * i + j}": pair[j] for i, pair in enumerate(pairs) for j in (0, 1)}
    for ours, theirs_ in names.items():
        state = {
            f"{theirs_}{key.removeprefix(ours)}" if key.startswith(f"{ours}.") else key: value
            for key, value in state.items()
        }
    state["fc.weight"] = torch.zeros(1000, 2048)
    report = load_backbone(model, write(state, tmp_path / "resnet50-deep.pth"))
    assert report.fresh == ()
    found = model.backbone.state_dict()
    assert all(torch.equal(found[k], v) for k, v in source.backbone.state_dict().items())


def test_a_network_without_a_backbone_is_reported() -> None:
    with pytest.raises(DsegError) as caught:
        load_backbone(build_model("dabnet"), "imagenet")
    assert caught.value.exit_code == 2
    assert caught.value.problem == "dabnet has no backbone with ImageNet weights."
    assert "denseaspp121" in caught.value.hint
    assert "dabnet" not in caught.value.hint


@pytest.mark.parametrize(("name", "golden"), AUTHORS_ALONE.items())
def test_an_imagenet_file_of_the_authors_alone_is_loaded_by_name_and_shape(
    name: str, golden: str, tmp_path: Path
) -> None:
    """In their classification network the heads are missing and the last stage is wider."""
    contract = read_contract(FOLDER, golden)
    filled = fill_state_dict(contract["state_dict"], contract["gain"])
    state = {k: torch.from_numpy(v) for k, v in filled.items() if "head" not in k}
    state = {k: v for k, v in state.items() if not k.startswith(("final_layer.", "spp."))}
    state |= {"layer5.0.conv3.weight": torch.ones(1024, 256, 1, 1), "linear.bias": torch.ones(1000)}
    file = write({"state_dict": state, "epoch": 90}, tmp_path / "ImageNet.pth.tar")
    model = build_model(name, 7, aux=True)
    before = copy.deepcopy(model.state_dict())
    report = load_backbone(model, file)
    assert report.dropped == ("layer5.0.conv3.weight", "linear.bias")
    assert "semantic.2.0.branch.2.conv.weight" in report.fresh
    assert {key.split(".")[0] for key in report.fresh} == {"semantic", "context"}
    assert f"tensors of {name} loaded from {file}, 2 left out (first layer5.0.con" in str(report)
    assert str(report).endswith("newly initialised (first semantic.2.0.branch.2.conv.weight)")
    after = model.state_dict()
    mapped = map_keys(type(model), state)
    assert all(torch.equal(after[key], mapped[key]) for key in report.matched)
    assert all(torch.equal(after[key], before[key]) for key in after if key not in report.matched)


def test_a_file_with_few_of_the_layers_that_the_authors_trained_is_refused(tmp_path: Path) -> None:
    model = build_model("ddrnet_23")
    fault = refused(lambda: load_backbone(model, saved(theirs("resnet18"), tmp_path / "r.pth")))
    assert "r.pth does not fit ddrnet_23: 114 of 320 tensors have the names" in fault.problem
    fault = refused(lambda: load_backbone(model, "imagenet"))
    assert fault.problem == "Torchvision has no weights of this backbone."
    fault = refused(lambda: load_backbone(model, tmp_path / "none.pth"))
    assert "torchvision has no weights of this backbone; its authors' file fits." in fault.hint


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Temporary folders for torch.hub and for work, without network access (DSEG_OFFLINE)."""

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DSEG_WEIGHTS", raising=False)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


def test_without_network_the_file_and_its_place_are_named(hub: Path) -> None:
    fault = refused(lambda: load_backbone(build_model(LITTLE), "imagenet"))
    assert fault.problem == f"{FILE} is not here, and DSEG_OFFLINE forbids to download it."
    assert f"get {FILE} from github.com/pytorch/vision ({URL[8:]})" in fault.hint
    assert f"put it at weights/{FILE}, or name your file with --backbone-weights." in fault.hint
    assert not hub.exists()


def test_a_download_of_other_content_is_refused_and_not_kept(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DSEG_OFFLINE")
    monkeypatch.setenv("NO_PROXY", "*")
    with serving() as server:
        monkeypatch.setenv("DSEG_MIRROR", server.url)
        server.files[f"/models/{FILE}"] = b"another file"
        fault = refused(lambda: load_backbone(build_model(LITTLE), "imagenet"))
    assert "is another file: 12 bytes with SHA-256 " in fault.problem
    assert fault.problem.endswith("expected b0353104.")
    assert not hub.exists()


@pytest.mark.parametrize("folder", ["hub/checkpoints", "weights", "cache/dseg"])
def test_a_file_that_is_there_needs_no_network(hub: Path, tmp_path: Path, folder: str) -> None:
    network, model = theirs("mobilenet_v2"), build_model(LITTLE)
    (tmp_path / folder).mkdir(parents=True)
    saved(network, tmp_path / folder / FILE)
    assert find_backbone_weights(model, "imagenet").resolve() == tmp_path / folder / FILE
    report = load_backbone(model, "imagenet")
    assert report.backbone == "mobilenet_v2"
    stem = model.state_dict()["backbone.stem.conv.weight"]
    assert torch.equal(stem, network.features[0][0].weight)


def test_a_downloaded_file_runs_no_code(hub: Path, tmp_path: Path) -> None:
    hub.mkdir(parents=True)
    marker = tmp_path / "ran"
    write({"a": Evil(os.system, f"touch {marker}")}, hub / FILE)
    fault = refused(lambda: load_backbone(build_model(LITTLE), "imagenet"))
    assert "contains code" in fault.problem
    assert not marker.exists()


def test_a_file_named_imagenet_is_a_path(hub: Path, tmp_path: Path) -> None:
    fault = refused(lambda: load_backbone(build_model(LITTLE), "./imagenet"))
    assert fault.problem == "Checkpoint imagenet does not exist."
    saved(theirs("mobilenet_v2"), tmp_path / "imagenet")
    assert load_backbone(build_model(LITTLE), "./imagenet").path == Path("imagenet")
    assert load_backbone(build_model(LITTLE), Path("imagenet")).path == Path("imagenet")


@pytest.mark.parametrize("outputs", [19, 11, 20])
def test_espnets_encoder_fits_whatever_its_number_of_classes(outputs: int, tmp_path: Path) -> None:
    theirs = build_model("espnet_c")  # 20 outputs
    with torch.no_grad():
        for value in theirs.parameters():
            value.normal_()
    file = tmp_path / "espnet_p_2_q_8.pth"
    torch.save(theirs.backbone.state_dict(), file)
    model = build_model("espnet", outputs)
    before = model.backbone.classifier.weight.clone()
    report = load_backbone(model, file)
    same = outputs == 20
    assert report.fresh == (() if same else ("classifier.weight",))
    assert torch.equal(model.backbone.stem.conv.weight, theirs.backbone.stem.conv.weight)
    assert torch.equal(
        model.backbone.block2[7].rate16.weight, theirs.backbone.block2[7].rate16.weight
    )
    kept = theirs.backbone.classifier.weight if same else before
    assert torch.equal(model.backbone.classifier.weight, kept)
