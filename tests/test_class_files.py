"""Class files of folders with masks: allowed fields, and messages about mistakes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from data_trees import CLASSES, make_folder, save_image, save_mask, write
from PIL import Image

from dseg.datasets import find_splits, load_dataset
from dseg.errors import DsegError

ROAD = {"name": "road", "id": 0}


def first_row(root, split: str = "train", **options) -> list[int]:
    return load_dataset("folder", root, split, **options).read(0).train_ids[0].tolist()


def fault_of(root, split: str = "train", **options) -> DsegError:
    with pytest.raises(DsegError) as caught:
        load_dataset("folder", root, split, **options)
    assert caught.value.exit_code == 2
    return caught.value


def test_the_example_is_read(tmp_path) -> None:
    write(
        make_folder(tmp_path) / "mine.toml",
        """
        images = "images/{split}"
        masks = "masks/{split}"
        ignore = [255, 4]
        [[class]]
        name = "ground"
        ids = [0, 1]
        color = [128, 64, 128]
        [[class]]
        name = "car"
        id = 2
        """,
    )
    dataset = load_dataset("folder", tmp_path, "train", class_file=tmp_path / "mine.toml")
    assert first_row(tmp_path, class_file=tmp_path / "mine.toml") == [0, 0, 0, 0, 1, 1, 255, 255]
    assert dataset.space.name == "mine"
    assert dataset.space.names == ("ground", "car")
    assert dataset.space.label_ids == (0, 2)
    assert dataset.space.ignored_ids == (4, 255)
    assert dataset.space.colors == ((128, 64, 128), (0, 128, 0))  # VOC's second


def test_the_class_file_of_the_folder_is_found_by_its_name(tmp_path) -> None:
    root = make_folder(tmp_path)
    write(root / "classes.toml", '[[class]]\nname = "thing"\nids = [0, 1, 2, 4]\n')
    assert load_dataset("folder", root, "train").space.names == ("thing",)
    (root / "classes.toml").unlink()
    assert load_dataset("folder", root, "train").space.name == "roads"


def test_a_map_gives_values_to_classes(tmp_path) -> None:
    classes = {"class": [{"name": "a"}, {"name": "b", "id": 4}]}
    classes["map"] = {"0": "a", "1": "b", "2": "ignore"}
    assert first_row(make_folder(tmp_path, classes)) == [0, 0, 1, 1, 255, 255, 1, 1]


def test_255_is_ignored_unless_it_is_a_class(tmp_path) -> None:
    root = make_folder(tmp_path, {"class": [ROAD, {"name": "crack", "id": 255}]})
    save_mask(root / "masks/train/a.png", 0, 255)
    assert first_row(root) == [0, 0, 0, 0, 1, 1, 1, 1]
    write(root / "classes.json", json.dumps({"class": [ROAD]}))
    assert first_row(root) == [0, 0, 0, 0, 255, 255, 255, 255]


def test_masks_can_be_colours(tmp_path) -> None:
    classes = {
        "mask_colors": True,
        "ignore_colors": [[9, 9, 9]],
        "class": [{"name": "a", "color": [255, 0, 0]}, {"name": "b", "color": [0, 255, 0]}],
    }
    root = make_folder(tmp_path, classes)
    colors = Image.new("RGB", (8, 6), (255, 0, 0))
    colors.paste((0, 255, 0), (2, 0, 4, 6))
    colors.paste((9, 9, 9), (4, 0, 8, 6))
    colors.save(root / "masks/train/a.png")
    dataset = load_dataset("folder", root, "train")
    assert first_row(root) == [0, 0, 1, 1, 255, 255, 255, 255]
    assert dataset.classes == {0, 1}
    colors.quantize(8).save(root / "masks/train/a.png")
    assert first_row(root) == [0, 0, 1, 1, 255, 255, 255, 255]
    colors.paste((9, 9, 8), (7, 0, 8, 6))
    colors.save(root / "masks/train/a.png")
    with pytest.raises(DsegError, match=r"the colour \(9, 9, 8\) \(6 pixels"):
        dataset.read(0)


@pytest.mark.parametrize(
    ("images", "masks"), [("train/images", "train/labels"), ("images/train", "labels/train")]
)
def test_the_usual_folders_are_found(images, masks, tmp_path) -> None:
    write(tmp_path / "classes.json", json.dumps(CLASSES))
    save_image(tmp_path / images / "a.png")
    save_mask(tmp_path / masks / "a.png", 1)
    assert find_splits("folder", tmp_path) == ("train",)
    assert first_row(tmp_path) == [0] * 8


def test_OLD(tmp_path) -> None:
    write(tmp_path / "classes.json", json.dumps(CLASSES))
    save_image(tmp_path / "images" / "a.png")
    save_mask(tmp_path / "masks" / "a.png", 1)
    assert find_splits("folder", tmp_path) == ("all",)
    assert first_row(tmp_path, "all") == [0] * 8
    assert "there are: all." in fault_of(tmp_path).hint


def test_images_and_masks_can_be_in_one_folder(tmp_path) -> None:
    where = {"images": "{split}-set", "masks": "{split}-set", "mask_suffix": "_mask"}
    write(tmp_path / "classes.json", json.dumps({**CLASSES, **where}))
    save_image(tmp_path / "train-set" / "a.png")
    save_mask(tmp_path / "train-set" / "a_mask.png", 2)
    dataset = load_dataset("folder", tmp_path, "train")
    assert [sample.name for sample in dataset.samples] == ["a"]
    assert first_row(tmp_path) == [1] * 8


def test_each_split_can_have_its_own_folders(tmp_path) -> None:
    root = make_folder(tmp_path)
    where = {"images": {"day": "images/train"}, "masks": {"day": "masks/train"}}
    write(root / "classes.json", json.dumps({**CLASSES, **where}))
    assert find_splits("folder", root) == ("day",)
    assert len(load_dataset("folder", root, "day")) == 2


def test_a_missing_folder_of_masks_is_reported(tmp_path) -> None:
    root = make_folder(tmp_path)
    shutil.rmtree(root / "masks" / "val")
    assert "1 of 1 images" in fault_of(root, "val").problem
    write(root / "classes.json", json.dumps({**CLASSES, "images": "images/{split}"}))
    assert "not the field masks" in fault_of(root).problem
    both = {"images": "images/{split}", "masks": "masks/{split}"}
    write(root / "classes.json", json.dumps({**CLASSES, **both}))
    assert "no masks for the split val" in fault_of(root).problem
    write(root / "classes.json", json.dumps({**CLASSES, "images": "photos", "masks": "masks"}))
    assert "no folder of images: looked for photos" in fault_of(root).problem
    places = {"images": {"train": "gone"}, "masks": {"train": "masks/train"}}
    write(root / "classes.json", json.dumps({**CLASSES, **places}))
    assert "of the split train does not exist" in fault_of(root).problem


MISTAKES = {
    "[]": "not a table",
    "{}": "no list of classes",
    '{"class": []}': "no list of classes",
    '{"class": "road"}': "no list of classes",
    '{"class": [3]}': "no list of classes",
    '{"class": [{"id": 0}]}': "class 1 has no name",
    '{"class": [{"name": "a\\nb", "id": 0}]}': "class 1 has no name",
    '{"class": [{"name": 3, "id": 0}]}': "class 1: name is 3",
    '{"class": [{"name": "a"}]}': "'a' has no id",
    '{"class": [{"name": "a", "ids": []}]}': "'a' has no id",
    '{"class": [{"name": "a", "id": -1}]}': "ids of 'a' has -1",
    '{"class": [{"name": "a", "id": 256}]}': "ids of 'a' has 256",
    '{"class": [{"name": "a", "id": true}]}': "ids of 'a' has True",
    '{"class": [{"name": "a", "id": "0"}]}': "ids of 'a' has '0'",
    '{"class": [{"name": "a", "ids": 0}]}': "ids of 'a' is 0",
    '{"class": [{"name": "a", "id": 0}, {"name": "A", "id": 1}]}': "the same name",
    '{"class": [{"name": "a", "id": 0}, {"name": "b", "id": 0}]}': "0 is both 'a' and 'b'",
    '{"class": [{"name": "a", "id": 0}], "ignore": [0]}': "0 is both 'a' and 'ignore'",
    '{"class": [{"name": "a", "id": 0}], "ignore": 255}': "ignore is 255",
    '{"class": [{"name": "a", "id": 0}], "map": {"0": "b"}}': "map: 0 = 'b' is not a class",
    '{"class": [{"name": "a", "id": 0}], "map": {"x": "a"}}': "map has 'x'",
    '{"class": [{"name": "a", "id": 0}], "map": {"' + "9" * 5000 + '": "a"}}': "map has '999",
    '{"class": [{"name": "a", "id": 0}], "map": {"0": ["a"]}}': "map: 0 = ['a'] is not a class",
    '{"class": [{"name": "a", "id": 0}], "map": [1]}': "map is not a table",
    '{"class": [{"name": "a", "id": 0}], "mask": "x"}': "unknown field 'mask'",
    '{"class": [{"name": "a", "id": 0, "ignore": [9]}]}': "unknown field 'ignore' of 'a'",
    '{"class": [{"name": "a", "id": 0, "color": [1, 2]}]}': "color of 'a' is [1, 2]",
    '{"class": [{"name": "a", "id": 0, "color": [1, 2, 256]}]}': "color of 'a' has 256",
    '{"class": [{"name": "a", "id": 0}], "mask_colors": 1}': "mask_colors is neither",
    '{"class": [{"name": "a", "id": 0}], "mask_colors": true}': "id has no effect",
    '{"class": [{"name": "a"}], "mask_colors": true}': "'a' has no color",
    '{"class": [{"name": "a", "color": [0, 0, 0], "id": 0}], "mask_colors": true}': (
        "id has no effect"
    ),
    '{"class": [{"name": "a", "id": 0}], "ignore_colors": []}': "ignore_colors has no effect",
    '{"class": [{"name": "ignore", "id": 0}]}': "class 1 is named 'ignore'",
    '{"class": [{"name": "a", "id": 0, "ids": [1]}]}': "'a' has id and ids",
    '{"class": [{"name": "a", "id": 0}], "images": 3}': "images is 3",
    '{"class": [{"name": "a", "id": 0}], "masks": {"train": 3}}': "masks: train is 3",
    '{"class": [{"name": "a", "id": 0}], "name": []}': "name is []",
    '{"class": ': "it is not valid JSON (line 1, column 11: Expecting value)",
    "\x00": "is not valid JSON",
    '{"name": "a", "name": "b"}': "the key 'name' occurs twice",
    '{"ignore": [1e999]}': "expected a finite number, found '1e999'",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_in_a_class_file_is_named(text, tmp_path) -> None:
    root = make_folder(tmp_path)
    write(root / "classes.json", text)
    fault = fault_of(root)
    assert MISTAKES[text] in fault.problem
    assert str(root / "classes.json") in fault.problem
    assert fault.hint


def test_a_broken_toml_file_is_reported_with_its_line(tmp_path) -> None:
    root = make_folder(tmp_path)
    write(root / "classes.toml", '[[class]]\nname = "road\n')
    assert "line 2" in fault_of(root).problem


def test_a_field_of_the_file_below_a_class_is_explained(tmp_path) -> None:
    root = make_folder(tmp_path)
    write(root / "classes.toml", '[[class]]\nname = "road"\nid = 0\nignore = [255]\n')
    assert "above the first class" in fault_of(root).hint


def test_a_near_miss_of_a_field_is_guessed(tmp_path) -> None:
    root = make_folder(tmp_path, {"class": [ROAD], "mask_suffixes": "_m"})
    assert "did you mean mask_suffix?" in fault_of(root).hint


def test_a_class_file_that_cannot_be_read_is_reported(tmp_path) -> None:
    root = make_folder(tmp_path)
    for path in (root / "gone.toml", root):
        assert "cannot be read" in fault_of(root, class_file=path).problem
    (root / "classes.json").write_bytes(b"\xff")
    assert "not UTF-8 text" in fault_of(root).problem


def test_a_class_file_is_for_folders_only(tmp_path) -> None:
    with pytest.raises(DsegError, match=r"class file x\.toml"):
        load_dataset("camvid", tmp_path, "train", class_file=Path("x.toml"))


def test_too_many_classes_are_refused(tmp_path) -> None:
    rows = [{"name": f"c{number}", "id": number % 256} for number in range(255)]
    assert "255 classes" in fault_of(make_folder(tmp_path, {"class": rows})).problem


def test_a_value_that_no_class_has_is_refused_when_read(tmp_path) -> None:
    root = make_folder(tmp_path, {"class": [ROAD, {"name": "car", "ids": [1, 2]}]})
    with pytest.raises(DsegError, match=r"holds the value 4 \(12 pixels\); classes.json defines 0"):
        load_dataset("folder", root, "train").read(0)
