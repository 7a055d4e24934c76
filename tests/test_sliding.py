"""Sliding-window prediction, against the protocol written out tile by tile."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from cli_runs import refused, run
from PIL import Image
from stand_ins import StandIn, assert_same_labels, draw, normalise, predictor, resize
from torch import Tensor

from dseg.errors import DsegError
from dseg.images import Pixels
from dseg.predict import Protocol
from dseg.predict.tiling import tile_starts

TILE = (36, 48)


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def starts(length: int, tile: int) -> list[int]:
    """Return where tiles start: they overlap by a third, and the last ends with the image."""
    step = -(-tile * 2 // 3)
    found = list(range(0, max(length - tile, 0), step))
    return [*found, max(length - tile, 0)]


def slid(model: StandIn, image: Pixels) -> Tensor:
    """Return the mean logits (K, h, w) of all tiles, counted one by one."""
    height, width = image.shape[:2]
    rows, columns = min(TILE[0], height), min(TILE[1], width)
    total, counts = torch.zeros(3, height, width), torch.zeros(height, width)
    for top in starts(height, rows):
        for left in starts(width, columns):
            piece = np.ascontiguousarray(image[top : top + rows, left : left + columns])
            view = normalise(piece)
            scores = resize(model.logits(model.pad(view))[0], rows, columns)
            total[:, top : top + rows, left : left + columns] += scores[0]
            counts[top : top + rows, left : left + columns] += 1
    return total / counts


def at_all_sizes(model: StandIn, image: Pixels, scales: tuple[float, ...], flip: bool) -> Tensor:
    height, width = image.shape[:2]
    views = []
    for scale in scales:
        size = (int(width * scale), int(height * scale))
        resized = np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
        views.append(resize(slid(model, resized)[None], height, width))
        if flip:
            flipped = slid(model, np.ascontiguousarray(resized[:, ::-1])).flip(-1)
            views.append(resize(flipped[None], height, width))
    return torch.stack(views).mean(0)[0]


@pytest.mark.parametrize(
    ("scales", "flip"), [((1.0,), False), ((1.0,), True), ((0.75, 1.0, 1.5), True), ((0.5,), False)]
)
def test_the_tile_slides_over_each_size_of_the_image(scales: tuple[float, ...], flip: bool) -> None:
    model, image = StandIn().eval(), draw(72, 100)
    machine = predictor(model, tile=TILE, sliding=True, scales=scales, flip=flip)
    expected = at_all_sizes(model, image, scales, flip)
    torch.testing.assert_close(machine.scores(image), expected, rtol=1e-4, atol=1e-4)
    assert_same_labels(machine(image), expected)


def test_every_tile_of_a_larger_view_has_the_tiles_size() -> None:
    model = StandIn()
    predictor(model, tile=TILE, sliding=True, scales=(1.0, 2.0)).predict(draw(72, 96))
    assert set(model.sizes) == {TILE}
    assert len(model.sizes) == 3 * 3 + 6 * 6


def test_832_pixels_slide_by_555_over_cityscapes() -> None:
    assert tile_starts(72, 36, 1 / 3) == [0, 24, 36]
    assert tile_starts(1024, 832, 1 / 3) == [0, 192]
    assert tile_starts(2048, 832, 1 / 3) == [0, 555, 1110, 1216]


def test_probabilities_are_fused_on_request() -> None:
    model, image = StandIn().eval(), draw(50, 60)
    machine = predictor(model, tile=TILE, sliding=True, scales=(1.0, 1.2), fusion="prob")
    found = machine.scores(image)
    torch.testing.assert_close(found.sum(0), torch.ones(50, 60))
    prediction = machine.predict(image, confidence=True)
    assert prediction.tile == TILE
    assert prediction.confidence is not None


def test_sliding_needs_a_tile() -> None:
    with pytest.raises(DsegError) as caught:
        Protocol(sliding=True)
    assert caught.value.hint == "name one, such as --tile 832x832."
    refused(run("infer", "img", "--sliding"), 2, "no tile size")
