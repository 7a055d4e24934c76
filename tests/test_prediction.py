"""Predictions: of one image, several, a folder; what they offer; and modules of the user's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_runs import run, save_noise
from PIL import Image
from stand_ins import StandIn, draw, predictor
from torch import Tensor, nn

import dseg
from dseg.errors import DsegError
from dseg.predict import Prediction, Predictor, Protocol
from dseg.render import render_overlay

STREET = draw(40, 56)


def halves() -> Prediction:
    """Return a prediction of 2 x 4 pixels: four of road, two of sky, one of car, one of none."""
    train_ids = np.array([[0, 0, 0, 0], [10, 10, 13, 255]], np.uint8)
    return Prediction(train_ids, dseg.LABEL_SPACES["cityscapes"])


def test_areas_are_fractions_of_the_image_by_decreasing_area() -> None:
    found = halves()
    assert found.areas() == {"road": 0.5, "sky": 0.25, "car": 0.125}
    assert found.classes == ("road", "sky", "car")
    assert repr(found) == "Prediction(2x4, cityscapes: road 50 %, sky 25 %, car 12 %)"


def test_label_ids_are_the_data_sets_and_masks_are_of_one_class() -> None:
    assert halves().label_ids.tolist() == [[7, 7, 7, 7], [23, 23, 26, 0]]
    assert halves().mask("Sky").tolist() == [[False] * 4, [True, True, False, False]]
    with pytest.raises(DsegError, match="no class 'tree'"):
        halves().mask("tree")


def test_a_prediction_is_an_array_of_train_ids() -> None:
    assert np.asarray(halves()).tolist() == [[0, 0, 0, 0], [10, 10, 13, 255]]
    assert np.array(halves(), dtype=np.int64).dtype == np.int64


@pytest.mark.parametrize(
    "protocol",
    [
        {},
        {"scales": (0.5, 1.0), "flip": True},
        {"fusion": "prob", "flip": True},
        {"tile": (32, 32)},
        {"input_size": (20, 30), "restore": "nearest"},
    ],
    ids=str,
)
def test_probabilities_have_the_labels_as_their_maximum(protocol: dict[str, Any]) -> None:
    found = predictor(StandIn(), **protocol)(STREET)
    probabilities = found.probabilities()
    assert (probabilities.shape, probabilities.dtype) == ((3, 40, 56), np.float32)
    np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-5)
    assert np.array_equal(probabilities.argmax(0), found.train_ids)


def test_a_background_output_is_left_out_of_the_probabilities() -> None:
    model = StandIn(4)
    space = predictor(StandIn()).label_space
    model.card = replace(model.card, label_space=space, outputs=(255, 0, 1, 2))
    found = Predictor(model, device="cpu")(STREET)
    background = found.train_ids == 255
    probabilities = found.probabilities()
    assert probabilities.shape[0] == 3
    assert 0 < background.mean() < 1
    assert (probabilities.sum(0)[background] < 0.75).all()
    assert np.array_equal(probabilities.argmax(0)[~background], found.train_ids[~background])


def test_the_image_of_a_prediction_does_not_change_with_the_callers_buffer() -> None:
    buffer = STREET.copy()
    found = predictor(StandIn())(buffer)
    buffer[:] = 0
    assert np.array_equal(np.asarray(found.image), STREET)


def test_files_are_those_of_infer_and_an_overlay_can_be_a_jpeg(here: Path) -> None:
    machine = predictor(StandIn())
    found = machine.predict(STREET, confidence=True)
    for kind in ("label_ids", "train_ids", "color", "confidence", "overlay"):
        found.save(f"one/{kind}.png", kind=kind)
    kinds = ("label_ids", "train_ids", "color", "confidence", "overlay")
    Image.fromarray(STREET).save("street.png")
    assert machine.predict_folder("street.png", "many", kinds=kinds).done == 1
    for kind in kinds:
        one, many = Path(f"one/{kind}.png"), Path(f"many/{kind}/street.png")
        assert one.read_bytes() == many.read_bytes()
    assert found.save("overlay.jpg") == Path("overlay.jpg")
    assert Image.open("overlay.jpg").size == found.overlay().size
    expected = render_overlay(image=STREET, train_ids=found.train_ids, space=found.space)
    assert np.array_equal(np.asarray(found.overlay()), expected)
    for path, kind, problem in [
        ("a.jpg", "color", "A JPEG would change the values of color"),
        ("a.gif", "overlay", "does not end in .png or .jpg"),
        ("a.png", "mask", "Unknown kind of result 'mask'"),
    ]:
        with pytest.raises(DsegError, match=problem):
            found.save(path, kind=kind)


def test_a_notebook_shows_a_small_overlay() -> None:
    found = predictor(StandIn())(draw(700, 1600))
    data = found._repr_png_()
    assert data is not None
    assert data.startswith(b"\x89PNG")
    assert len(data) < 1_000_000
    assert halves()._repr_png_() is None


def test_lists_batches_and_iterators_give_one_prediction_for_each_image(here: Path) -> None:
    machine = predictor(StandIn())
    images = [draw(40, 56, seed) for seed in range(3)] + [draw(24, 32)]
    expected = [machine.predict(image).train_ids for image in images]
    found = machine(images)
    assert isinstance(found, list)
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.train_ids, other)
    batch = machine(np.stack(images[:3]))
    assert [np.array_equal(a, b) for a, b in zip(batch, expected[:3], strict=True)] == [True] * 3
    assert machine([]) == []


def test_an_iterator_is_read_as_results_are_taken() -> None:
    taken: list[int] = []

    def images() -> Any:
        for seed in range(100):
            taken.append(seed)
            yield draw(40, 56, seed)

    found = predictor(StandIn())(images())
    next(found)
    next(found)
    assert len(taken) == 2


def test_images_of_one_size_are_labelled_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, batches = predictor(StandIn()), []
    begin = machine.begin_batch
    monkeypatch.setattr(machine, "batch_at", lambda size: 2)
    monkeypatch.setattr(
        machine,
        "begin_batch",
        lambda images, **o: batches.append(len(images)) or begin(images, **o),
    )
    images = [draw(40, 56, seed) for seed in range(5)] + [draw(24, 32)]
    found = list(machine.stream(iter(images)))
    assert batches == [2, 2]
    for image, one in zip(images, found, strict=True):
        assert np.array_equal(one.train_ids, machine.predict(image).train_ids)


class Module(nn.Module):
    """Scores at stride 8, returned in some container."""

    def __init__(self, outputs: int = 3, wrap: str = "tensor"):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.wrap = nn.Conv2d(3, outputs, 8, stride=8), wrap

    def forward(self, image: Tensor) -> Any:
        scores = self.conv(image)
        found = {"out": {"out": scores, "aux": 0}, "tuple": (scores, 0), "none": None}
        return found.get(self.wrap, scores)


NAMES = ["road", "car", "other"]


def test_a_module_labels_by_its_logits_resized_to_the_image() -> None:
    module = Module()
    own = Predictor(module, classes=NAMES, mean=(0.5,) * 3, std=(0.25,) * 3, device="cpu")
    view = (torch.from_numpy(STREET).permute(2, 0, 1)[None].float() / 255 - 0.5) / 0.25
    expected = nn.functional.interpolate(module(view), (40, 56), mode="bilinear").argmax(1)[0]
    found = own(STREET)
    assert (found.train_ids == expected.numpy()).mean() > 0.999
    assert set(found.classes) <= set(NAMES)
    for wrap in ("out", "tuple"):
        other = Predictor(
            Module(wrap=wrap), classes=NAMES, mean=(0.5,) * 3, std=(0.25,) * 3, device="cpu"
        )
        assert np.array_equal(other(STREET).train_ids, found.train_ids)


def test_one_logit_is_that_of_the_second_of_two_classes() -> None:
    module = Module(1)
    own = Predictor(module, classes=["ground", "road"], std=(0.1,) * 3, device="cpu")
    found = own(STREET)
    assert 0 < found.mask("road").mean() < 1
    chance = found.probabilities()[1]
    assert np.array_equal(chance > 0.5, found.mask("road"))


@pytest.mark.parametrize(
    ("module", "options", "problem"),
    [
        (Module(), {}, "classes of Module are not known"),
        (Module(), {"classes": ["a", "b"]}, "3 outputs, but 2 classes are named"),
        (Module(wrap="none"), {"classes": NAMES}, "returned NoneType, not logits"),
        (nn.Flatten(), {"classes": NAMES}, "not logits of shape"),
        (nn.Linear(5, 5), {"classes": NAMES}, "Linear cannot compute an input of 40x56"),
        (Module(), {"classes": "nothing"}, "Unknown label space"),
        (Module(), {"classes": ["a", "a", "b"]}, "same name"),
        (Module(), {"classes": NAMES, "mean": (123, 117, 104)}, "mean cannot be"),
        (Module(), {"classes": NAMES, "std": 0.2}, "std cannot be"),
        (Module(), {"classes": NAMES, "order": "GRB"}, "Unknown channel order"),
        (Module(), {"classes": NAMES, "runtime": "openvino"}, "computed by PyTorch only"),
        ("dabnet", {}, "str is not a network"),
        (StandIn(), {"classes": NAMES}, "has its own classes"),
    ],
)
def test_a_module_of_no_use_is_an_error(module: Any, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(DsegError, match=problem):
        Predictor(module, device="cpu", **options)(STREET)


def test_a_module_that_needs_multiples_is_given_padded_images() -> None:
    class Strict(Module):
        def forward(self, image: Tensor) -> Any:
            if image.shape[-1] % 32 or image.shape[-2] % 32:
                raise ValueError("sides must be multiples of 32")
            return super().forward(image)

    with pytest.raises(DsegError, match="sides must be multiples of 32") as caught:
        Predictor(Strict(), classes=NAMES, device="cpu")(STREET)
    assert "pad_multiple" in caught.value.hint
    protocol = Protocol(pad_multiple=32)
    own = Predictor(Strict(), classes=NAMES, device="cpu", protocol=protocol)
    assert own(STREET).train_ids.shape == (40, 56)


def test_a_folder_is_labelled_by_a_module_and_continued(here: Path) -> None:
    own = Predictor(Module(), classes=NAMES, device="cpu")
    Path("img/broken.png").write_bytes(b"no image")
    with pytest.warns(UserWarning, match="failed: img/broken.png"):
        done = own.predict_folder("img", "out")
    assert (done.done, done.skipped, len(done.failed)) == (2, 0, 1)
    assert Path("out/label_ids/sub/b.png").is_file()
    facts = json.loads(Path("out/dseg-run.json").read_text())
    assert (facts["network"], facts["label_space"]) == ("Module", "own classes")
    save_noise("img/c.png", 32, 32)
    with pytest.warns(UserWarning):
        assert own.predict_folder(["img"], "out").skipped == 2
    torch.manual_seed(1)
    other = Module()
    nn.init.zeros_(other.conv.weight)
    with pytest.raises(DsegError, match="holds results of another run"):
        Predictor(other, classes=NAMES, device="cpu").predict_folder("img", "out")
    with pytest.raises(DsegError, match="would lie among the images"):
        own.predict_folder("img", "img")
    with pytest.raises(DsegError, match="Kinds of results"):
        own.predict_folder("img", "new", kinds="overlay")


def test_a_folder_is_shared_with_the_command(here: Path) -> None:
    dseg.save_model(dseg.build_model("fastscnn", num_classes=3), "three.safetensors")
    result = run("infer", "-w", "three.safetensors", "img", "--out", "out", "--device", "cpu")
    assert result.exit_code == 0, result.output
    predictor = dseg.load("three.safetensors", device="cpu")
    assert predictor.predict_folder("img", "out").skipped == 2


def test_the_bundled_network_is_the_default(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = dseg.load(device="cpu")(STREET)
    assert "Using the bundled demo network" in capsys.readouterr().err
    assert np.array_equal(found, dseg.Predictor.load(device="cpu")(STREET))
    assert np.array_equal(found, dseg.load(device="cpu", quiet=True)(STREET))
    assert capsys.readouterr().err == ""
