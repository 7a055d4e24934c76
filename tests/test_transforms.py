"""Augmentation: positions of pixels, and equal crops for equal random numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from dseg.data.transforms import Augmentation, View, apply_views, draw_view, make_generator

FILL = (10.0, 20.0, 30.0)


def ramp(height: int, width: int) -> tuple[Tensor, Tensor]:
    """An image whose red counts columns and green rows, and a mask that counts columns."""
    image = torch.zeros(1, 3, height, width, dtype=torch.uint8)
    image[0, 0] = torch.arange(width, dtype=torch.uint8)
    image[0, 1] = torch.arange(height, dtype=torch.uint8)[:, None]
    return image, torch.arange(width, dtype=torch.uint8).expand(1, height, width).contiguous()


def view(scale: float = 1.0, top: int = 0, left: int = 0, **changes: object) -> View:
    return View(scale=scale, top=top, left=left, flipped=False, **changes)  # type: ignore[arg-type]


def test_a_crop_of_the_images_own_scale_copies_pixels() -> None:
    image, mask = ramp(20, 30)
    crop, ids = apply_views(image, mask, [view(top=4, left=7)], (8, 9), FILL)
    assert torch.equal(crop, image[:, :, 4:12, 7:16])
    assert torch.equal(ids, mask[:, 4:12, 7:16])


def test_mirroring_swaps_left_and_right() -> None:
    image, mask = ramp(6, 8)
    flipped = View(scale=1.0, top=0, left=0, flipped=True)
    crop, ids = apply_views(image, mask, [flipped], (6, 8), FILL)
    assert crop[0, 0, 0].tolist() == [7, 6, 5, 4, 3, 2, 1, 0]
    assert ids[0, 3].tolist() == [7, 6, 5, 4, 3, 2, 1, 0]
    assert crop[0, 1, :, 0].tolist() == [0, 1, 2, 3, 4, 5]


def test_outside_of_the_image_there_is_the_fill_and_no_class() -> None:
    image, mask = ramp(4, 4)
    crop, ids = apply_views(image + 100, mask, [view(top=-1, left=-2)], (6, 8), FILL)
    assert crop[0, :, 0, 0].tolist() == [10, 20, 30]
    assert ids[0].tolist()[0] == [255] * 8
    assert ids[0].tolist()[1] == [255, 255, 0, 1, 2, 3, 255, 255]
    assert crop[0, 0, 1].tolist() == [10, 10, 100, 101, 102, 103, 10, 10]


def test_doubling_an_image_repeats_classes_and_blends_colours() -> None:
    image, mask = ramp(4, 4)
    crop, ids = apply_views(image * 40, mask, [view(scale=2.0)], (8, 8), FILL)
    assert ids[0, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert crop[0, 0, 4].tolist()[1:7] == [10, 30, 50, 70, 90, 110]


@pytest.mark.parametrize("value", [0, 18, 254, 255])
def test_classes_survive_resizing_unblended(value: int) -> None:
    mask = torch.full((1, 9, 11), value, dtype=torch.uint8)
    _, ids = apply_views(torch.zeros(1, 3, 9, 11).byte(), mask, [view(scale=1.7)], (12, 12), FILL)
    assert ids.unique().tolist() == [value]


def test_a_crop_is_turned_clockwise_about_its_centre() -> None:
    image = torch.arange(25, dtype=torch.uint8).view(1, 1, 5, 5).repeat(1, 3, 1, 1)
    crop, ids = apply_views(image, image[:, 0], [view(angle=90.0)], (5, 5), FILL)
    assert torch.equal(ids[0], image[0, 0].rot90(-1))
    assert torch.equal(crop[0, 0], image[0, 0].rot90(-1))


def test_turning_keeps_distances_in_crops_of_any_shape() -> None:
    mask = torch.zeros(1, 40, 40, dtype=torch.uint8)
    mask[0, 20, 12:29] = 1  # 17 pixels in a row
    _, ids = apply_views(
        *(torch.zeros(1, 3, 40, 40).byte(), mask),
        *([view(angle=90.0, top=0, left=10)], (40, 20), FILL),
    )
    assert (ids[0] == 1).sum(0).amax() == 17
    assert ((ids[0] == 1).any(0)).sum() == 1


def test_half_of_the_crops_are_turned_by_up_to_the_angle() -> None:
    some = Augmentation(crop=(16, 16), rotate=10)
    views = [draw_view(some, 20, 20, make_generator(0, 0, index)) for index in range(200)]
    turned = [v.angle for v in views if v.angle]
    assert 70 < len(turned) < 130
    assert -10 <= min(turned) < -8 and 8 < max(turned) <= 10


def test_colours_change_by_the_drawn_factors() -> None:
    image = torch.tensor([100, 50, 200], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    mask = torch.zeros(1, 4, 4, dtype=torch.uint8)

    def colour(**factors: float) -> list[int]:
        crop, _ = apply_views(image, mask, [view(**factors)], (4, 4), FILL)
        return crop[0, :, 1, 1].tolist()  # type: ignore[no-any-return]

    assert colour(brightness=1.2) == [120, 60, 240]
    assert colour(brightness=2.0) == [200, 100, 255]
    assert colour(saturation=0.0) == [82, 82, 82]
    assert colour(contrast=0.0) == [82, 82, 82]
    assert colour() == [100, 50, 200]


def test_blurring_spreads_a_point_and_leaves_the_mask() -> None:
    image = torch.zeros(1, 3, 9, 9, dtype=torch.uint8)
    image[..., 4, 4] = 255
    crop, ids = apply_views(image, torch.ones(1, 9, 9).byte(), [view(sigma=1.0)], (9, 9), FILL)
    assert 30 <= int(crop[0, 0, 4, 4]) <= 50 and int(crop[0, 0, 4, 5]) > 15
    assert ids.unique().tolist() == [1]


AUGMENTATION = Augmentation(
    crop=(32, 48), scales=(0.5, 2.0), continuous=True, flip=0.5, jitter=0.4, blur=0.5
)


def test_a_view_depends_on_seed_epoch_and_index_alone() -> None:
    def drawn(seed: int, epoch: int, index: int) -> View:
        return draw_view(AUGMENTATION, 60, 80, make_generator(seed, epoch, index))

    assert drawn(1, 2, 3) == drawn(1, 2, 3)
    assert len({drawn(*numbers) for numbers in [(1, 2, 3), (2, 2, 3), (1, 3, 3), (1, 2, 4)]}) == 4


def test_drawn_views_keep_to_their_ranges() -> None:
    views = [draw_view(AUGMENTATION, 60, 80, make_generator(0, 0, i)) for i in range(400)]
    assert 0.5 <= min(v.scale for v in views) < 0.52 and 1.98 < max(v.scale for v in views) <= 2
    assert 150 < sum(v.flipped for v in views) < 250
    assert all(0.6 <= v.brightness <= 1.4 for v in views)
    for v in views:  # the crop is within the image, or the image within the crop
        spare = round(60 * v.scale) - 32
        assert min(spare, 0) <= v.top <= max(spare, 0)
    assert {v.sigma == 0 for v in views} == {True, False}


def test_discrete_scales_are_drawn_from_their_list() -> None:
    some = Augmentation(crop=(16, 16), scales=(0.75, 1.0, 2.0))
    scales = {draw_view(some, 50, 50, make_generator(0, 0, i)).scale for i in range(60)}
    assert scales == {0.75, 1.0, 2.0}


def test_the_short_side_sets_the_scale_that_others_multiply() -> None:
    some = Augmentation(crop=(16, 16), short_side=100, scales=(0.5,))
    assert draw_view(some, 400, 50, np.random.default_rng(0)).scale == 1.0
