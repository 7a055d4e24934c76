"""Label tables: Cityscapes against cityscapesscripts, the others against literal spot checks."""

from __future__ import annotations

import numpy as np
import pytest
from cityscapesscripts.helpers.labels import labels as official

from dseg.errors import DsegError
from dseg.labels import (
    IGNORE,
    LABEL_SPACES,
    find_label_space,
    make_lookup,
    unnamed_label_space,
    voc_color,
)

CITYSCAPES = find_label_space("cityscapes")
TRAINED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)


def test_the_19_trained_label_ids_in_order() -> None:
    assert CITYSCAPES.label_ids == TRAINED
    assert CITYSCAPES.num_classes == 19


@pytest.mark.parametrize("row", [row for row in official if row.id >= 0], ids=lambda row: row.name)
def test_every_row_agrees_with_cityscapesscripts(row: object) -> None:
    assert CITYSCAPES.train_id_of(row.id) == row.trainId
    if row.trainId == IGNORE:
        assert row.id in CITYSCAPES.ignored_ids
        assert (row.color, row.id) in CITYSCAPES.ignored_colors
    else:
        assert CITYSCAPES.names[row.trainId] == row.name
        assert CITYSCAPES.colors[row.trainId] == row.color
        assert CITYSCAPES.label_ids[row.trainId] == row.id


def test_no_row_is_invented() -> None:
    assert sorted(CITYSCAPES.label_ids + CITYSCAPES.ignored_ids) == list(range(34))


@pytest.mark.parametrize(
    ("name", "train_id", "label_id", "color"),
    [
        ("road", 0, 7, (128, 64, 128)),
        ("sidewalk", 1, 8, (244, 35, 232)),
        ("traffic light", 6, 19, (250, 170, 30)),
        ("sky", 10, 23, (70, 130, 180)),
        ("car", 13, 26, (0, 0, 142)),
        ("train", 16, 31, (0, 80, 100)),
        ("bicycle", 18, 33, (119, 11, 32)),
    ],
)
def test_cityscapes_literally(name: str, train_id: int, label_id: int, color: object) -> None:
    assert CITYSCAPES.names[train_id] == name
    assert CITYSCAPES.label_ids[train_id] == label_id
    assert CITYSCAPES.colors[train_id] == color


def test_of_two_ids_with_one_colour_the_scored_or_the_first_is_meant() -> None:
    found = CITYSCAPES.label_id_of_color()
    assert found[(153, 153, 153)] == 17  # pole, not polegroup
    assert found[(0, 0, 142)] == 26  # car, not licence plate
    assert found[(0, 0, 0)] == 0  # unlabeled, not one of 1 to 4
    assert found[(250, 170, 160)] == 9  # parking
    assert len(found) == 29


def test_camvid_and_voc_literally() -> None:
    camvid, voc = find_label_space("camvid"), find_label_space("VOC")
    assert (camvid.num_classes, camvid.names[3], camvid.colors[3]) == (11, "Road", (128, 64, 128))
    assert camvid.train_id_of(11) == IGNORE
    assert (voc.num_classes, voc.names[15], voc.colors[15]) == (21, "person", (192, 128, 128))
    assert [voc_color(n) for n in (0, 1, 2, 255)] == [
        (0, 0, 0),
        (128, 0, 0),
        (0, 128, 0),
        (224, 224, 192),
    ]


@pytest.mark.parametrize("space", LABEL_SPACES.values(), ids=lambda space: space.name)
def test_every_space_is_consistent(space: object) -> None:
    count = space.num_classes
    assert len(space.colors) == len(space.label_ids) == len(set(space.names)) == count
    assert len(set(space.colors)) == count
    assert not set(space.label_ids) & set(space.ignored_ids)
    palette = np.array(space.palette()).reshape(256, 3)
    assert [tuple(color) for color in palette[:count].tolist()] == list(space.colors)
    assert not palette[count:].any()


def test_an_unknown_space_lists_the_known_ones() -> None:
    with pytest.raises(DsegError) as fault:
        find_label_space("kitti")
    assert fault.value.problem == "No label space named 'kitti'."
    assert "cityscapes, camvid, voc" in fault.value.hint


def test_unnamed_classes() -> None:
    space = unnamed_label_space(3)
    assert space.names == ("class 0", "class 1", "class 2")
    assert space.train_id_of(3) == IGNORE
    for count in (0, 256):
        with pytest.raises(DsegError, match=f"{count} classes"):
            unnamed_label_space(count)


def test_a_look_up_table_has_a_default() -> None:
    table = make_lookup([(7, 0), (8, 1)])
    assert (len(table), table[7], table[8], table[0]) == (256, 0, 1, IGNORE)
