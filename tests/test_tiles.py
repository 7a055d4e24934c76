"""Tiles: their positions, blending, and their use when there is too little memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from stand_ins import (
    Hungry,
    StandIn,
    assert_same_labels,
    draw,
    predictor,
)
from torch import Tensor, nn

from dseg.errors import DsegError
from dseg.memory import is_out_of_memory
from dseg.models import SegModel, build_model
from dseg.predict import Protocol
from dseg.predict.attempts import AUTO_TILES, WHOLE_PIXELS
from dseg.predict.tiling import blend_rows, ramp, tile_starts


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def mobile() -> SegModel:
    torch.manual_seed(1)
    model = build_model("mobilenetdenseaspp").eval()
    nn.init.normal_(model.classifier.weight, std=0.5)
    return model


@pytest.mark.parametrize(
    ("length", "tile", "overlap", "starts"),
    [
        (10, 10, 0.5, [0]),
        (9, 10, 0.5, [0]),
        (20, 10, 0.0, [0, 10]),
        (21, 10, 0.0, [0, 10, 11]),
        (20, 10, 0.5, [0, 5, 10]),
        (19, 10, 0.5, [0, 5, 9]),
        (11, 10, 1 / 3, [0, 1]),
        (2048, 1024, 1 / 3, [0, 683, 1024]),
        (5, 2, 0.99, [0, 1, 2, 3]),
    ],
)
def test_where_tiles_start(length: int, tile: int, overlap: float, starts: list[int]) -> None:
    assert tile_starts(length, tile, overlap) == starts


def test_an_overlap_that_is_not_a_fraction_is_refused() -> None:
    for overlap in (1.0, -0.1, float("nan")):
        with pytest.raises(DsegError):
            tile_starts(10, 5, overlap)
        with pytest.raises(DsegError):
            Protocol(overlap=overlap)


@pytest.mark.parametrize(
    "protocol",
    [{"scales": ()}, {"scales": (0.0,)}, {"scales": (float("nan"),)}, {"tile": (31, 64)}],
    ids=str,
)
def test_a_protocol_that_makes_no_sense_is_refused(protocol: dict[str, object]) -> None:
    with pytest.raises(DsegError):
        Protocol(**protocol)


def test_the_ramp_rises_over_the_overlap() -> None:
    assert ramp(8, 0.5).tolist() == [0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25]
    assert ramp(4, 0.0).tolist() == [1.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("tile", [(57, 83), (64, 96), (57, 1000)], ids=str)
def test_a_tile_as_large_as_the_image_gives_exactly_the_whole_image(
    mobile: SegModel, tile: tuple[int, int]
) -> None:
    image = draw(57, 83)
    whole = predictor(mobile).predict(image, confidence=True)
    tiled = predictor(mobile, tile=tile).predict(image, confidence=True)
    assert np.array_equal(whole.train_ids, tiled.train_ids)
    assert np.array_equal(whole.confidence, tiled.confidence)
    assert tiled.tile is None
    assert predictor(mobile, tile=(57, 82)).predict(image).tile == (57, 82)


@pytest.mark.parametrize("overlap", [0.0, 1 / 3, 0.5, 0.9])
@pytest.mark.parametrize("size", [(10, 10), (37, 23), (8, 50), (3, 3), (11, 8)], ids=str)
def test_blended_tiles_are_the_weighted_mean(size: tuple[int, int], overlap: float) -> None:
    height, width = size
    tile = min(8, height), min(8, width)
    torch.manual_seed(2)
    noise = torch.randn(500, 2, *tile)
    total, weights = torch.zeros(2, height, width), torch.zeros(height, width)
    window = ramp(tile[0], overlap)[:, None] * ramp(tile[1], overlap)
    index = 0
    for top in tile_starts(height, tile[0], overlap):
        for left in tile_starts(width, tile[1], overlap):
            part = (slice(top, top + tile[0]), slice(left, left + tile[1]))
            total[:, part[0], part[1]] += noise[index] * window
            weights[part] += window
            index += 1
    assert weights.min() > 0
    calls = iter(noise)
    blended = blend_rows(size, (8, 8), overlap, lambda *place: next(calls))
    bands = [(top, band.clone()) for top, band in blended]
    tops = [top for top, _ in bands]
    assert tops == tile_starts(height, tile[0], overlap)
    found = torch.cat([band for _, band in bands], dim=1)
    torch.testing.assert_close(found, total / weights, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("overlap", [0.0, 1 / 3, 0.9])
def test_tiles_of_constant_scores_give_constant_scores(overlap: float) -> None:
    scores = torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1)
    bands = blend_rows((77, 45), (32, 32), overlap, lambda t, x, h, w: scores.expand(3, h, w))
    found = torch.cat([band.clone() for _, band in bands], dim=1)
    assert found.shape == (3, 77, 45)
    assert (found - scores).abs().max() < 1e-6


@pytest.mark.parametrize("height", [64, 640])
def test_no_more_than_one_band_is_held(height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[tuple[int, ...]] = []
    new_zeros = Tensor.new_zeros

    def note(tensor: Tensor, size: tuple[int, ...]) -> Tensor:
        held.append(tuple(size))
        return new_zeros(tensor, size)

    monkeypatch.setattr(Tensor, "new_zeros", note)
    ends, sizes, score = 0, [], torch.ones(1)
    for top, band in blend_rows(
        (height, 48), (32, 32), 0.5, lambda t, x, h, w: score.new_ones(3, h, w)
    ):
        assert top == ends  # yielded as soon as it is complete, each row once
        ends = top + band.shape[1]
        assert band.shape[1] <= 32
        sizes.append(band.untyped_storage().nbytes())
    assert ends == height
    assert held == [(3, 32, 48)]  # whatever the image's height
    assert max(sizes) == 3 * 32 * 48 * 4


def test_tiles_that_see_the_same_context_label_as_the_whole_image() -> None:
    class Pointwise(StandIn):
        def __init__(self) -> None:
            super().__init__(stride=1)

    image = draw(150, 90)
    whole = predictor(Pointwise()).scores(image)
    tiled = predictor(Pointwise(), tile=(64, 40)).predict(image)
    assert tiled.tile == (64, 40)
    assert_same_labels(tiled.train_ids, whole)


SHORTAGES = (
    lambda: RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
    lambda: RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
    lambda: RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
    lambda: RuntimeError("CUDA error: out of memory"),
    lambda: RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    lambda: torch.OutOfMemoryError("CUDA out of memory."),
    lambda: RuntimeError("could not create a primitive"),
    MemoryError,
)


@pytest.mark.parametrize("fault", SHORTAGES)
def test_a_shortage_of_memory_falls_back_to_tiles(fault: Callable[[], Exception]) -> None:
    assert is_out_of_memory(fault())
    model = Hungry(64 * 64, fault)
    machine = predictor(model)
    machine._tiles = ((64, 128), (64, 64), (32, 32))
    done = machine.predict(draw(90, 120))
    assert done.tile == (64, 64)
    assert done.train_ids.shape == (90, 120)
    assert model.sizes[:3] == [(90, 120), (64, 120), (64, 64)]
    expected = predictor(StandIn(), tile=(64, 64)).predict(draw(90, 120))
    assert np.array_equal(done.train_ids, expected.train_ids)


def test_where_scores_are_compared_a_shortage_of_memory_is_an_error() -> None:
    machine = predictor(Hungry(64 * 64, MemoryError))
    machine._tiles = ((64, 64), (32, 32))
    machine.fall_back = False
    with pytest.raises(DsegError, match="90x120 does not fit into memory whole") as caught:
        machine.predict(draw(90, 120))
    assert "--tile" in caught.value.hint
    assert machine.predict(draw(60, 60)).tile is None


def test_images_in_tiles_of_nobodys_choice_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = predictor(Hungry(64 * 64, MemoryError))
    machine._tiles = ((64, 64),)
    for size in ((90, 120), (60, 60), (90, 90)):
        machine.predict(draw(*size))
    assert machine.tiled == 2
    chosen = predictor(StandIn(), tile=(64, 64))
    chosen.predict(draw(90, 120))
    assert chosen.tiled == 0


@pytest.mark.parametrize("tile", [None, (32, 32)])
def test_a_tile_that_does_not_fit_either_is_reported(tile: tuple[int, int] | None) -> None:
    with pytest.raises(DsegError) as caught:
        predictor(Hungry(0, MemoryError), tile=tile)(draw(300, 600))
    assert "tile of this 300x600 image" in caught.value.problem
    assert "input size 300x600" in caught.value.problem
    assert "--tile" in caught.value.hint


def test_another_fault_is_not_taken_for_a_shortage() -> None:
    with pytest.raises(RuntimeError, match="expected 3 channels"):
        predictor(Hungry(0, lambda: RuntimeError("expected 3 channels")))(draw(40, 40))


@pytest.mark.parametrize(
    ("size", "scale", "attempts"),
    [
        ((1024, 2048), 1.8, [None, (512, 1024), (256, 512)]),
        ((3000, 3000), 1.0, [None, *AUTO_TILES]),
        ((3000, 3001), 1.0, list(AUTO_TILES)),
        ((1024, 2048), 2.5, [(512, 1024), (256, 512)]),
        ((4000, 4000), 8.0, [(256, 512)]),
        ((256, 512), 1.0, [None]),
        ((10, 100_000), 8.0, [(1024, 2048), (512, 1024), (256, 512)]),
    ],
    ids=str,
)
def test_what_is_tried_for_a_large_image(
    size: tuple[int, int], scale: float, attempts: list[tuple[int, int] | None]
) -> None:
    assert WHOLE_PIXELS == 9_000_000
    assert AUTO_TILES == ((1024, 2048), (512, 1024), (256, 512))
    image = np.broadcast_to(np.zeros(3, np.uint8), (*size, 3))
    assert list(predictor(StandIn(), scales=(1.0, scale))._attempts(image)) == attempts
