"""Checkpoints of every format and age, and how their keys fit a network."""

from __future__ import annotations

import argparse
import pickle
import re
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_files import (
    NAME,
    OLD_TORCH,
    refused,
    same,
    write,
    write_old,
)
from goldens import FOLDER, read_contract
from safetensors.torch import save_file
from torch import Tensor

from dseg.checkpoints import (
    Checkpoint,
    choose_network,
    find_networks,
    load_model,
    load_weights,
    read_checkpoint,
    save_model,
)
from dseg.models import build_model


@OLD_TORCH
def test_a_bare_state_dict_loads(state: dict[str, Tensor], tmp_path: Path, zipped: bool) -> None:
    file = write(state, tmp_path / "any.name", zipped=zipped)
    checkpoint = read_checkpoint(file)
    assert checkpoint.kind == ("torch zip" if zipped else "torch legacy")
    assert (checkpoint.container, checkpoint.extras, checkpoint.card) == ("", (), None)
    model = load_model(NAME, file)
    assert same(model, state)
    assert not model.training


def test_bare_safetensors_load(state: dict[str, Tensor], tmp_path: Path) -> None:
    file = tmp_path / "bare.pth"  # recognised by content, not by suffix
    save_file({f"module.{key}": value for key, value in state.items()}, file)
    assert read_checkpoint(file).kind == "safetensors"
    assert same(load_model(NAME, file), state)


@OLD_TORCH
@pytest.mark.parametrize("container", ["model", "state_dict", "ema_of_somebody"])
def test_containers_with_anything_beside_the_weights(
    state: dict[str, Tensor], tmp_path: Path, container: str, zipped: bool
) -> None:
    content = {
        "epoch": 3,
        "best": np.float64(0.5),
        "seen": np.uint8(7),
        "flag": np.bool_(True),
        "curve": np.linspace(0, 1, 5),
        "args": argparse.Namespace(lr=0.1, out=Path("runs")),
        "optimizer": torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], 0.1).state_dict(),
        container: OrderedDict((f"module.module.{key}", value) for key, value in state.items()),
    }
    file = write(content, tmp_path / "c.pth.tar", zipped=zipped)
    checkpoint = read_checkpoint(file)
    assert checkpoint.container == container
    assert checkpoint.extras == ("epoch", "best", "seen", "flag", "curve", "args", "optimizer")
    assert same(load_model(NAME, file), state)


def test_other_values_than_the_weights_are_never_constructed(tmp_path: Path) -> None:
    class Loud:
        def __reduce__(self) -> tuple[object, ...]:
            return np.dtype, ("no such type",)  # would raise if it were called

    file = write({"model": {"a": torch.ones(1)}, "args": Loud()}, tmp_path / "c.pth")
    assert read_checkpoint(file).extras == ("args",)


def test_of_two_state_dicts_the_usual_name_wins(tmp_path: Path) -> None:
    other, own = {"w": torch.zeros(1)}, {"w": torch.ones(1)}
    checkpoint = read_checkpoint(write({"teacher": other, "model": own}, tmp_path / "c.pth"))
    assert (checkpoint.container, checkpoint.state["w"].item()) == ("model", 1.0)
    assert checkpoint.notes == ()


def test_half_precision_loads_into_float32(state: dict[str, Tensor], tmp_path: Path) -> None:
    file = tmp_path / "half.safetensors"
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    save_file(half, file)
    model = load_model(NAME, file)
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    assert torch.equal(model.classifier.weight, state["classifier.weight"].half().float())


@pytest.mark.parametrize("dotted", [True, False], ids=["norm.1", "norm1"])
@pytest.mark.parametrize("counters", [True, False], ids=["counted", "uncounted"])
def test_authors_keys_of_both_ages(tmp_path: Path, dotted: bool, counters: bool) -> None:
    contract = read_contract(FOLDER, "denseaspp121_deepmotion")
    state = {f"module.{key}": torch.zeros(shape) for key, shape in contract["state_dict"]}
    key = "module.ASPP_6.norm.1.running_mean"
    assert key in state
    state[key] += 7
    if not dotted:
        state = {re.sub(r"\.(norm|conv)\.(\d)\.", r".\1\2.", k): v for k, v in state.items()}
        assert "module.ASPP_6.norm1.running_mean" in state
    if counters:
        norms = [key for key in state if key.endswith("running_mean")]
        state |= {k.replace("running_mean", "num_batches_tracked"): torch.ones(()) for k in norms}
    model = load_model("denseaspp121", write(state, tmp_path / "a.pkl", zipped=False))
    assert model.context.rate6.norm1.running_mean.unique().tolist() == [7.0]
    assert model.context.rate6.norm1.num_batches_tracked.item() == int(counters)


@pytest.mark.parametrize("location", ["cpu", "cuda:0"])
@pytest.mark.parametrize("python", [2, 3])
def test_a_file_of_torch_0_3_loads(
    state: dict[str, Tensor], tmp_path: Path, python: int, location: str
) -> None:
    floats = {f"module.{k}": v for k, v in state.items() if v.is_floating_point()}
    file = write_old(floats, tmp_path / "old.pkl", python, location)
    assert b"_rebuild_tensor_v2" not in file.read_bytes()
    checkpoint = read_checkpoint(file)
    assert checkpoint.kind == "torch legacy"
    assert list(checkpoint.state) == [key.removeprefix("module.") for key in floats]
    assert same(load_model(NAME, file), state)


def test_bytes_of_python_2_beside_the_weights_do_no_harm(tmp_path: Path) -> None:
    content = bytearray(pickle.dumps({"model": {}, "best": "####"}, protocol=2))
    content = content.replace(b"X\x04\x00\x00\x00####", b"U\x04\xff\xfe\x00\x80")
    file = write({"a": torch.ones(1)}, tmp_path / "x.pth")
    with zipfile.ZipFile(file) as archive:
        kept = {name: archive.read(name) for name in archive.namelist()}
    (pickled,) = [name for name in kept if name.endswith("data.pkl")]
    kept[pickled] = bytes(content)
    with zipfile.ZipFile(file, "w") as archive:
        for name, value in kept.items():
            archive.writestr(name, value)
    assert "does not hold a state dict but a dict of 'model', 'best'" in str(
        refused(lambda: read_checkpoint(file))
    )


def test_a_wrong_network_gets_the_right_ones_name(state: dict[str, Tensor], tmp_path: Path) -> None:
    file = write(state, tmp_path / "m.pth")
    fault = refused(lambda: load_model("denseaspp121", file))
    assert f"{file} does not fit denseaspp121: " in fault.problem
    assert "missing (first backbone." in fault.problem
    assert fault.hint == (
        "the keys are those of mobilenetdenseaspp or mobilenetdenseaspp_os16; "
        "try --model mobilenetdenseaspp."
    )


def test_a_unknown_file_gets_the_hint_to_inspect_it(tmp_path: Path) -> None:
    file = write({"a.weight": torch.ones(2)}, tmp_path / "s.pth")
    fault = refused(lambda: load_model(NAME, file))
    assert "0 keys matched" in fault.problem
    assert "dseg inspect --keys" in fault.hint


@pytest.mark.parametrize("shape", [(1000, 8), ()], ids=str)
def test_imagenets_thousand_classes_fit_no_network(shape: tuple[int, ...], tmp_path: Path) -> None:
    state = {
        "features.conv0.weight": torch.ones(64, 3, 7, 7),
        "classifier.weight": torch.ones(shape),
    }
    file = write(state, tmp_path / "imagenet.pth")
    fault = refused(lambda: load_model("denseaspp121", file))
    assert "does not fit denseaspp121" in fault.problem
    assert "are those of a classification network without a segmentation head" in fault.hint


def test_the_networks_of_the_files_class_count_come_first() -> None:
    with torch.device("meta"):
        state = dict(build_model("denseaspp_densenet121_voc").state_dict())
    checkpoint = Checkpoint(path=Path("f"), state=state, kind="torch zip")
    names = ["denseaspp_densenet121_voc", "denseaspp_densenet121_citys"]
    assert find_networks(checkpoint) == names


def test_a_nameless_file_finds_its_network_whatever_its_stride(
    state: dict[str, Tensor], tmp_path: Path
) -> None:
    notes: list[str] = []
    model = load_model(weights=write(state, tmp_path / "m.pth"), on_note=notes.append)
    assert model.card.network == NAME
    assert same(model, state)
    assert notes == [
        "The network is assumed to be mobilenetdenseaspp; the keys also fit "
        "mobilenetdenseaspp_os16 (choose with --model)."
    ]
    assert refused(load_model).problem == "Neither a network nor a file was given."


def test_a_nameless_file_that_fits_several_classes_is_asked_for_its_name() -> None:
    with torch.device("meta"):
        state = dict(build_model("pspnet_r50").state_dict())
    file = Checkpoint(path=Path("m.pth"), state=state, kind="torch zip")
    fault = refused(lambda: choose_network(file))
    assert "and several fit: pspnet_r50, pspnet_r50_gald" in fault.problem
    assert fault.hint == "name it with --model."


def test_another_class_count_is_reported_and_the_head_can_be_reset(tmp_path: Path) -> None:
    theirs = build_model(NAME, 5)
    file = write(theirs.state_dict(), tmp_path / "five.pth")
    fault = refused(lambda: load_model(NAME, file, 19))
    assert "2 with another shape (first classifier.bias: [5] in the file, [19]" in fault.problem
    assert fault.hint.startswith("the file's head has 5 classes")
    ours = build_model(NAME, 19)
    before = ours.classifier.weight.clone()
    report = load_weights(ours, read_checkpoint(file), reset_head=True)
    assert report.reset == ("classifier.bias", "classifier.weight")
    assert report.complete
    assert (
        str(report)
        == f"{len(theirs.state_dict()) - 2} keys matched, 2 of the head newly initialised"
    )
    assert torch.equal(ours.classifier.weight, before)
    assert torch.equal(ours.backbone.stem.conv.weight, theirs.backbone.stem.conv.weight)
    model = load_model(NAME, file, 19, reset_head=True)
    assert model.card.label_space.name == "cityscapes"
    assert load_model(NAME, file).card.label_space.name == "unnamed-5"


def test_an_incomplete_file_needs_consent(state: dict[str, Tensor], tmp_path: Path) -> None:
    lost = "context.rate24.conv2.bias"
    file = write({k: v for k, v in state.items() if k != lost}, tmp_path / "p.pth")
    fault = refused(lambda: load_model(NAME, file))
    assert "1 missing (first context.rate24.conv2.bias)" in fault.problem
    report = load_weights(build_model(NAME), read_checkpoint(file), partial=True)
    assert report.missing == (lost,)
    assert not report.complete
    assert torch.equal(
        load_model(NAME, file, partial=True).classifier.bias, state["classifier.bias"]
    )


def test_a_file_with_more_than_the_network_needs_consent(
    state: dict[str, Tensor], tmp_path: Path
) -> None:
    counted = {**state, "extra.num_batches_tracked": torch.ones(())}  # not read in evaluation
    assert same(load_model(NAME, write(counted, tmp_path / "c.pth")), state)
    file = write({**state, "extra.weight": torch.ones(1)}, tmp_path / "p.pth")
    assert "1 unexpected (first extra.weight)" in refused(lambda: load_model(NAME, file)).problem
    assert same(load_model(NAME, file, partial=True), state)


def test_norms_of_in_place_training_scale_by_the_size_of_their_weights(
    state: dict[str, Tensor], tmp_path: Path
) -> None:
    name = next(key for key in state if key.endswith("norm2.weight"))
    turned = {**state, name: -state[name]}
    model = load_model(NAME, write(turned, tmp_path / "theirs.pth"), inplace_abn=True)
    assert torch.equal(model.state_dict()[name], state[name].abs() + 1e-5)
    assert torch.equal(model.classifier.weight, state["classifier.weight"])
    ours = tmp_path / "ours.safetensors"
    save_model(model, ours)
    assert (
        "was written by dseg" in refused(lambda: load_model(NAME, ours, inplace_abn=True)).problem
    )


@pytest.mark.parametrize(
    "key", ["a.weight", "backbone.stem.norm.num_batches_tracked", "classifier.bias"]
)
def test_no_matching_key_is_refused_even_with_partial(key: str, tmp_path: Path) -> None:
    shape = (7,) if key == "classifier.bias" else ()
    file = write({key: torch.ones(shape)}, tmp_path / "s.pth")
    fault = refused(lambda: load_model(NAME, file, 19, partial=True, reset_head=True))
    assert "does not fit mobilenetdenseaspp" in fault.problem
