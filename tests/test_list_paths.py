"""Paths in list files and class files: all of them stay inside the data set's folder."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path

import pytest
from data_trees import CLASSES, make_camvid_lists, make_folder, make_voc, save_image, save_mask

from dseg.datasets import load_dataset
from dseg.datasets.lists import find_below
from dseg.errors import DsegError

NFC, NFD = "stra\u00dfe-\u00fc", "stra\u00dfe-u\u0308"


def fault_of(name: str, root: Path, split: str = "train") -> DsegError:
    with pytest.raises(DsegError) as fault:
        load_dataset(name, root, split)
    return fault.value


def list_of(root: Path, data: str | bytes) -> Path:
    content = data if isinstance(data, bytes) else data.encode()
    (root / "camvid_train_list.txt").write_bytes(content)
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    save_image(tmp_path / "secret/a.png")
    save_mask(tmp_path / "secret/m.png", 0)
    return make_camvid_lists(tmp_path / "camvid")


@pytest.mark.parametrize(
    "word",
    [
        "//{out}/a.png",
        "///{out}/a.png",
        "{out}/a.png",
        "../secret/a.png",
        "images/../../secret/a.png",
        "./images/./../../secret/a.png",
        "C:\\..\\..\\secret\\a.png",
        "\\\\..\\secret\\a.png",
        "..\\secret\\a.png",
        "/../secret/a.png",
    ],
)
def test_no_line_of_a_list_leaves_the_folder(root: Path, word: str) -> None:
    named = word.format(
        out=str(root.parent / "secret").lstrip("/") if word[0] == "/" else root.parent / "secret"
    )
    list_of(root, f"{named} labels/a.png")
    assert f"line 1: there is no {named} in {root}" in fault_of("camvid", root).problem
    list_of(root, f"images/a.png {named}")
    assert "1 of 1 images" in fault_of("camvid", root).problem


@pytest.mark.parametrize(
    "word",
    [
        "images/a.png",
        "/SegNet/CamVid/images/a.png",
        "//SegNet/CamVid/images/a.png",
        "C:\\SegNet\\images\\a.png",
        "c:/images/a.png",
        "images\\a.png",
        "./images/x/../a.png",
        "images//a.png",
    ],
)
def test_a_leading_root_of_any_system_is_left_out(root: Path, word: str) -> None:
    list_of(root, f"{word} labels/a.png")
    assert [s.image for s in load_dataset("camvid", root, "train").samples] == [
        root / "images/a.png"
    ]


def test_folders_can_be_links_to_other_places(root: Path, tmp_path: Path) -> None:
    (root / "images").rename(tmp_path / "disk")
    (root / "images").symlink_to(tmp_path / "disk")
    assert len(load_dataset("camvid", root, "train")) == 2
    assert find_below(root, "images/a.png") == root / "images/a.png"


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbfimages/a.png labels/a.png\r\nimages/b.png\tlabels/b.png\r\n",
        b"images/a.png labels/a.png\rimages/b.png   labels/b.png \r",
        b"\n\n images/a.png labels/a.png\n\t\nimages/b.png labels/b.png",
    ],
)
def test_lists_of_any_system_are_read(root: Path, data: bytes) -> None:
    assert len(load_dataset("camvid", list_of(root, data), "train")) == 2


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"images/a.png labels/a.png\nimages/b\0.png labels/b.png", "line 2 holds a NUL"),
        (b"images/a.png " + b"x" * 100_000, "line 1 holds a word of 100,000 characters"),
        (b"images/" + b"x" * 1000 + b".png labels/a.png", "line 1: there is no images/xxx"),
        (b"images/a.png labels/" + b"x" * 300 + b".png", "1 of 1 images"),
    ],
)
def test_what_cannot_be_a_path_is_reported_with_its_line(
    root: Path, data: bytes, problem: str
) -> None:
    assert problem in fault_of("camvid", list_of(root, data)).problem


@pytest.mark.parametrize(("listed", "there"), [(NFD, NFC), (NFC, NFD), (NFC, NFC), (NFD, NFD)])
def test_names_are_found_in_any_normal_form(root: Path, listed: str, there: str) -> None:
    assert unicodedata.normalize("NFC", NFD) == NFC != NFD
    save_image(root / there / f"{there}.png")
    save_mask(root / "labels" / f"{there}.png", 3)
    list_of(root, f"/CamVid/{listed}/{listed}.png labels/{listed}.png")
    (sample,) = load_dataset("camvid", root, "train").samples
    assert sample.image == root / there / f"{there}.png"
    assert sample.mask == root / "labels" / f"{there}.png"


def test_only_ascii_spaces_separate_words(root: Path) -> None:
    shutil.copy(root / "images/a.png", root / "images/a\u00a0b\u2028.png")
    list_of(root, "images/a\u00a0b\u2028.png labels/a.png")
    assert len(load_dataset("camvid", root, "train")) == 1


# PASCAL VOC


def voc_list(root: Path, text: str) -> Path:
    home = root / "VOCdevkit/VOC2012"
    (home / "ImageSets/Segmentation/train.txt").write_text(text)
    return home


@pytest.mark.parametrize(
    "line",
    [
        "2007_000032",
        "2007_000032.jpg",
        "2007_000032.JPG",
        "JPEGImages/2007_000032.jpg",
        "/JPEGImages/2007_000032.jpg",
        "/VOC2012/JPEGImages/2007_000032",
        "2007_000032.png\r",
    ],
)
def test_vocs_lists_can_have_suffixes_and_folders(tmp_path: Path, line: str) -> None:
    home = voc_list(make_voc(tmp_path), line)
    (sample,) = load_dataset("voc", tmp_path, "train").samples
    assert sample.name == "2007_000032"
    assert sample.image == home / "JPEGImages/2007_000032.jpg"
    assert sample.mask == home / "SegmentationClass/2007_000032.png"


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".jpeg", ".JPG"])
@pytest.mark.parametrize("listed", ["x.y", "x.y{suffix}"])
def test_vocs_images_can_have_any_image_suffix(tmp_path: Path, suffix: str, listed: str) -> None:
    home = voc_list(make_voc(tmp_path), listed.format(suffix=suffix))
    save_image(home / f"JPEGImages/x.y{suffix}")
    save_mask(home / "SegmentationClass/x.y.png", 15)
    (sample,) = load_dataset("voc", tmp_path, "train").samples
    assert sample.image == home / f"JPEGImages/x.y{suffix}"
    assert sample.mask == home / "SegmentationClass/x.y.png"


@pytest.mark.parametrize("line", ["../2007_000032", "../../JPEGImages/../../x", "a/../../../x"])
def test_vocs_ids_stay_in_the_folder(tmp_path: Path, line: str) -> None:
    root = make_voc(tmp_path)
    home = voc_list(root, line)
    save_image(home.parent / "x.jpg")
    assert f"train.txt, line 1: {line} has no image in" in fault_of("voc", root).problem


# Class files


@pytest.mark.parametrize("place", ["../secret", "/{split}/../..", "images/../../secret", "/tmp"])
def test_a_class_file_names_no_folder_elsewhere(tmp_path: Path, place: str) -> None:
    root = make_folder(tmp_path / "data")
    for images in (place, {"train": place}):
        classes = {**CLASSES, "images": images, "masks": "masks/{split}"}
        (root / "classes.json").write_text(json.dumps(classes))
        fault = fault_of("folder", root)
        assert fault.problem == (
            f"{root / 'classes.json'} names the folder {place!r}, which is not inside {root}."
        )
