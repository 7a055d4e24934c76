"""Overlays: the blend is exact, ignored pixels stay, the legend fits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dseg.errors import DsegError
from dseg.labels import find_label_space
from dseg.render import find_present, render_overlay

SPACE = find_label_space("cityscapes")


def street(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A random image, and a mask of stripes of all 19 classes with an ignored column."""
    rng = np.random.default_rng(5)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    mask = np.repeat(np.arange(height) * 19 // height, width).reshape(height, width)
    mask = mask.astype(np.uint8)
    mask[:, -1] = 255
    return image, mask


def test_the_blend_is_the_rounded_mean_of_image_and_colour() -> None:
    image = np.full((2, 3, 3), 100, np.uint8)
    mask = np.array([[0, 0, 13], [10, 255, 19]], np.uint8)
    overlay = render_overlay(image, mask, SPACE, legend=False)
    assert overlay[0, 0].tolist() == [114, 82, 114]  # road is (128, 64, 128)
    assert overlay[0, 2].tolist() == [50, 50, 121]  # car is (0, 0, 142)
    assert overlay[1, 0].tolist() == [85, 115, 140]  # sky is (70, 130, 180)
    assert overlay[1, 1].tolist() == [100, 100, 100]  # ignored
    assert overlay[1, 2].tolist() == [100, 100, 100]  # no class of 19


@pytest.mark.parametrize("opacity", [0.0, 0.3, 1.0])
def test_every_opacity_agrees_with_floating_point(opacity: float) -> None:
    image, mask = street(95, 70)
    colors = np.array(SPACE.palette()).reshape(256, 3)[mask]
    want = image + (colors - image.astype(float)) * opacity
    want[mask == 255] = image[mask == 255]
    got = render_overlay(image, mask, SPACE, opacity=opacity, legend=False)
    assert np.abs(got - want).max() <= 1.01
    if opacity in (0, 1):
        assert (got == want).all()


def test_the_inputs_are_left_alone_and_the_result_is_new() -> None:
    image, mask = street(200, 300)
    kept = image.copy()
    overlay = render_overlay(image, mask, SPACE)
    assert overlay.shape == image.shape and overlay.dtype == np.uint8
    assert (image == kept).all()
    assert not np.shares_memory(overlay, image)


@pytest.mark.parametrize(
    "size", [(120, 120), (120, 900), (900, 120), (360, 480), (1024, 2048), (4096, 1500)]
)
def test_the_legend_stays_in_the_top_left_corner(size: tuple[int, int]) -> None:
    image, mask = street(*size)
    plain = render_overlay(image, mask, SPACE, legend=False)
    changed = (render_overlay(image, mask, SPACE) != plain).any(axis=2)
    assert changed.any()
    rows, columns = np.nonzero(changed)
    assert rows.max() < size[0] * 0.75 and columns.max() < size[1] * 0.75


@pytest.mark.parametrize("size", [(1, 1), (119, 400), (64, 64), (33, 2000)])
def test_an_image_too_small_for_a_legend_has_none(size: tuple[int, int]) -> None:
    image, mask = street(*size)
    plain = render_overlay(image, mask, SPACE, legend=False)
    assert (render_overlay(image, mask, SPACE) == plain).all()


def test_names_too_long_for_the_image_are_left_out() -> None:
    image, mask = street(120, 120)
    space = replace(SPACE, names=tuple(f"class {n} of a very long name" for n in range(19)))
    plain = render_overlay(image, mask, space, legend=False)
    assert (render_overlay(image, mask, space) == plain).all()


def test_the_legend_lists_the_largest_first_and_no_specks() -> None:
    mask = np.full((100, 100), 10, np.uint8)
    mask[:60] = 13
    mask[0, :9] = 5  # 9 of 10,000 pixels
    mask[1, :10] = 6  # 10 of them: 0.1 %
    mask[2:8] = 255
    assert find_present(mask, SPACE) == [13, 10, 6]


def test_a_mask_of_nothing_but_ignored_pixels_gives_the_image() -> None:
    image, mask = street(200, 200)
    mask[:] = 255
    assert (render_overlay(image, mask, SPACE) == image).all()


def test_a_mask_of_another_size_is_refused() -> None:
    image, mask = street(20, 20)
    with pytest.raises(DsegError, match="do not match"):
        render_overlay(image, mask[:10], SPACE)
    with pytest.raises(DsegError, match=r"opacity 1\.5"):
        render_overlay(image, mask, SPACE, opacity=1.5)
