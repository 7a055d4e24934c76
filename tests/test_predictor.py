"""Predictor, compared with plain versions of the authors' protocols, and devices."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from PIL import Image
from stand_ins import (
    Constant,
    StandIn,
    assert_same_labels,
    draw,
    normalise,
    predictor,
    resize,
)
from torch import Tensor, nn

from dseg.device import find_amp, find_device
from dseg.errors import DsegError
from dseg.images import Pixels
from dseg.models import SegModel, build_model
from dseg.predict import Prediction, Predictor
from dseg.protocol import MULTI_SCALES


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def authors_scores(model: SegModel, image: Pixels, scales: tuple[float, ...], prob: bool) -> Tensor:
    """Return the mean (log-)probabilities of all views, flipped ones too."""
    height, width = image.shape[:2]
    views = []
    for scale in scales:
        size = (int(width * scale), int(height * scale))
        resized = np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
        for flipped in (False, True):
            view = normalise(resized[:, ::-1].copy() if flipped else resized)
            scores = model.logits(view)[0]
            scores = resize(scores.flip(3) if flipped else scores, height, width)
            views.append(scores.softmax(1) if prob else scores.log_softmax(1))
    return torch.stack(views).mean(0)[0]


@pytest.fixture(scope="module")
def mobile() -> SegModel:
    torch.manual_seed(1)
    model = build_model("mobilenetdenseaspp").eval()
    nn.init.normal_(model.classifier.weight, std=0.5)
    return model


@pytest.mark.parametrize("size", [(64, 96), (57, 83)], ids=str)
def test_a_single_scale_is_the_plain_formula(mobile: SegModel, size: tuple[int, int]) -> None:
    image = draw(*size)
    scores = resize(mobile.logits(normalise(image))[0], *size)[0]
    found = predictor(mobile).scores(image)
    torch.testing.assert_close(found, scores, rtol=1e-3, atol=1e-3 * scores.std().item())
    train_ids = predictor(mobile)(image).train_ids
    assert (train_ids.shape, train_ids.dtype) == (size, np.uint8)
    assert np.unique(train_ids).size > 2
    assert_same_labels(train_ids, scores)


def test_the_multi_scales_are_those_of_the_authors() -> None:
    assert MULTI_SCALES == (0.5, 0.75, 1.0, 1.25, 1.5, 1.8)


@pytest.mark.parametrize("fusion", ["logprob", "prob"])
def test_many_scales_are_the_authors_protocol(fusion: str) -> None:
    model, image = StandIn(), draw(57, 83)
    expected = authors_scores(model, image, MULTI_SCALES, fusion == "prob")
    model.sizes.clear()
    many = predictor(model, scales=MULTI_SCALES, flip=True, fusion=fusion)
    scores = many.scores(image)
    truncated = [(28, 41), (42, 62), (57, 83), (71, 103), (85, 124), (102, 149)]
    assert model.sizes == [size for size in truncated for _ in range(2)]
    comparable = scores if fusion == "prob" else scores.log_softmax(0)
    wanted = expected if fusion == "prob" else expected.log_softmax(0)
    torch.testing.assert_close(comparable, wanted, rtol=1e-4, atol=1e-4)
    assert_same_labels(many(image), expected)


def test_fusions_differ_and_so_does_a_flip() -> None:
    model, image = StandIn(), draw(57, 83)
    log = predictor(model, scales=(0.5, 1.5), flip=True).scores(image).softmax(0)
    prob = predictor(model, scales=(0.5, 1.5), flip=True, fusion="prob").scores(image)
    plain = predictor(model, scales=(0.5, 1.5)).scores(image).softmax(0)
    assert (log - prob).abs().max() > 1e-2
    assert (log - plain).abs().max() > 1e-2


def test_confidence_is_255_times_the_highest_probability() -> None:
    probabilities = np.exp([0.0, 0.5, 1.0]) / np.exp([0.0, 0.5, 1.0]).sum()
    assert round(255 * probabilities[2]) == 129
    for fusion in ("logprob", "prob"):
        for tile in (None, (32, 32)):
            done = predictor(Constant(), fusion=fusion, tile=tile).predict(
                draw(40, 50), confidence=True
            )
            assert done.confidence is not None
            assert done.confidence.dtype == np.uint8
            assert np.unique(done.confidence).tolist() == [129]
            assert np.unique(done.train_ids).tolist() == [2]
    image = draw(40, 50)
    scores = resize(StandIn().logits(normalise(image))[0], 40, 50)[0].softmax(0).amax(0) * 255
    found = predictor(StandIn()).predict(image, confidence=True).confidence
    assert np.abs(found.astype(float) - scores.numpy()).max() <= 0.501
    assert predictor(StandIn()).predict(image).confidence is None


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (15, 17), (33, 31)], ids=str)
@pytest.mark.parametrize("tile", [None, (32, 32)], ids=["whole", "tiles"])
@pytest.mark.parametrize("scales", [(1.0,), (0.01, 1.8)], ids=str)
def test_images_of_any_size(
    mobile: SegModel,
    size: tuple[int, int],
    tile: tuple[int, int] | None,
    scales: tuple[float, ...],
) -> None:
    done = predictor(mobile, tile=tile, scales=scales).predict(draw(*size), confidence=True)
    assert done.train_ids.shape == size
    assert done.confidence is not None
    assert done.confidence.shape == size
    assert done.train_ids.max() <= 18
    assert done.confidence.min() >= 255 // 19


def test_a_small_image_is_padded_by_its_border_and_cut_again() -> None:
    model, image = StandIn(), draw(9, 40)
    found = predictor(model).scores(image)
    padded = np.concatenate([image, np.repeat(image[-1:], 7, axis=0)])
    assert model.sizes == [(16, 40)]
    expected = resize(model.logits(normalise(padded))[0], 16, 40)[0, :, :9]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "view",
    [lambda i: i[:, ::-1], lambda i: i[::2, ::2], np.asfortranarray],
    ids=["flipped", "every second", "by columns"],
)
def test_an_array_of_any_layout_and_the_callers_array_stays(view: Callable) -> None:
    image = view(draw(40, 50))
    before = np.array(image, order="C")
    expected = predictor(StandIn())(before.copy())
    for writable in (True, False):
        image.setflags(write=writable)
        assert np.array_equal(predictor(StandIn())(image), expected)
        assert np.array_equal(image, before)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
    ],
    ids=lambda array: f"{array.shape}",
)
def test_arrays_that_are_not_images_are_refused(array: Pixels) -> None:
    with pytest.raises(DsegError, match="is not an image") as caught:
        predictor(StandIn()).begin(array)
    assert "(H, W, 3) uint8" in caught.value.hint


@pytest.mark.parametrize("name", ["cuda:7", "nonsense", "", "cuda:99999999999", "meta"])
def test_a_missing_device_is_refused_with_those_that_exist(name: str) -> None:
    with pytest.raises(DsegError) as caught:
        Predictor(StandIn(), device=name)
    assert caught.value.problem == f"This machine has no device {name!r}."
    assert caught.value.hint.startswith("choose auto or one of: cpu")


def test_a_wrong_device_is_refused_before_a_file_is_read() -> None:
    with pytest.raises(DsegError, match="no device 'cuda:7'"):
        Predictor.load("denseaspp161", "no such file", device="cuda:7")


def test_precisions() -> None:
    cpu = find_device("cpu")
    assert find_amp("off", cpu) is None
    assert find_amp("auto", cpu) is None
    assert find_amp("bf16", cpu) is torch.bfloat16
    for name in ("fp16", "int8"):
        with pytest.raises(DsegError, match=f"Precision '{name}' cannot be used on cpu"):
            find_amp(name, cpu)


def test_reduced_precision_is_near_the_full_one(mobile: SegModel) -> None:
    image = draw(64, 96)
    full = Predictor(mobile, device="cpu").scores(image)
    half = Predictor(mobile, device="cpu", precision="bf16").scores(image)
    assert half.dtype == torch.float32
    difference = (full - half).abs().mean() / full.std()
    assert 0 < difference < 0.1


def test_a_network_is_put_into_evaluation_mode() -> None:
    model = build_model("mobilenetdenseaspp", 3)
    assert model.training
    done = Predictor(model, device="cpu").predict(draw(32, 32))
    assert isinstance(done, Prediction)
    assert not model.training
