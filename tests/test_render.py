"""Overlays: the tint is as documented, ignored pixels stay, the legend fits."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dseg
from dseg.errors import DsegError
from dseg.labels import find_label_space
from dseg.render import choose_evenly, draw_sheet, find_present, make_thumb, render_overlay

SAMPLE = next(Path(dseg.__file__).parent.glob("samples/leftImg8bit/**/*.png"))
SPACE = find_label_space("cityscapes")


def street(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A random image, and a mask of stripes of all 19 classes with an ignored column."""
    rng = np.random.default_rng(5)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    mask = np.repeat(np.arange(height) * 19 // height, width).reshape(height, width)
    mask = mask.astype(np.uint8)
    mask[:, -1] = 255
    return image, mask


def test_the_hue_is_that_of_the_class_and_the_brightness_stays() -> None:
    image = np.full((2, 3, 3), 100, np.uint8)
    for train_id, want in ((0, [142, 99, 142]), (10, [87, 127, 161]), (13, [104, 104, 199])):
        mask = np.full((2, 3), train_id, np.uint8)
        overlay = render_overlay(image, mask, SPACE, legend="none")
        assert overlay.tolist() == [[want] * 3] * 2  # road, sky, car


def test_the_overlay_of_a_photo_is_not_darker_than_the_photo() -> None:
    photo = np.asarray(Image.open(SAMPLE).convert("RGB"))
    weights = np.array([0.299, 0.587, 0.114])
    for train_id in range(19):
        mask = np.full(photo.shape[:2], train_id, np.uint8)
        overlay = render_overlay(photo, mask, SPACE, legend="none")
        assert -8 < (overlay @ weights - photo @ weights).mean() < 24


def test_pixels_of_no_class_of_background_and_of_void_stay() -> None:
    rng = np.random.default_rng(2)
    image = rng.integers(0, 256, (40, 60, 3), np.uint8)
    mask = np.full((40, 60), 255, np.uint8)
    mask[:, 20:40], mask[:, 50:] = 19, 200  # values that are no class
    overlay = render_overlay(image, mask, SPACE, legend="none")
    assert (overlay == image).all()
    voc = find_label_space("voc")
    mask[:] = 0
    mask[10:20, 10:20] = 7
    changed = (render_overlay(image, mask, voc, legend="none") != image).any(axis=2)
    assert changed[10:20, 10:20].all() and changed.sum() == 100


def test_contours_are_one_pixel_at_480_rows_and_thicker_in_larger_images() -> None:
    for side, thick in ((60, 1), (480, 1), (1000, 2)):
        image = np.full((side, side + 10, 3), 100, np.uint8)
        mask = np.zeros((side, side + 10), np.uint8)
        mask[:, side // 2 :] = 10
        overlay = render_overlay(image, mask, SPACE, legend="none")
        inside = [overlay[5, 0].tolist(), overlay[5, -1].tolist()]
        others = [column for column in range(side) if overlay[5, column].tolist() not in inside]
        assert others == list(range(side // 2 - thick, side // 2))


def test_an_object_on_background_has_a_contour_on_all_sides() -> None:
    image = np.full((100, 100, 3), 100, np.uint8)
    mask = np.zeros((100, 100), np.uint8)
    mask[29:70, 30:70] = 7  # across the rows that are drawn at once
    overlay = render_overlay(image, mask, find_label_space("voc"), legend="none")
    inside = (overlay == overlay[50, 50]).all(axis=2)
    rows, columns = np.nonzero(inside)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (30, 68, 31, 68)
    assert inside[30:69, 31:69].all()


def test_opacity_1_gives_the_flat_colours_and_0_the_image() -> None:
    image, mask = street(95, 70)
    colors = np.array(SPACE.palette(), np.uint8).reshape(256, 3)[mask]
    colors[mask == 255] = image[mask == 255]
    assert (render_overlay(image, mask, SPACE, opacity=1, legend="none") == colors).all()
    assert (render_overlay(image, mask, SPACE, opacity=0, legend="none") == image).all()


def test_a_large_image_is_drawn_as_its_bands_are() -> None:
    image, mask = street(200, 90)
    mask[::7, ::5] = 13
    whole = render_overlay(image, mask, SPACE, legend="none")
    upper = render_overlay(image[:64], mask[:64], SPACE, legend="none")
    assert (whole[:63] == upper[:63]).all()  # the last row knows what is below it


def test_the_inputs_are_left_alone_and_the_result_is_new() -> None:
    image, mask = street(200, 300)
    kept = image.copy()
    overlay = render_overlay(image, mask, SPACE, legend="inside")
    assert overlay.shape == image.shape and overlay.dtype == np.uint8
    assert (image == kept).all()
    assert not np.shares_memory(overlay, image)


@pytest.mark.parametrize(
    "size", [(120, 120), (120, 900), (900, 120), (360, 480), (1024, 2048), (4096, 1500)]
)
def test_a_legend_inside_stays_in_the_top_left_corner(size: tuple[int, int]) -> None:
    image, mask = street(*size)
    plain = render_overlay(image, mask, SPACE, legend="none")
    changed = (render_overlay(image, mask, SPACE, legend="inside") != plain).any(axis=2)
    assert changed.any()
    rows, columns = np.nonzero(changed)
    assert rows.max() < size[0] * 0.75 and columns.max() < size[1] * 0.75


@pytest.mark.parametrize("size", [(1, 1), (119, 400), (64, 64), (33, 2000)])
def test_an_image_too_small_for_a_legend_has_none(size: tuple[int, int]) -> None:
    image, mask = street(*size)
    plain = render_overlay(image, mask, SPACE, legend="none")
    assert (render_overlay(image, mask, SPACE, legend="inside") == plain).all()


def test_names_too_long_for_the_image_are_left_out() -> None:
    image, mask = street(120, 120)
    space = replace(SPACE, names=tuple(f"class {n} of a very long name" for n in range(19)))
    plain = render_overlay(image, mask, space, legend="none")
    assert (render_overlay(image, mask, space, legend="inside") == plain).all()


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
    assert render_overlay(image, mask, SPACE).shape == (200, 200, 3)
    assert (render_overlay(image, mask, SPACE, legend="inside") == image).all()


def test_a_mask_of_another_size_is_refused() -> None:
    image, mask = street(20, 20)
    with pytest.raises(DsegError, match="do not match"):
        render_overlay(image, mask[:10], SPACE)
    with pytest.raises(DsegError, match=r"opacity 1\.5"):
        render_overlay(image, mask, SPACE, opacity=1.5)
    with pytest.raises(DsegError, match="legend 'above' is unknown"):
        render_overlay(image, mask, SPACE, legend="above")


# The strip


@pytest.mark.parametrize("size", [(120, 120), (1, 9000), (900, 120), (360, 480), (1024, 2048)])
def test_the_strip_is_below_the_image(size: tuple[int, int]) -> None:
    image, mask = street(*size)
    height, width = size
    overlay = render_overlay(image, mask, SPACE)
    assert overlay.shape[1:] == (width, 3)
    assert height + 9 < overlay.shape[0] <= max(height * 1.61, height + 24)
    plain = render_overlay(image, mask, SPACE, legend="none")
    assert (overlay[:height] == plain).all()
    strip = overlay[height:]
    assert strip[0, 0].tolist() == strip[-1, -1].tolist() == [32, 32, 32]
    assert (strip > 200).any()  # text


def test_a_swatch_has_the_tints_of_the_image_and_the_colour_of_its_contour() -> None:
    greys = np.arange(30, 191, dtype=np.uint8)  # from dark to bright
    image = np.repeat(np.tile(greys, 3)[None, :, None], 3, axis=2).repeat(200, axis=0)
    for train_id, outline in ((0, [165, 119, 165]), (14, [73, 73, 123]), (13, [73, 73, 175])):
        mask = np.full(image.shape[:2], train_id, np.uint8)
        overlay = render_overlay(image, mask, SPACE)
        row = overlay[200 + 5 + 7, 4:18].tolist()  # the middle of the only swatch
        assert row[0] == row[-1] == outline
        assert row[1] == overlay[0, 0].tolist() and row[-2] == overlay[0, 160].tolist()
        shown = {tuple(color) for color in overlay[:200].reshape(-1, 3).tolist()}
        assert {tuple(color) for color in row[1:-1]} <= shown


def test_a_swatch_at_opacity_1_is_the_flat_colour_with_an_outline_if_that_is_dark() -> None:
    image, mask = np.zeros((200, 400, 3), np.uint8), np.zeros((200, 400), np.uint8)
    mask[100:] = 14
    strip = render_overlay(image, mask, SPACE, opacity=1)[200:]
    road = (strip == SPACE.colors[0]).all(axis=2)
    truck = (strip == SPACE.colors[14]).all(axis=2)
    assert road.sum() == 14 * 10  # pixels
    assert truck.sum() == 12 * 8
    row, column = (int(values[0]) for values in np.nonzero(truck))
    assert strip[row - 1, column].tolist() == [255, 255, 255]
    assert not (strip == SPACE.colors[10]).all(axis=2).any()


def test_a_class_name_of_several_lines_is_drawn_on_one() -> None:
    image, mask = street(200, 400)
    space = replace(SPACE, names=("two\nlines", *SPACE.names[1:]))
    for legend in ("strip", "inside"):
        expected = replace(SPACE, names=("two?lines", *SPACE.names[1:]))
        drawn = render_overlay(image, mask, space, legend=legend)
        assert (drawn == render_overlay(image, mask, expected, legend=legend)).all()


def test_letters_other_than_english_are_drawn() -> None:
    image, mask = street(200, 400)
    drawn = []
    for letter in "äößжλ":
        space = replace(SPACE, names=(letter, *SPACE.names[1:]))
        drawn.append(render_overlay(image, mask, space).tobytes())
    assert len(set(drawn)) == 5  # letters that a font lacks look alike


def test_an_image_narrower_than_the_text_has_no_strip() -> None:
    image, mask = street(300, 119)
    assert render_overlay(image, mask, SPACE).shape == image.shape


def test_side_by_side_has_the_image_to_the_left() -> None:
    image, mask = street(150, 200)
    overlay = render_overlay(image, mask, SPACE, side_by_side=True)
    assert (overlay[:150, :200] == image).all()
    assert (overlay[:150, 200:] == render_overlay(image, mask, SPACE, legend="none")).all()
    assert overlay.shape[0] > 150 and overlay.shape[1] == 400


def test_the_legend_of_a_video_has_one_size_whatever_a_frame_shows() -> None:
    image, mask = street(240, 320)
    full = render_overlay(image, mask, SPACE, fixed=True, opacity=1)
    mask[:] = 255
    empty = render_overlay(image, mask, SPACE, fixed=True, opacity=1)
    assert full.shape == empty.shape
    at = (full[240:] == SPACE.colors[10]).all(axis=2)
    assert at.sum() == 140 and (empty[240:][at] == SPACE.colors[10]).all()


# The contact sheet


def test_a_sheet_shows_at_most_24_images_evenly_spaced() -> None:
    assert choose_evenly(3) == [0, 1, 2]
    chosen = choose_evenly(100)
    assert (len(chosen), chosen[0], chosen[-1]) == (24, 0, 99)
    assert {b - a for a, b in pairwise(chosen)} == {4, 5}
    assert choose_evenly(0) == []


def test_a_sheet_has_every_thumb_in_its_place() -> None:
    big = np.full((600, 1200, 3), (250, 10, 10), np.uint8)
    assert make_thumb(big).shape == (160, 320, 3)
    assert make_thumb(big[:40, :30]).shape == (40, 30, 3)
    thumbs = [(f"{n}" * 200, np.full((240, 320, 3), n * 40, np.uint8)) for n in range(1, 6)]
    sheet = draw_sheet(thumbs, SPACE)
    assert sheet.shape[1] == 3 * 328 + 8 and sheet.shape[0] > 2 * 268 + 8
    assert sheet[8:248, 8:328].min() == sheet[8:248, 8:328].max() == 40
    assert (sheet[276:516, 336:656] == 200).all()
    assert draw_sheet(thumbs[:1], SPACE).shape[1] == 336
