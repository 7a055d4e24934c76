"""Crops against a slow reference that computes one pixel at a time, in double precision."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dseg.data.transforms import (
    Augmentation,
    View,
    apply_views,
    crop_view,
    draw_view,
    make_generator,
)

FILL = (123.7, 20.2, 240.5)
SIZE = (37, 53)
CROP = (22, 30)
Array = NDArray[Any]

KINDS: dict[str, dict[str, Any]] = {
    "scales": {"scales": (0.4, 2.5)},
    "colours": {"scales": (0.8, 1.5), "jitter": 0.6},
    "blur": {"scales": (0.8, 1.5), "blur": 1.0},
    "rotation": {"scales": (0.4, 2.5), "rotate": 180.0},
    "all": {"scales": (0.4, 2.5), "jitter": 0.4, "blur": 0.7, "rotate": 15.0},
}


def draw(seed: int) -> tuple[Array, Array]:
    numbers = np.random.default_rng(seed)
    image = numbers.integers(0, 256, (*SIZE, 3), np.uint8)
    return image, numbers.integers(0, 20, SIZE, np.uint8)


def find_source(view: View, y: int, x: int) -> tuple[float, float]:
    """Return the image coordinates (row, column) of a pixel of the crop; pixel i is at i."""
    down, right = y + 0.5 - CROP[0] / 2, x + 0.5 - CROP[1] / 2
    if view.flipped:
        right = -right
    angle = math.radians(view.angle)
    moved_right = math.cos(angle) * right + math.sin(angle) * down
    moved_down = math.cos(angle) * down - math.sin(angle) * right
    row = (view.top + CROP[0] / 2 + moved_down) / view.scale - 0.5
    column = (view.left + CROP[1] / 2 + moved_right) / view.scale - 0.5
    return row, column


def blend(image: Array, row: float, column: float) -> Array:
    total = np.zeros(3)
    for y in (math.floor(row), math.floor(row) + 1):
        for x in (math.floor(column), math.floor(column) + 1):
            inside = 0 <= y < SIZE[0] and 0 <= x < SIZE[1]
            weight = (1 - abs(row - y)) * (1 - abs(column - x))
            total += weight * (image[y, x] if inside else np.array(FILL))
    return total


def recolor(pixels: Array, view: View) -> Array:
    luma = np.array([0.299, 0.587, 0.114])
    pixels = (pixels * view.brightness).clip(0, 255)
    mean = (pixels @ luma).mean()
    pixels = (mean + (pixels - mean) * view.contrast).clip(0, 255)
    grey = (pixels @ luma)[..., None]
    return np.asarray(grey + (pixels - grey) * view.saturation)


def blur(pixels: Array, sigma: float) -> Array:
    """Convolve with 7x7 weights of a Gaussian; edges are reflected."""
    steps = np.arange(-3, 4)
    kernel = np.exp(-(steps[:, None] ** 2 + steps**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    padded = np.pad(pixels, ((3, 3), (3, 3), (0, 0)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (7, 7), axis=(0, 1))
    return np.asarray((windows * kernel).sum((-2, -1)))


def reference(image: Array, train_ids: Array, view: View) -> tuple[Array, Array, Array]:
    """Return (h, w, 3) colours, (h, w) train ids, and where these are ties of two pixels."""
    pixels, ids = np.zeros((*CROP, 3)), np.full(CROP, 255)
    ties = np.zeros(CROP, bool)
    for y in range(CROP[0]):
        for x in range(CROP[1]):
            row, column = find_source(view, y, x)
            pixels[y, x] = blend(image, row, column)
            ties[y, x] = any(abs(side % 1 - 0.5) < 1e-3 for side in (row, column))
            nearest = round(row), round(column)
            if 0 <= nearest[0] < SIZE[0] and 0 <= nearest[1] < SIZE[1]:
                ids[y, x] = train_ids[nearest]
    pixels = recolor(pixels, view)
    if view.sigma:
        pixels = blur(pixels, view.sigma)
    return pixels.clip(0, 255), ids, ties


def draw_views(kind: str, count: int) -> list[View]:
    some = Augmentation(crop=CROP, continuous=True, flip=0.5, **KINDS[kind])
    return [draw_view(some, *SIZE, make_generator(1, 2, index)) for index in range(count)]


@pytest.mark.parametrize("kind", KINDS)
def test_crops_are_those_of_the_reference(kind: str) -> None:
    views = draw_views(kind, 24)
    pairs = [draw(seed) for seed in range(len(views))]
    together = apply_views(
        torch.from_numpy(np.stack([image for image, _ in pairs])).permute(0, 3, 1, 2),
        torch.from_numpy(np.stack([train_ids for _, train_ids in pairs])),
        *(views, CROP, FILL),
    )
    skipped = 0.0
    for place, (view, (image, train_ids)) in enumerate(zip(views, pairs, strict=True)):
        colors, ids, ties = reference(image, train_ids, view)
        alone = crop_view(image, train_ids, view, CROP, FILL)
        for seen, marks in (alone, (together[0][place], together[1][place])):
            # 0.5 for rounding, and float32 errors of coordinates
            assert np.abs(seen.permute(1, 2, 0).numpy() - colors).max() < 0.52, view
            assert np.array_equal(marks.numpy()[~ties], ids[~ties]), view
        skipped += ties.mean() / len(views)
    assert skipped < 0.05


def test_the_views_compared_leave_the_image_and_stay_within() -> None:
    views = draw_views("scales", 24)
    assert any(view.top < 0 for view in views) and any(view.left < 0 for view in views)
    assert any(view.top > 0 and view.left > 0 for view in views)
    assert {view.flipped for view in views} == {True, False}
    assert any(view.angle < -90 for view in draw_views("rotation", 24))


@pytest.mark.parametrize("scale", [0.5, 0.25, 1.0, 2.0])
def test_masks_of_ties_are_the_same_alone_and_together(scale: float) -> None:
    image, train_ids = draw(0)
    views = [
        View(scale=scale, top=top, left=left, flipped=flipped)
        for top, left, flipped in [(0, 0, False), (3, -5, True), (-4, 2, False)]
    ]
    together = apply_views(
        torch.from_numpy(image).permute(2, 0, 1).expand(3, -1, -1, -1),
        torch.from_numpy(train_ids).expand(3, -1, -1),
        *(views, CROP, FILL),
    )
    for view, ids in zip(views, together[1], strict=True):
        assert torch.equal(crop_view(image, train_ids, view, CROP, FILL)[1], ids)


def test_a_crop_beyond_the_image_is_all_fill() -> None:
    image, train_ids = draw(0)
    away = View(scale=1.0, top=100, left=-90, flipped=True)
    for view in (away, View(scale=1.0, top=100, left=-90, flipped=False, angle=30.0)):
        seen, ids = crop_view(image, train_ids, view, CROP, (10, 20, 30))
        assert seen.flatten(1).unique(dim=1).squeeze(1).tolist() == [10, 20, 30]
        assert ids.unique().tolist() == [255]


def test_images_that_cannot_be_written_to_are_left_alone() -> None:
    image, train_ids = draw(0)
    before = image.copy(), train_ids.copy()
    image.setflags(write=False)
    train_ids.setflags(write=False)
    for view in draw_views("all", 6):
        crop_view(image, train_ids, view, CROP, FILL)
    assert np.array_equal(image, before[0]) and np.array_equal(train_ids, before[1])
