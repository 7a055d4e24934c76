"""Releases of a network: which one a file is of, and where the published files are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from checkpoint_files import refused, write
from goldens import FOLDER, read_contract

from dseg.checkpoints import find_weights, load_model
from dseg.checkpoints.identify import find_release
from dseg.models import SegModel, build_model
from dseg.registry import MODELS


def load(model: SegModel, path: Path, name: str | None = None) -> tuple[SegModel, list[str]]:
    """Save and load a network's bare state dict; return the network and the notes."""
    notes: list[str] = []
    file = write(model.state_dict(), path / "w.pth")
    return load_model(name, file, on_note=notes.append), notes


@pytest.mark.parametrize(
    ("named", "outputs", "release"),
    [
        ("dabnet", 11, "dabnet_camvid"),
        ("dabnet_camvid", 19, "dabnet"),
        ("bisenetv1", 171, "bisenetv1_coco"),
        ("bisenetv2", 150, "bisenetv2_ade20k"),
        ("espnet", 12, "espnet_camvid"),
        ("espnet", 19, "espnet_fastseg"),
        ("deeplabv3_r50", 21, "deeplabv3_r50_voc"),
        ("denseaspp_densenet121_citys", 21, "denseaspp_densenet121_voc"),
        ("pspnet_r101", 150, "pspnet_r101_ade20k"),
        ("emanet_r50", 21, "emanet_r101_voc"),
        ("lraspp_mobilenetv3", 21, "lraspp_mobilenetv3_voc"),
        ("lraspp_mobilenetv3_voc", 19, "lraspp_mobilenetv3"),
        ("dabnet", 7, "dabnet"),
    ],
)
def test_the_number_of_outputs_decides_on_the_release(
    named: str, outputs: int, release: str
) -> None:
    assert find_release(named, outputs, {}) == release


def test_a_file_of_another_release_is_read_and_normalised_as_that(tmp_path: Path) -> None:
    model, notes = load(build_model("dabnet", 11), tmp_path, "dabnet")
    assert model.card == build_model("dabnet_camvid").card
    assert notes == ["The 11 outputs match dabnet_camvid, whose labels and normalisation are used."]


def test_a_shallower_network_has_the_classes_of_a_release_but_its_own_arguments(
    tmp_path: Path,
) -> None:
    model, _ = load(build_model("emanet_r50", 21), tmp_path, "emanet_r50")
    assert (model.card.network, model.card.kwargs) == ("emanet_r50", {"depth": 50})
    assert model.card.label_space.name == "voc"


def test_an_unknown_number_of_outputs_is_a_warning(tmp_path: Path) -> None:
    model, notes = load(build_model("bisenetv2", 7), tmp_path)
    assert model.card.label_space.name == "unnamed-7"
    assert model.card.mean == MODELS["bisenetv2"].mean
    assert notes == [
        "The network is bisenetv2, judging by the file's keys and shapes.",
        "WARNING: bisenetv2 was published with 19 outputs and the file has 7: images are "
        "normalised as usual for bisenetv2, which can differ from how this file was trained.",
    ]


@pytest.mark.parametrize("width", [32, 64])
def test_the_width_of_fast_scnns_auxiliary_head_is_read_from_the_file(
    width: int, tmp_path: Path
) -> None:
    model, notes = load(build_model("fastscnn", aux=True, aux_mid=width), tmp_path)
    assert model.card.kwargs == {"aux": True, "aux_mid": width}
    assert notes == ["The network is fastscnn, judging by the file's keys and shapes."]


FULL_MODEL = {  # the network with its losses, as PIDNet's and DDRNet's trainers save it
    "best.pt": ("model.", "sem_loss.criterion.weight", False),
    "checkpoint.pth.tar": ("model.", "loss.criterion.weight", True),
    "of DataParallel": ("module.model.", "module.sem_loss.criterion.weight", True),
    "without losses": ("model.", "", False),
    "of another trainer": ("", "", True),
}


@pytest.mark.parametrize("kind", FULL_MODEL)
@pytest.mark.parametrize(
    ("name", "golden"),
    [("pidnet_s", "pidnet_s_aug_xujiacong"), ("ddrnet_23_slim", "ddrnet_23_slim_ydhonghit")],
)
def test_a_network_with_its_losses_is_found_in_every_container(
    name: str, golden: str, kind: str, tmp_path: Path
) -> None:
    prefix, weights, wrapped = FULL_MODEL[kind]
    contract = read_contract(FOLDER, golden)
    entries = {key: torch.full(shape, 0.5) for key, shape in contract["state_dict"]}
    state = {f"{prefix}{key}": value for key, value in entries.items()}
    state |= {weights: torch.ones(19)} if weights else {}
    content = {"epoch": 484, "best_mIoU": 0.78, "state_dict": state, "optimizer": {}}
    file = write(content if wrapped else state, tmp_path / "w.pt")
    notes: list[str] = []
    model = load_model(weights=file, on_note=notes.append)
    assert model.card.network == name
    assert notes == [f"The network is {name}, judging by the file's keys and shapes."]
    assert all((value == 0.5).all() for value in model.parameters())


def test_an_older_version_is_named(tmp_path: Path) -> None:
    state = {f"{part}.w.weight": torch.zeros(2) for part in ("detail", "segment", "bga")}
    file = write({**state, "head.conv_out.weight": torch.zeros(19, 8)}, tmp_path / "w.pth")
    assert "an older version of BiSeNetV2" in refused(lambda: load_model(weights=file)).problem
    assert "an older version of BiSeNetV2" in refused(lambda: load_model("bisenetv2", file)).hint


def test_inplace_abn_is_read_from_its_authors_files_only(tmp_path: Path) -> None:
    """Files with our keys have plain batch norm; a negative weight is reported."""
    ours = build_model("ccnet_r50")
    ours.backbone.conv1[1].weight.data[0] = -0.5
    model, notes = load(ours, tmp_path, "ccnet_r50")
    assert model.backbone.conv1[1].weight[0] == -0.5
    assert notes[0].startswith("WARNING: norms have negative weights")


def test_recurrence_is_the_rows() -> None:
    twice, once = (build_model(name) for name in ("ccnet_r101", "ccnet_r101_r1"))
    assert (twice.context.attend.recurrence, once.context.attend.recurrence) == (2, 1)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "dabnet_camvid",
            "get the authors' file from github.com/Reagan1311/DABNet (drive.google.com",
        ),
        ("espnet", "get espnet_p_2_q_8.pth from github.com/sacmehta/ESPNet (raw.github"),
        ("espnet_c", "put it at weights/encoder/espnet_p_2_q_8.pth, or name"),
        ("swiftnet_r18", "put it at weights/rn18_single_scale/model_best.pt, or name"),
        ("fastscnn", "get fast_scnn_citys.pth from github.com/lxtGH/Fast_Seg (github.com/Tramac"),
        ("gald_r50", "the authors published no file for gald_r50"),
    ],
)
def test_missing_weights_are_reported_with_their_place(
    name: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("DSEG_WEIGHTS", raising=False)
    assert text in refused(lambda: find_weights(name)).hint


def test_a_file_below_a_folder_of_weights_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for place in ("encoder/espnet_p_2_q_8.pth", "espnet_p_2_q_8.pth", "GFFNet_Betst"):
        file = Path("weights") / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert find_weights("espnet_c") == Path("weights/encoder/espnet_p_2_q_8.pth")
    assert find_weights("espnet") == Path("weights/espnet_p_2_q_8.pth")
    assert find_weights("gff_wr38") == Path("weights/GFFNet_Betst")


def test_every_published_file_has_its_place_and_licence_in_the_table() -> None:
    for name, spec in MODELS.items():
        assert not spec.weights or spec.link, name
        assert not spec.link.startswith("http"), name
        for real in spec.real_files:
            assert (FOLDER / "authors" / real).is_file()
    assert sum(bool(spec.weights or spec.link) for spec in MODELS.values()) >= 40
