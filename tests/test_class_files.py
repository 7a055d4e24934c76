"""Class files of folders with masks: allowed fields, and messages about mistakes."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from pathlib import Path

import pytest
from data_trees import CLASSES, make_folder, save_image, save_mask, write
from PIL import Image

from dseg.datasets import find_splits, load_dataset
from dseg.errors import DsegError
from dseg.images.png import SIGNATURE, chunk

VAL_OF_TEN = ["8", "9"]  # the two smallest hashes
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


def names_of(root, split: str) -> list[str]:
    return [sample.name for sample in load_dataset("folder", root, split).samples]


def test_a_fifth_of_a_folder_without_splits_is_held_back_by_a_hash_of_its_names(tmp_path) -> None:
    write(tmp_path / "classes.json", json.dumps(CLASSES))
    for number in range(10):
        save_image(tmp_path / "images" / f"{number}.png")
        save_mask(tmp_path / "masks" / f"{number}.png", 1)
    assert find_splits("folder", tmp_path) == ("train", "val")
    assert names_of(tmp_path, "val") == VAL_OF_TEN
    assert names_of(tmp_path, "train") == [n for n in "0123456789" if n not in VAL_OF_TEN]
    assert names_of(tmp_path, "all") == list("0123456789")
    note = load_dataset("folder", tmp_path, "val").note
    assert note.startswith("The images are not divided into splits: 20% of them")
    assert load_dataset("folder", tmp_path, "all").note == ""


def test_one_of_two_images_is_held_back_but_not_the_only_one(tmp_path) -> None:
    write(tmp_path / "classes.json", json.dumps(CLASSES))
    save_image(tmp_path / "images" / "a.png")
    save_mask(tmp_path / "masks" / "a.png", 1)
    assert names_of(tmp_path, "train") == ["a"]
    fault = fault_of(tmp_path, "val")
    assert "has no split 'val'" in fault.problem
    assert "There is only one image: train without validation" in fault.hint
    save_image(tmp_path / "images" / "b.png")
    save_mask(tmp_path / "masks" / "b.png", 1)
    assert len(names_of(tmp_path, "train")) == len(names_of(tmp_path, "val")) == 1


def test_images_without_mask_are_reported_once(tmp_path) -> None:
    write(tmp_path / "classes.json", json.dumps(CLASSES))
    for name in "abc":
        save_image(tmp_path / "images" / f"{name}.png")
    save_mask(tmp_path / "masks" / "a.png", 1)
    save_mask(tmp_path / "masks" / "b.png", 1)
    assert "1 of 2 images of the split train" in fault_of(tmp_path).problem
    assert len(names_of(tmp_path, "val")) == 1


def test_short_forms_name_the_classes(tmp_path) -> None:
    root = make_folder(tmp_path, {"classes": ["road", "car", "sky"], "ignore": [4]})
    assert first_row(root) == [0, 0, 1, 1, 2, 2, 255, 255]
    write(root / "classes.json", json.dumps({"classes": {"road": [0, 4], "car": 1, "sky": 2}}))
    assert first_row(root) == [0, 0, 1, 1, 2, 2, 0, 0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "name,id\nroad,0\nroad,4\ncar,1\nsky,2\n"),
        ("a.tsv", "id\tname\tcolour\n0 4\troad\t#804080\n1\tcar\t\n2\tsky\t\n"),
        ("a.txt", "0 road\n4 road\n1 car\n2 sky\n"),
        ("a.csv", "# made by hand\nname|id\nroad|0\n# none|9\nroad|4\ncar|1\nsky|2\n"),
        ("a.csv", "\ufeffclass_name;class_id\nroad;0\nroad;4\ncar;1\nsky;2\n"),
    ],
)
def test_a_table_names_the_classes_by_ids(name, text, tmp_path) -> None:
    root = make_folder(tmp_path)
    table = write(root / name, text)
    assert first_row(root, class_file=table) == [0, 0, 1, 1, 2, 2, 0, 0]
    assert load_dataset("folder", root, "train", class_file=table).space.names[1] == "car"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("two.csv", "name,r,g,b\nroad,255,0,0\nroad,9,9,9\nsky,0,255,0\nvoid,0,0,0\n"),
        ("class_dict.csv", "name,r,g,b\nroad,255,0,0\nsky,0,255,0\nvoid,0,0,0\n"),
        (
            "labelmap.txt",
            "# label:color_rgb:parts:actions\nroad:255,0,0::\nsky:0,255,0::\nvoid:0,0,0::",
        ),
        ("label_colors.txt", "255 0 0\troad\n0 255 0\tsky\n0 0 0\t\tVoid\n"),
    ],
)
def test_a_table_names_the_classes_by_colours(name, text, tmp_path) -> None:
    root = make_folder(tmp_path)
    colors = Image.new("RGB", (8, 6), (255, 0, 0))
    colors.paste((0, 255, 0), (2, 0, 4, 6))
    colors.paste((0, 0, 0), (4, 0, 8, 6))
    colors.save(root / "masks/train/a.png")
    assert first_row(root, class_file=write(root / name, text)) == [0, 0, 1, 1, *[255] * 4]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("x,y\n1,2", "has the columns x, y"),
        ("name,id\nroad,one", "the id 'one' is not an integer"),
        ("name,color\nroad,1 2", "the colour '1 2' is not three numbers"),
        ("name,id\nroad,300", "ids of 'road' has 300"),
    ],
)
def test_faulty_tables_are_explained(text, problem, tmp_path) -> None:
    root = make_folder(tmp_path)
    assert problem in fault_of(root, class_file=write(root / "t.csv", text)).problem


def test_one_channel_of_a_deep_colour_file_holds_the_ids(tmp_path) -> None:
    classes = {"mask_channel": "red", "class": [{"name": "a", "id": 3}]}
    root = make_folder(tmp_path, classes)
    save_deep(root / "masks/train/a.png", 3)
    assert first_row(root) == [0] * 8
    save_mask(root / "masks/train/a.png", 3)
    with pytest.raises(DsegError, match="has one channel"):
        load_dataset("folder", root, "train").read(0)
    assert (
        "mask_channel is 'alpha'"
        in fault_of(make_folder(tmp_path / "b", {**classes, "mask_channel": "alpha"})).problem
    )


def save_deep(path, value: int) -> None:
    """Write a PNG of 16 bits per channel with ``value`` in red and other ids in green."""
    row = b"\0" + (value.to_bytes(2, "big") + b"\1\2" + b"\0\0") * 8
    head = struct.pack(">IIBBBBB", 8, 6, 16, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(row * 6)), chunk(b"IEND", b"")
    Path(path).write_bytes(SIGNATURE + b"".join(chunks))


def test_folders_can_have_any_name_where_a_star_stands(tmp_path) -> None:
    where = {"images": "rgb/*/{split}", "masks": "gt/*/{split}", "mask_suffix": "_m"}
    write(tmp_path / "classes.json", json.dumps({**CLASSES, **where}))
    for weather in ("fog", "rain"):
        save_image(tmp_path / f"rgb/{weather}/train/x.png")
        save_mask(tmp_path / f"gt/{weather}/train/x_m.png", 1)
    assert names_of(tmp_path, "train") == ["fog/x", "rain/x"]


def test_several_images_can_share_a_mask(tmp_path) -> None:
    where = {"images": "images/{split}", "masks": "masks/{split}", "image_suffix": ["_1", "_2"]}
    write(tmp_path / "classes.json", json.dumps({**CLASSES, **where}))
    for name in ("a_1", "a_2", "b_1", "c_3"):
        save_image(tmp_path / f"images/train/{name}.png")
    for name in "ab":
        save_mask(tmp_path / f"masks/train/{name}.png", 1)
    assert names_of(tmp_path, "train") == ["a_1", "a_2", "b_1"]


def test_images_of_one_mask_are_not_divided(tmp_path) -> None:
    where = {"images": "images", "masks": "masks", "image_suffix": ["_1", "_2"]}
    write(tmp_path / "classes.json", json.dumps({**CLASSES, **where}))
    for number in range(10):
        save_image(tmp_path / f"images/{number}_1.png")
        save_image(tmp_path / f"images/{number}_2.png")
        save_mask(tmp_path / f"masks/{number}.png", 1)
    assert names_of(tmp_path, "val") == ["8_1", "8_2", "9_1", "9_2"]
    assert len(names_of(tmp_path, "train")) == 16


def test_images_and_masks_can_differ_by_their_types_only(tmp_path) -> None:
    where = {"images": ".", "masks": ".", "image_types": "jpg", "mask_types": ["png"]}
    write(tmp_path / "classes.json", json.dumps({**CLASSES, **where}))
    for name in "ab":
        save_image(tmp_path / f"{name}.jpg")
        save_mask(tmp_path / f"{name}.png", 1)
    assert names_of(tmp_path, "all") == ["a", "b"]


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
    '{"class": [{"name": "a", "value": 0}]}': "unknown field 'value' of 'a'",
    '{"class": [{"name": "a", "id": 0, "color": [1, 2]}]}': "color of 'a' is [1, 2]",
    '{"class": [{"name": "a", "id": 0, "color": [1, 2, 256]}]}': "color of 'a' is [1, 2, 256]",
    '{"class": [{"name": "a", "ids": "9-2"}]}': "ids of 'a' has the range '9-2'",
    '{"class": [{"nmae": "a", "id": 0}]}': "unknown field 'nmae' of class 1",
    '{"class": {"name": "a", "id": 0}}': "[class] is a single table",
    '{"classes": ["a", 3]}': "the list of classes has 3 beside names",
    '{"classes": ["a", "b", "A"]}': "two classes have the same name 'A'",
    '{"classes": ["a"], "unlisted": "yes"}': "unlisted is 'yes'",
    '{"classes": ["a"], "without_mask": 1}': "without_mask is 1",
    '{"classes": ["a"], "lists": "val.txt"}': "lists is 'val.txt'",
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
