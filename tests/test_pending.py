"""Labels fetched later, batches of images, and the settings of cuDNN and the compiler."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from stand_ins import Constant, Hungry, StandIn, draw, predictor
from torch import Tensor

from dseg.device import describe_precision
from dseg.errors import DsegError, NotFiniteError
from dseg.labels import unnamed_label_space
from dseg.models import ModelCard
from dseg.predict import Pending, Predictor, Protocol
from dseg.predict import prediction as pending_file
from dseg.predict.prediction import CompileError
from dseg.predict.tuning import Tuning

IMAGES = [draw(57, 83, seed) for seed in range(3)]


class Poisoned(StandIn):
    """Returns NaN for each image that has a white pixel at its upper left."""

    def logits(self, image: Tensor) -> list[Tensor]:
        [scores] = super().logits(image)
        white = image[:, 0, 0, 0] > 3.8
        return [scores.masked_fill(white.view(-1, 1, 1, 1), float("nan"))]


class BatchHungry(StandIn):
    """Runs out of memory for batches of more than ``most`` images."""

    def __init__(self, most: int):
        super().__init__()
        self.most = most

    def logits(self, image: Tensor) -> list[Tensor]:
        scores = super().logits(image)
        if len(image) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return scores


def begun(machine: Predictor, images: Sequence[Any], **options: bool) -> list[Pending]:
    pendings = machine.begin_batch(images, **options)
    assert pendings is not None
    return pendings


@pytest.mark.parametrize("confidence", [False, True])
@pytest.mark.parametrize(
    "protocol",
    [
        {},
        {"tile": (32, 40)},
        {"input_size": (30, 40), "restore": "nearest"},
        {"scales": (0.5, 1.5), "flip": True},
        {"tile": (32, 40), "sliding": True},
    ],
    ids=str,
)
def test_what_is_begun_and_fetched_is_what_is_predicted(
    protocol: dict[str, Any], confidence: bool
) -> None:
    machine = predictor(StandIn(), **protocol)
    pendings = [machine.begin(image, confidence=confidence) for image in IMAGES]
    for pending, image in reversed(list(zip(pendings, IMAGES, strict=True))):
        found, expected = pending.result(), machine.predict(image, confidence=confidence)
        assert found.tile == pending.tile == expected.tile
        assert np.array_equal(found.train_ids, expected.train_ids)
        assert pending.train_ids.dtype == torch.uint8
        assert np.array_equal(pending.train_ids.numpy(), found.train_ids)
        assert (found.confidence is None) == (not confidence)
        if confidence:
            assert found.confidence is not None and expected.confidence is not None
            assert np.array_equal(found.confidence, expected.confidence)


def test_outputs_are_train_ids_on_the_device_too() -> None:
    model = Constant()
    space = unnamed_label_space(3)
    outputs = (255, 1, 0)
    model.card = ModelCard(
        **{**vars(model.card), "label_space": space, "outputs": outputs},
    )
    pending = Predictor(model, protocol=Protocol(), device="cpu").begin(IMAGES[0])
    assert pending.train_ids.unique().tolist() == [0]  # the last output is the best


def test_scores_that_are_not_finite_are_reported_by_the_result() -> None:
    image = IMAGES[0].copy()
    image[0, 0] = 255
    pending = predictor(Poisoned()).begin(image)
    with pytest.raises(NotFiniteError, match="NaN or infinite on this image"):
        pending.result()


def test_a_shortage_that_is_noticed_late_is_tried_in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    class Late:
        def synchronize(self) -> None:
            raise RuntimeError("CUDA error: out of memory")

    machine = predictor(StandIn())
    machine._tiles = ((32, 40),)
    monkeypatch.setattr(pending_file, "record_event", lambda device: Late())
    pending = machine.begin(IMAGES[0])
    monkeypatch.setattr(pending_file, "record_event", lambda device: None)
    done = pending.result()
    assert (pending.tile, done.tile, machine.tiled) == (None, (32, 40), 1)
    expected = predictor(StandIn(), tile=(32, 40)).predict(IMAGES[0])
    assert np.array_equal(done.train_ids, expected.train_ids)


def test_another_late_fault_is_not_taken_for_a_shortage(monkeypatch: pytest.MonkeyPatch) -> None:
    class Late:
        def synchronize(self) -> None:
            raise RuntimeError("an illegal memory access was encountered")

    monkeypatch.setattr(pending_file, "record_event", lambda device: Late())
    with pytest.raises(RuntimeError, match="illegal memory access"):
        predictor(StandIn()).begin(IMAGES[0]).result()


@pytest.mark.parametrize(
    "protocol",
    [{}, {"scales": (0.5, 1.5), "flip": True}, {"input_size": (30, 40), "fusion": "prob"}],
    ids=str,
)
def test_a_batch_is_labelled_as_its_images_one_by_one(protocol: dict[str, Any]) -> None:
    machine = predictor(StandIn(), **protocol)
    for pending, image in zip(begun(machine, IMAGES, confidence=True), IMAGES, strict=True):
        found, expected = pending.result(), machine.predict(image, confidence=True)
        assert np.mean(found.train_ids == expected.train_ids) >= 0.999
        assert found.confidence is not None and expected.confidence is not None
        assert np.abs(found.confidence.astype(int) - expected.confidence).max() <= 1


def test_an_image_that_is_not_finite_does_not_fail_its_batch() -> None:
    white = IMAGES[1].copy()
    white[0, 0] = 255
    machine = predictor(Poisoned())
    first, broken, last = begun(machine, [IMAGES[0], white, IMAGES[2]])
    with pytest.raises(NotFiniteError):
        broken.result()
    for pending, image in ((first, IMAGES[0]), (last, IMAGES[2])):
        assert np.mean(pending.result().train_ids == machine(image)) >= 0.999


def test_a_batch_that_does_not_fit_goes_one_by_one_from_then_on() -> None:
    model = BatchHungry(2)
    machine = predictor(model)
    assert machine.begin_batch(IMAGES) is None
    model.sizes.clear()
    assert machine.begin_batch(IMAGES) is None  # is not tried again
    assert model.sizes == []
    assert len(begun(machine, IMAGES[:2])) == 2
    with pytest.raises(RuntimeError, match="expected 3 channels"):
        predictor(Hungry(0, lambda: RuntimeError("expected 3 channels"))).begin_batch(IMAGES)


def test_images_that_cannot_be_read_whole_are_no_batch() -> None:
    assert predictor(StandIn(), tile=(32, 32)).begin_batch(IMAGES) is None
    assert predictor(StandIn(), tile=(32, 32), sliding=True).begin_batch(IMAGES) is None
    assert predictor(StandIn()).begin_batch([IMAGES[0], draw(40, 40)]) is None


@pytest.mark.parametrize(
    ("device", "protocol", "size", "wanted", "batch"),
    [
        ("cpu", {}, (64, 64), None, 1),
        ("cpu", {}, (64, 64), 5, 5),
        ("cuda", {}, (1024, 2048), None, 2),
        ("cuda", {}, (1024, 2048), 8, 8),
        ("cuda", {}, (360, 480), None, 16),
        ("cuda", {}, (720, 960), None, 6),
        ("cuda", {}, (2048, 2049), None, 1),
        ("cuda", {"scales": (0.5, 2.0)}, (720, 960), None, 1),
        ("cuda", {"input_size": (512, 1024)}, (1024, 2048), None, 2),
        ("cuda", {}, (3000, 3001), 8, 1),
        ("cuda", {"tile": (32, 32)}, (64, 64), 8, 1),
        ("cuda", {"tile": (32, 32), "sliding": True}, (64, 64), None, 1),
        ("mps", {}, (64, 64), None, 1),
    ],
    ids=str,
)
def test_how_many_images_make_a_batch(
    device: str, protocol: dict[str, Any], size: tuple[int, int], wanted: int | None, batch: int
) -> None:
    machine = predictor(StandIn(), **protocol)
    machine.device = torch.device(device)
    assert machine.batch_at(size, wanted) == batch


# Settings of cuDNN and the compiler


@pytest.fixture
def setting() -> Iterator[Callable[[], bool]]:
    before = torch.backends.cudnn.benchmark
    yield lambda: torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = before
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("before", [False, True])
def test_convolutions_are_searched_from_the_second_of_a_size_on(
    setting: Callable[[], bool], before: bool
) -> None:
    torch.backends.cudnn.benchmark = before
    tuning, searched = Tuning(torch.device("cuda")), []
    for shape in (1, 1, 1, 2, 1, 2, 2):
        with tuning.of(shape):
            searched.append(setting())
        assert setting() is before
    assert searched == [False, True, True, False, False, False, True]
    torch.use_deterministic_algorithms(True)
    with tuning.of(2):
        assert not setting()
    with pytest.raises(KeyError), tuning.of(3):
        raise KeyError
    assert setting() is before


def test_elsewhere_the_setting_stays(setting: Callable[[], bool]) -> None:
    torch.backends.cudnn.benchmark = True
    tuning = Tuning(torch.device("cpu"))
    for _ in range(2):
        with tuning.of(1):
            assert setting()


def test_precision_in_words() -> None:
    cpu = torch.device("cpu")
    assert describe_precision("float32", cpu) == "float32"
    assert describe_precision("bfloat16", cpu) == "bf16"
    assert describe_precision("float16", torch.device("cuda")) == "fp16"


def test_a_network_that_cannot_be_compiled_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Tensor) -> list[Tensor]:
        raise ValueError("No C++ compiler.\nLong\nadvice")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: broken)
    machine = predictor(StandIn())
    machine.compile()
    with pytest.raises(CompileError) as caught:
        machine(IMAGES[0])
    problem = "stand-in cannot be compiled by torch.compile here: No C++ compiler."
    assert caught.value.problem == problem
    assert "--compile" in caught.value.hint


def test_a_shortage_in_a_compiled_network_falls_back_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda logits, **_: logits)
    machine = predictor(Hungry(64 * 64, MemoryError))
    machine._tiles = ((64, 64),)
    machine.compile()
    assert machine.predict(draw(90, 120)).tile == (64, 64)
    machine.fall_back = False
    with pytest.raises(DsegError, match="does not fit into memory whole"):
        machine(draw(90, 120))
