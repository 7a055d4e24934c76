"""Our own checkpoint files with their cards, and where files are found."""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checkpoint_files import (
    NAME,
    card_of,
    refused,
    same,
)
from safetensors.torch import save_file

from dseg.checkpoints import (
    find_weights,
    load_model,
    read_checkpoint,
    save_model,
)
from dseg.errors import DsegError
from dseg.labels import LABEL_SPACES, LabelSpace
from dseg.models import build_model


def test_our_own_file_keeps_everything(tmp_path: Path) -> None:
    space = LabelSpace(
        name="yard", names=("mud", "hay"), colors=((9, 8, 7), (1, 2, 3)), label_ids=(4, 40)
    )
    model = build_model(NAME, 2, output_stride=16)
    model.card = replace(model.card, label_space=space, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    file = tmp_path / "deep" / "yard.safetensors"
    save_model(model, file, scores={"miou": 61.25, "empty": math.nan})
    assert [path.name for path in file.parent.iterdir()] == ["yard.safetensors"]
    loaded = load_model(weights=file)
    assert same(loaded, dict(model.state_dict()))
    card = loaded.card
    assert card.network == NAME
    assert card.kwargs == {"output_stride": 16}
    assert loaded.upsample == 2
    assert card.label_space == space
    assert (card.mean, card.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert card.scores["miou"] == 61.25
    assert math.isnan(card.scores["empty"])
    save_model(loaded, tmp_path / "again.safetensors")  # the model card's scores
    assert read_checkpoint(tmp_path / "again.safetensors").card.scores["miou"] == 61.25


def test_our_own_file_of_a_known_label_space_gets_it_whole(tmp_path: Path) -> None:
    save_model(build_model(NAME, 19), tmp_path / "c.safetensors")
    space = load_model(NAME, tmp_path / "c.safetensors").card.label_space
    assert space is LABEL_SPACES["cityscapes"]  # with the ignored ids, which the file lacks


def test_a_reset_head_does_not_keep_the_files_classes(tmp_path: Path) -> None:
    save_model(build_model(NAME, 2), tmp_path / "c.safetensors")
    model = load_model(NAME, tmp_path / "c.safetensors", 19, reset_head=True)
    assert model.card.label_space.name == "cityscapes"
    assert model.classifier.out_channels == 19


def test_an_auxiliary_head_comes_back_from_a_file(tmp_path: Path) -> None:
    model = build_model("denseaspp_densenet121_citys", 3, aux=True)
    save_model(model, tmp_path / "a.safetensors")
    loaded = load_model(weights=tmp_path / "a.safetensors")
    assert loaded.card.kwargs == {"depth": 121, "aux": True}
    assert torch.equal(loaded.aux.classifier.bias, model.aux.classifier.bias)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"network": "denseaspp999"}, "'denseaspp999' by a newer dseg"),
        ({"format": 3}, "or with another package (format 3, this one reads 2)"),
        ({"network": 5}, "damaged metadata"),
        ({"mean": [0.5]}, "damaged metadata"),
        ({"colors": [[1, 2, 3]]}, "damaged metadata"),
        ({"colors": [[1, 2]]}, "damaged metadata"),
        ({"scores": [1]}, "damaged metadata"),
        ({"kwargs": 3}, "damaged metadata"),
        ({"label_space": []}, "damaged metadata"),
        ({"std": [0.5, 0.0, 0.5]}, "a standard deviation of [0.5, 0.0, 0.5]"),
        ({"std": [0.5, -0.1, 0.5]}, "a standard deviation of [0.5, -0.1, 0.5]"),
        ({"mean": [0.5, float("inf"), 0.5]}, "expected a finite number, found Infinity"),
        ({"colors": [[1, 2, 256], [3, 4, 5]]}, "256 instead of a number from 0 to 255"),
        ({"label_ids": [0, -1]}, "-1 instead of a number from 0 to 255"),
        ({"label_ids": [0, 1.5]}, "1.5 instead of a number from 0 to 255"),
        ({"kwargs": {"depht": 50}}, "unknown argument 'depht' of"),
        ({"kwargs": {"num_classes": 2}}, "unknown argument 'num_classes' of"),
        ({"outputs": [0, 2]}, "output class 2 of only 2 classes"),
        ({"protocol": {"input_size": [512]}}, "damaged metadata"),
        ({"protocol": {"resample": "magic"}}, "resample of a protocol cannot be 'magic'"),
        ({"protocol": {"unheard": 1}}, "unknown field 'unheard' in the protocol"),
        ({"protocol": {"tile": [8, 8]}}, "A tile of 8x8 is too small"),
        ({"authors": {"scales": [0]}}, "Scales [0] cannot be used"),
        ({"protocol": {"scales": [1e-300]}}, "Scales [1e-300] cannot be used"),
        ({"protocol": {"scales": "12"}}, "scales of a protocol cannot be '12'"),
        ({"protocol": {"flip": "false"}}, "flip of a protocol cannot be 'false'"),
        ({"protocol": {"input_size": [64.9, 3]}}, "input_size of a protocol cannot be 64.9"),
        ({"protocol": {"input_size": [100000, 3]}}, "An input size of 100000x3 is too large"),
        (None, "damaged metadata"),
    ],
    ids=str,
)
def test_an_invalid_model_card_is_refused(
    change: dict[str, object] | None, problem: str, tmp_path: Path
) -> None:
    file = tmp_path / "own.safetensors"
    save_model(build_model(NAME, 2), file)
    data = card_of(file)
    text = json.dumps({**data, **change}) if change is not None else "[]"
    save_file({"a": torch.ones(1)}, file, {"dseg": text})
    assert problem in refused(lambda: read_checkpoint(file)).problem


def test_a_full_disk_is_reported_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(part: Path, data: bytes) -> None:
        part.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(DsegError, match="No space left"):
        save_model(build_model(NAME, 2), tmp_path / "own.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_other_users_can_read_the_file(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        save_model(build_model(NAME, 2), tmp_path / "own.safetensors")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "own.safetensors").stat().st_mode) == 0o644


@pytest.fixture
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DSEG_WEIGHTS", str(tmp_path / "named"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    places = {"weights": Path("weights"), "named": tmp_path / "named"}
    places["cache"] = tmp_path / "cache" / "dseg"
    for place in places.values():
        place.mkdir(parents=True)
    return places


@pytest.mark.parametrize("place", ["weights", "named", "cache"])
@pytest.mark.parametrize(
    "file",
    [
        "denseASPP161.pkl",
        "DENSEASPP161.PKL",
        "DenseASPP-161.safetensors",
        "denseaspp_161.pt",
        "denseaspp161.pth.tar",
        "DenseASPP161.PTH",
    ],
)
def test_weights_are_found_by_name_in_any_case(
    homes: dict[str, Path], place: str, file: str
) -> None:
    (homes[place] / "denseaspp161.txt").touch()
    (homes[place] / "denseaspp161").touch()
    (homes[place] / "._.pth").touch()
    (homes[place] / "denseaspp161.pth").mkdir(exist_ok=True)
    (homes[place] / file).touch()
    assert find_weights("denseaspp161") == homes[place] / file
    assert find_weights("denseaspp161", Path(file)) == homes[place] / file


def test_folders_are_searched_in_order_and_the_own_name_first(homes: dict[str, Path]) -> None:
    for place in homes.values():
        (place / "denseASPP161.pkl").touch()
    assert find_weights("denseaspp161") == Path("weights/denseASPP161.pkl")
    assert find_weights("denseaspp161_os16") == Path("weights/denseASPP161.pkl")  # same weights
    (homes["weights"] / "denseaspp161_os16.safetensors").touch()
    assert find_weights("denseaspp161_os16") == Path("weights/denseaspp161_os16.safetensors")
    (homes["weights"] / "denseASPP161.pkl").unlink()
    assert find_weights("denseaspp161") == homes["named"] / "denseASPP161.pkl"


def test_missing_weights_are_reported_with_file_source_and_place(homes: dict[str, Path]) -> None:
    fault = refused(lambda: load_model("DenseASPP161"))
    assert fault.problem == (
        f"No weights for denseaspp161 in weights, {homes['named']}, {homes['cache']}."
    )
    assert fault.hint == (
        "get denseASPP161.pkl from github.com/DeepMotionAIResearch/DenseASPP "
        "(drive.google.com/file/d/1sCr-OkMUayaHAijdQrzndKk2WW78MVZG) and put it at "
        "weights/denseASPP161.pkl, or name your file with --weights."
    )


def test_weights_that_were_never_published_have_such_a_hint(homes: dict[str, Path]) -> None:
    (homes["weights"] / "_.pth").touch()
    fault = refused(lambda: load_model("denseaspp121"))
    assert "published no file for denseaspp121" in fault.hint
    assert "weights/denseaspp121.safetensors" in fault.hint
    assert (
        refused(lambda: load_model(NAME, "no.pth")).problem == "Checkpoint no.pth does not exist."
    )


@pytest.mark.parametrize(
    ("network", "kwargs", "problem"),
    [
        ("bisenetv1", {"stem_width": -5}, "stem_width of bisenetv1 cannot be -5"),
        ("bisenetv1", {"mid": 4000, "gate_mid": 4000}, "elements, the file has"),
        ("pspnet_r50", {"depth": 51}, "51"),
        ("denseaspp121", {"output_stride": 0}, "output stride 0"),
        ("dabnet", {"num_classes": 5}, "unknown argument 'num_classes'"),
        ("espnet", {"p": 10**9}, "p of espnet cannot be 1000000000"),
        ("espnet", {"p": float("nan")}, "expected a finite number, found NaN"),
    ],
    ids=str,
)
def test_a_card_whose_arguments_build_no_such_network_is_refused(
    network: str, kwargs: dict[str, object], problem: str, tmp_path: Path
) -> None:
    model = build_model(network)
    file = tmp_path / "own.safetensors"
    save_model(model, file)
    text = json.dumps({**card_of(file), "kwargs": kwargs})
    save_file({"a": torch.ones(1)}, file, {"dseg": text})
    fault = refused(lambda: load_model(weights=file))
    assert "has damaged metadata: " in fault.problem and problem in fault.problem


@pytest.mark.parametrize(
    "change", [{"outputs": [0] * 300}, {"classes": ["a"], "colors": [[1, 2, 3]], "label_ids": [0]}]
)
def test_a_card_of_another_number_of_outputs_is_refused(
    change: dict[str, object], tmp_path: Path
) -> None:
    model = build_model("dabnet")
    file = tmp_path / "own.safetensors"
    save_model(model, file)
    text = json.dumps({**card_of(file), "format": 2, **change})
    save_file(dict(model.state_dict()), file, {"dseg": text})
    fault = refused(lambda: load_model(weights=file))
    assert "outputs, the classifier has 19" in fault.problem


@pytest.mark.parametrize(
    ("kwargs", "problem"), [({"fuse_dilation": 0}, "dilation"), ({"stem_padding": 1.5}, "")]
)
def test_arguments_that_no_shape_shows_are_tried(
    kwargs: dict[str, object], problem: str, tmp_path: Path
) -> None:
    model = build_model("fastscnn")
    file = tmp_path / "own.safetensors"
    save_model(model, file)
    text = json.dumps({**card_of(file), "kwargs": kwargs})
    save_file(dict(model.state_dict()), file, {"dseg": text})
    fault = refused(lambda: load_model(weights=file))
    assert "has damaged metadata: fastscnn" in fault.problem
    assert problem in fault.problem
