"""Label tables: Cityscapes against cityscapesscripts, the others against literal spot checks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cityscapesscripts.helpers.labels import labels as official

from dseg.errors import DsegError
from dseg.labels import (
    CITYSCAPES_LABELS,
    IGNORE,
    LABEL_SPACES,
    find_label_space,
    make_lookup,
    unnamed_label_space,
    voc_color,
)

CITYSCAPES = find_label_space("cityscapes")
ADE20K = find_label_space("ade20k")
COCOSTUFF = find_label_space("cocostuff")
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


def test_the_table_is_that_of_cityscapesscripts_without_the_licence_plate() -> None:
    assert [
        (*row[:4], row.hasInstances, row.ignoreInEval, row.color) for row in official if row.id >= 0
    ] == list(CITYSCAPES_LABELS)
    assert [row.id for row in CITYSCAPES_LABELS] == list(range(34))


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


@pytest.mark.parametrize(
    ("name", "train_id", "color"),
    [
        ("wall", 0, (120, 120, 120)),
        ("building", 1, (180, 120, 120)),
        ("sky", 2, (6, 230, 230)),
        ("floor", 3, (80, 50, 50)),
        ("tree", 4, (4, 200, 3)),
        ("road", 6, (140, 140, 140)),
        ("bed", 7, (204, 5, 255)),
        ("windowpane", 8, (230, 230, 230)),
        ("person", 12, (150, 5, 61)),
        ("car", 20, (0, 102, 200)),
        ("chest of drawers", 44, (6, 51, 255)),
        ("skyscraper", 48, (140, 140, 200)),
        ("arcade machine", 78, (255, 92, 0)),
        ("television", 89, (0, 255, 194)),
        ("fountain", 104, (8, 184, 170)),
        ("conveyer belt", 105, (133, 0, 255)),
        ("trade name", 123, (133, 255, 0)),
        ("screen", 130, (0, 204, 255)),
        ("traffic light", 136, (41, 0, 255)),
        ("clock", 148, (102, 255, 0)),
        ("flag", 149, (92, 0, 255)),
    ],
)
def test_ade20k_literally(name: str, train_id: int, color: object) -> None:
    assert ADE20K.names[train_id] == name
    assert ADE20K.label_ids[train_id] == train_id + 1
    assert ADE20K.train_id_of(train_id + 1) == train_id
    assert ADE20K.colors[train_id] == color
    assert ADE20K.label_id_of_color()[color] == train_id + 1


def test_ade20k_has_150_classes_and_ignores_0() -> None:
    assert ADE20K.num_classes == 150
    assert ADE20K.label_ids == tuple(range(1, 151))
    assert ADE20K.ignored_ids == (0, 255)
    assert ADE20K.train_id_of(0) == ADE20K.train_id_of(151) == IGNORE
    found = ADE20K.label_id_of_color()
    assert found[(0, 0, 0)] == 0
    assert len(found) == 151


@pytest.mark.parametrize(
    ("name", "train_id", "label_id", "color"),
    [
        ("person", 0, 0, (128, 0, 0)),
        ("bicycle", 1, 1, (0, 128, 0)),
        ("fire hydrant", 10, 10, (192, 128, 0)),
        ("stop sign", 11, 12, (192, 0, 128)),
        ("giraffe", 23, 24, (192, 64, 0)),
        ("backpack", 24, 26, (192, 192, 0)),
        ("handbag", 26, 30, (192, 192, 128)),
        ("bottle", 39, 43, (64, 0, 192)),
        ("wine glass", 40, 45, (64, 128, 192)),
        ("bed", 59, 64, (160, 0, 0)),
        ("dining table", 60, 66, (160, 128, 0)),
        ("toilet", 61, 69, (32, 128, 128)),
        ("refrigerator", 72, 81, (32, 192, 0)),
        ("toothbrush", 79, 89, (96, 192, 0)),
        ("banner", 80, 91, (96, 64, 128)),
        ("blanket", 81, 92, (224, 64, 128)),
        ("branch", 82, 93, (96, 192, 128)),
        ("building-other", 84, 95, (32, 0, 64)),
        ("sky-other", 145, 156, (192, 96, 128)),
        ("tree", 157, 168, (192, 32, 64)),
        ("waterdrops", 167, 178, (128, 224, 64)),
        ("wood", 170, 181, (0, 224, 192)),
    ],
)
def test_cocostuff_literally(name: str, train_id: int, label_id: int, color: object) -> None:
    assert COCOSTUFF.names[train_id] == name
    assert COCOSTUFF.label_ids[train_id] == label_id
    assert COCOSTUFF.train_id_of(label_id) == train_id
    assert COCOSTUFF.colors[train_id] == color
    assert COCOSTUFF.label_id_of_color()[color] == label_id


def test_cocostuff_has_171_classes_less_the_ids_that_never_occur() -> None:
    missing = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)
    assert COCOSTUFF.num_classes == 171
    assert COCOSTUFF.label_ids == tuple(value for value in range(182) if value not in missing)
    assert COCOSTUFF.ignored_ids == (255,)
    assert {COCOSTUFF.train_id_of(value) for value in (*missing, 182, 255)} == {IGNORE}
    found = COCOSTUFF.label_id_of_color()
    assert found[(0, 0, 0)] == 255
    assert len(found) == 172


def test_the_void_label_id_is_that_of_pixels_of_no_class() -> None:
    assert {name: space.void_label_id for name, space in LABEL_SPACES.items()} == {
        "cityscapes": 0,
        "camvid": 11,
        "voc": 255,
        "ade20k": 0,
        "cocostuff": 255,
    }
    assert unnamed_label_space(7).void_label_id == 255


def test_without_ignored_ids_the_void_label_id_is_one_that_no_class_has() -> None:
    space = replace(unnamed_label_space(3), ignored_ids=(), label_ids=(0, 255, 254))
    assert space.void_label_id == 253


@pytest.mark.parametrize("space", LABEL_SPACES.values(), ids=lambda space: space.name)
def test_every_space_is_consistent(space: object) -> None:
    count = space.num_classes
    assert len(space.colors) == len(space.label_ids) == len(set(space.names)) == count
    assert all(name == name.strip() != "" for name in space.names)
    assert set(space.label_ids) | set(space.ignored_ids) <= set(range(256))
    assert list(space.label_ids) == sorted(set(space.label_ids))
    assert space.train_id_of(space.void_label_id) == IGNORE
    assert len(set(space.colors)) == count
    assert not set(space.label_ids) & set(space.ignored_ids)
    palette = np.array(space.palette()).reshape(256, 3)
    assert [tuple(color) for color in palette[:count].tolist()] == list(space.colors)
    assert not palette[count:].any()


def test_an_unknown_space_lists_the_known_ones() -> None:
    with pytest.raises(DsegError) as fault:
        find_label_space("kitti")
    assert fault.value.problem == "Unknown label space 'kitti'."
    assert "cityscapes, camvid, voc, ade20k, cocostuff" in fault.value.hint


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
