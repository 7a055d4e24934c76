"""The protocol of a network: input sizes, storage in checkpoints, and overriding options."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_files import card_of
from cli_runs import refused, run
from PIL import Image
from stand_ins import StandIn, draw, predictor

from dseg.checkpoints import load_model, save_model
from dseg.checkpoints.model_card import read_protocol
from dseg.errors import DsegError, NotFiniteError
from dseg.models import build_model
from dseg.predict.resizing import pick_labels, repeat_labels, resize_image
from dseg.protocol import PLAIN, Protocol
from dseg.registry import MODELS

CITYSCAPES_VOID, CAMVID_VOID = 0, 11


@pytest.mark.parametrize(
    ("protocol", "size", "scale", "expected"),
    [
        ({}, (360, 480), 1.0, (360, 480)),
        ({}, (375, 500), 0.75, (281, 375)),
        ({"input_size": (512, 1024)}, (360, 480), 1.0, (512, 1024)),
        ({"input_size": (512, 1024)}, (360, 480), 0.5, (256, 512)),
        ({"multiple": 32}, (360, 480), 1.0, (384, 480)),
        ({"multiple": 32}, (1024, 2048), 0.75, (768, 1536)),
        ({"multiple": 32}, (1024, 2048), 0.7, (736, 1440)),
        ({"short_side": 520}, (375, 500), 1.0, (520, 693)),
        ({"short_side": 520}, (500, 333), 1.0, (780, 520)),
        ({"short_side": 512, "multiple": 32}, (360, 480), 1.0, (512, 704)),
        ({"long_side": 2048}, (360, 480), 1.0, (1536, 2048)),
        ({"long_side": 512}, (375, 500), 1.0, (384, 512)),
        ({"long_side": 512}, (500, 333), 1.5, (768, 511)),
        ({"input_scale": 0.5}, (361, 481), 1.0, (180, 240)),
    ],
    ids=str,
)
def test_the_size_at_which_an_image_is_read(
    protocol: dict[str, object],
    size: tuple[int, int],
    scale: float,
    expected: tuple[int, int],
) -> None:
    assert Protocol(**protocol).input_of(size, scale) == expected


@pytest.mark.parametrize("name", MODELS)
def test_the_protocols_of_every_network_survive_being_written(name: str) -> None:
    spec = MODELS[name]
    for protocol in (spec.protocol, spec.authors or spec.protocol):
        assert read_protocol(json.loads(json.dumps(protocol.changes()))) == protocol
        assert protocol.describe()
        assert protocol.at_own_size().input_of((333, 444)) == protocol.rounded((333, 444))


@pytest.mark.parametrize("name", MODELS)
def test_authors_protocols_keep_what_the_network_cannot_do_without(name: str) -> None:
    spec = MODELS[name]
    if spec.authors is not None:
        for field in ("multiple", "pad_multiple", "pad_remainder", "upsample", "input_size"):
            assert getattr(spec.authors, field) == getattr(spec.protocol, field)


@pytest.mark.parametrize(
    ("protocol", "problem"),
    [
        ({"resample": "magic"}, "resample of a protocol cannot be 'magic'"),
        ({"fusion": "exp"}, "The fusion exp is for flipped sliding tiles only"),
        ({"short_side": 0}, "is not possible"),
        ({"multiple": 0}, "is not possible"),
        ({"pad_multiple": 8, "pad_remainder": 8}, "A remainder of 8 is impossible"),
        ({"short_side": 5, "long_side": 5}, "More than one input size is named (short side 5"),
    ],
    ids=str,
)
def test_a_protocol_that_cannot_be_is_refused(protocol: dict[str, object], problem: str) -> None:
    with pytest.raises(DsegError) as caught:
        Protocol(**protocol)
    assert problem in caught.value.problem


def test_a_protocol_in_a_few_words() -> None:
    assert PLAIN.describe() == "whole image once"
    assert MODELS["espnet"].protocol.describe() == "input 512x1024, bilinear"
    authors = MODELS["pspnet_r50"].authors
    assert authors is not None
    assert authors.describe() == (
        "long side 2048, bilinear, flip, sliding tiles 713x713, prob fusion"
    )


# Resampling, by hand


def test_bilinear_points_lie_between_pixel_centres_without_antialiasing() -> None:
    row = np.array([[0, 100, 200, 40]], np.uint8)[..., None].repeat(3, 2)
    found = resize_image(row, (1, 8), "bilinear")[0, :, 0]
    assert found.tolist() == [0, 25, 75, 125, 175, 160, 80, 40]
    halved = resize_image(row, (1, 2), "bilinear")[0, :, 0]
    assert halved.tolist() == [50, 120]
    assert resize_image(row, (1, 7), "bilinear-corners")[0, :, 0].tolist() == [
        *(0, 50, 100, 150, 200, 120, 40)
    ]


@pytest.mark.parametrize("corners", [False, True])
def test_bilinear_is_torchs(corners: bool) -> None:
    image = draw(31, 45)
    found = resize_image(image, (64, 20), "bilinear-corners" if corners else "bilinear")
    whole = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(
        whole, (64, 20), mode="bilinear", align_corners=corners
    )[0].permute(1, 2, 0)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-3)


@pytest.mark.parametrize("repeat", [repeat_labels, pick_labels], ids=["host", "device"])
def test_labels_are_repeated_not_blended(repeat: Callable[..., torch.Tensor]) -> None:
    labels = torch.tensor([[1, 7], [255, 3]], dtype=torch.uint8)
    assert repeat(labels, (4, 4)).tolist() == [
        *([1, 1, 7, 7], [1, 1, 7, 7], [255, 255, 3, 3], [255, 255, 3, 3])
    ]


@pytest.mark.parametrize("out", [(1, 1), (7, 11), (720, 960), (513, 1027), (1024, 2048)], ids=str)
@pytest.mark.parametrize("size", [(5, 9), (360, 481)], ids=str)
def test_labels_are_repeated_on_a_device_as_on_the_host(
    size: tuple[int, int], out: tuple[int, int]
) -> None:
    labels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8))
    assert torch.equal(pick_labels(labels, out), repeat_labels(labels, out))


# Scores that are NaN or infinite, and outputs that are not classes


def test_an_image_with_scores_that_are_not_finite_is_refused() -> None:
    model = StandIn()
    model.conv.weight.data[1] = float("inf")
    with pytest.raises(NotFiniteError, match="The scores of stand-in are NaN or infinite"):
        predictor(model)(draw(40, 60))


def test_such_an_image_is_a_failed_one(here: Path) -> None:
    model = build_model("dabnet")
    model.classifier.weight.data *= 3e38
    save_model(model, Path("w.safetensors"))
    result = run("infer", "img/a.png", "-w", "w.safetensors", "--device", "cpu")
    assert result.exit_code == 1
    assert "failed: img/a.png: The scores of dabnet are NaN or infinite on this" in result.stderr
    assert not Path("dseg-out/label_ids/a.png").exists()


@pytest.mark.parametrize(
    ("name", "void"), [("espnet", CITYSCAPES_VOID), ("espnet_camvid", CAMVID_VOID)]
)
def test_an_output_of_no_class_is_void_and_not_drawn(name: str, void: int, here: Path) -> None:
    model = build_model(name).eval()
    last = MODELS[name].num_classes - 1
    model.classifier.weight.data.fill_(0)
    model.classifier.weight.data[:, last] = 1  # of the transposed convolution's outputs
    model.fuse1.norm.weight.data.fill_(0)
    model.fuse1.norm.bias.data.fill_(1)
    torch.save(model.state_dict(), "w.pth")
    words = ("img/a.png", "-w", "w.pth", "--model", name, "--device", "cpu")
    kinds = ("--save", "train_ids,label_ids,color,overlay")
    result = run("infer", *words, *kinds)
    assert result.exit_code == 0, result.output
    found = {
        kind: np.asarray(Image.open(f"dseg-out/{kind}/a.png").convert("RGB" if rgb else None))
        for kind, rgb in {"train_ids": 0, "label_ids": 0, "color": 1, "overlay": 1}.items()
    }
    assert np.unique(found["train_ids"]).tolist() == [255]
    assert np.unique(found["label_ids"]).tolist() == [void]
    assert np.unique(found["color"]).tolist() == [0]
    assert np.array_equal(found["overlay"], np.asarray(Image.open("img/a.png").convert("RGB")))


# Model cards of dseg's own files


def test_our_own_file_keeps_protocol_and_outputs(tmp_path: Path) -> None:
    model = build_model("espnet")
    file = tmp_path / "own.safetensors"
    save_model(model, file)
    assert card_of(file)["format"] == 2
    assert load_model(weights=file).card == model.card
    plain = build_model("dabnet")
    save_model(plain, file)
    assert card_of(file)["format"] == 1
    assert load_model(weights=file).card == plain.card


def test_a_file_from_before_protocols_is_read_as_it_was_made(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model = build_model("emanet_r50", 19)
    file = tmp_path / "own.safetensors"
    save_model(model, file)
    data = {k: v for k, v in card_of(file).items() if k not in ("protocol", "outputs", "authors")}
    save_file(load_file(file), file, {"dseg": json.dumps({**data, "format": 1})})
    assert load_model(weights=file).card.protocol == PLAIN


def test_another_number_of_outputs_reads_images_at_their_own_size() -> None:
    card = build_model("espnet", 19).card
    assert (card.protocol.input_size, card.outputs) == (None, ())
    assert card.label_space.name == "cityscapes"
    assert build_model("bisenetv1", 5).card.protocol.multiple == 32


# The command line


def test_options_override_the_protocol(here: Path) -> None:
    save_model(build_model("espnet"), Path("w.safetensors"))
    words = ("infer", "img", "-w", "w.safetensors", "--device", "cpu")

    def record(*more: object) -> dict[str, object]:
        result = run(*words, *more, "--overwrite")
        assert result.exit_code == 0, result.output
        found: dict[str, object] = json.loads(Path("dseg-out/dseg-run.json").read_text())
        return found

    plain = record()
    assert (plain["input_size"], plain["resample"], plain["restore"]) == (
        *([512, 1024], "bilinear"),
        "nearest",
    )
    assert plain["order"] == "BGR"
    assert plain["outputs"] == [*range(19), 255]
    assert plain["std"] == [44.91483307, 46.15289307, 45.3192215]
    assert record("--input-size", "64x128")["input_size"] == [64, 128]
    scaled = record("--input-scale", "0.5", "--resample", "bicubic")
    assert (scaled["input_size"], scaled["input_scale"]) == (None, 0.5)
    assert scaled["resample"] == "bicubic"


def test_the_closing_line_names_the_protocol(here: Path) -> None:
    save_model(build_model("bisenetv2"), Path("w.safetensors"))
    words = ("img", "-w", "w.safetensors", "--device", "cpu", "--overwrite")
    assert "Protocol: plain (sides to multiples of 32)." in run("infer", *words).stderr
    stderr = run("infer", *words, "--protocol", "authors").stderr
    assert "Protocol: authors (sides to multiples of 32, prob fusion)." in stderr
    stderr = run("multiscale-infer", *words, "--protocol", "authors", "--scales", "1").stderr
    assert "Protocol: authors (sides to multiples of 32, flip, prob fusion)." in stderr
    stderr = run("multiscale-infer", *words).stderr
    assert "scales 0.5,0.75,1,1.25,1.5,1.8, flip)." in stderr


def test_an_unknown_protocol_is_refused(here: Path) -> None:
    result = run("infer", "img", "--protocol", "theirs")
    assert result.exit_code == 2
    assert "'theirs' is not one of 'plain', 'authors'" in result.stderr


def test_results_from_before_protocols_do_not_mix_with_others(here: Path) -> None:
    save_model(build_model("bisenetv2"), Path("w.safetensors"))
    words = ("infer", "img", "-w", "w.safetensors", "--device", "cpu")
    assert run(*words).exit_code == 0
    record = Path("dseg-out/dseg-run.json")
    data = json.loads(record.read_text())
    new = ("multiple", "resample", "restore", "mean", "std", "order", "raw_weights", "outputs")
    record.write_text(json.dumps({k: v for k, v in data.items() if k not in new}))
    refused(run(*words), 2, "results of another run (multiple: 1, now 32)", "another --out")


def test_a_card_at_its_own_size_keeps_all_else() -> None:
    card = build_model("espnet").card
    own = card.at_own_size()
    assert own == replace(card, protocol=replace(card.protocol, input_size=None))
