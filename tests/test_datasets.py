"""Finding the pairs of each data set, and messages about folders of another layout."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace
from unicodedata import normalize

import numpy as np
import pytest
from data_trees import (
    TREES,
    make_camvid,
    make_camvid_lists,
    make_cityscapes,
    make_folder,
    make_mapillary,
    make_voc,
    save_image,
    save_mask,
    write,
)
from PIL import Image

from dseg.datasets import DATASETS, find_dataset, find_splits, join_datasets, load_dataset
from dseg.datasets.mapping import map_classes
from dseg.errors import DsegError
from dseg.labels import LABEL_SPACES

CITYSCAPES = LABEL_SPACES["cityscapes"]


def names(dataset) -> list[str]:
    return [sample.name for sample in dataset.samples]


def first_row(dataset, index: int = 0) -> list[int]:
    return dataset.read(index).train_ids[0].tolist()


def fault_of(*arguments, **options) -> DsegError:
    with pytest.raises(DsegError) as caught:
        load_dataset(*arguments, **options)
    assert caught.value.exit_code == 2
    return caught.value


@pytest.mark.parametrize("name", TREES)
def test_every_data_set_gives_its_pairs_in_the_order_of_their_names(name, tmp_path) -> None:
    root = TREES[name](tmp_path)
    train, val, both = (load_dataset(name, root, split) for split in ("train", "val", "trainval"))
    assert (len(train), len(val), len(both)) == (2, 1, 3)
    for dataset in (train, val, both):
        assert names(dataset) == sorted(set(names(dataset)))
        assert dataset.read(0).image.shape == (6, 8, 3)
        assert dataset.read(0).train_ids.shape == (6, 8)
    assert find_splits(name, root) == ("train", "val")
    assert (train.name, train.split) == (name, "train")


def test_any_splits_are_joined_by_a_plus(tmp_path) -> None:
    root = TREES["camvid"](tmp_path)
    both, joined = (load_dataset("camvid", root, split) for split in ("val+train", "trainval"))
    assert names(both) == names(joined)
    fault = fault_of("camvid", root, "train+extra")
    assert "has no split 'extra'" in fault.problem


@pytest.mark.parametrize(
    ("name", "row", "classes"),
    [
        ("cityscapes", [0, 0, 8, 8, 10, 10, 255, 255], 19),
        ("camvid", [0, 0, 3, 3, 255, 255, 10, 10], 11),
        ("voc", [0, 0, 0, 15, 15, 15, 255, 255], 21),
        ("mapillary", [0, 0, 1, 1, 13, 13, 255, 255], 19),
        ("folder", [2, 2, 0, 0, 1, 1, 0, 0], 3),
    ],
)
def test_mask_values_become_train_ids(name, row, classes, tmp_path) -> None:
    dataset = load_dataset(name, TREES[name](tmp_path), "train")
    assert first_row(dataset) == row
    assert dataset.space.num_classes == classes
    assert dataset.classes == frozenset(range(classes))


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("name", DATASETS)
def test_another_data_sets_folder_is_refused_and_named(name, tree, tmp_path) -> None:
    if {name, tree} <= {"cityscapes", "scenes"} or name == tree:
        return
    fault = fault_of(name, TREES[tree](tmp_path), "train")
    other = "cityscapes" if tree == "scenes" else tree
    assert f"is not a {name} data set" in fault.problem
    assert f"found the layout of {other}." in fault.problem
    assert f"try --dataset {other}." in fault.hint


@pytest.mark.parametrize("name", DATASETS)
def test_a_folder_of_no_data_set_is_refused_with_what_it_holds(name, tmp_path) -> None:
    assert "an empty folder" in fault_of(name, tmp_path, "train").problem
    (tmp_path / "holidays").mkdir()
    write(tmp_path / "notes.txt", "")
    assert "found holidays/, notes.txt." in fault_of(name, tmp_path, "train").problem
    assert "does not exist" in fault_of(name, tmp_path / "gone", "train").problem
    assert "is a file" in fault_of(name, tmp_path / "notes.txt", "train").problem


def test_the_hint_for_missing_scenes_has_the_command_that_creates_them(tmp_path) -> None:
    for root in (tmp_path, tmp_path / "gone"):
        assert "dseg scenes --out DIR -n 200" in fault_of("scenes", root, "train").hint


@pytest.mark.parametrize(
    ("name", "below"),
    [("cityscapes", "leftImg8bit"), ("camvid", "train"), ("mapillary", "training")],
)
def test_a_folder_one_level_off_is_pointed_out(name, below, tmp_path) -> None:
    root = TREES[name](tmp_path / "data")
    assert f"--data-dir {root}" in fault_of(name, root / below, "train").hint
    assert f"--data-dir {root}" in fault_of(name, tmp_path, "train").hint


def test_unknown_names_and_splits_are_reported_with_the_available_ones(tmp_path) -> None:
    root = make_camvid(tmp_path)
    assert "did you mean camvid?" in fault_of("camvit", root, "train").hint
    fault = fault_of("camvid", root, "test")
    assert "no split 'test'" in fault.problem
    assert "there are: train, val." in fault.hint
    assert len(load_dataset("CamVid", root, "train")) == 2


@pytest.mark.parametrize("name", TREES)
def test_a_split_like_a_path_is_unknown(name, tmp_path) -> None:
    root = TREES[name](tmp_path)
    for split in ("../train", "", ".", "train/", "TRAIN", "*"):
        assert "no split" in fault_of(name, root, split).problem


def test_an_empty_split_is_refused(tmp_path) -> None:
    root = make_camvid(tmp_path)
    for folder in ("val", "valannot"):
        shutil.rmtree(root / folder)
        (root / folder).mkdir()
    assert "has no image" in fault_of("camvid", root, "val").problem


def test_an_image_without_mask_is_named_with_the_count(tmp_path) -> None:
    root = make_camvid(tmp_path)
    save_image(root / "train" / "lonely.png")
    save_mask(root / "trainannot" / "orphan.png", 0)
    fault = fault_of("camvid", root, "train")
    assert "1 of 3 images of the split train" in fault.problem
    assert "lonely.png" in fault.problem
    assert "masks without image: 1, the first" in fault.problem
    found = find_dataset("camvid", root, "train")
    assert [path.name for path in found.unlabelled] == ["lonely.png"]
    assert [path.name for path in found.orphans] == ["orphan.png"]
    assert len(found.dataset) == 2


def test_a_mask_without_image_does_not_stop_training(tmp_path) -> None:
    root = make_camvid(tmp_path)
    save_mask(root / "trainannot" / "orphan.png", 0)
    assert len(load_dataset("camvid", root, "train")) == 2


def test_hidden_files_are_left_out_and_links_to_above_end(tmp_path) -> None:
    root = make_camvid(tmp_path)
    save_image(root / "train" / ".a.jpg")
    save_image(root / "train" / ".cache" / "x.jpg")
    write(root / "train" / "Thumbs.db", "")
    (root / "train" / "loop").symlink_to(root / "train")
    assert names(load_dataset("camvid", root, "train")) == ["a", "b"]


def test_two_images_of_one_name_are_refused(tmp_path) -> None:
    root = make_camvid(tmp_path)
    save_image(root / "train" / "a.png")
    assert "have the same name" in fault_of("camvid", root, "train").problem


def test_a_data_set_survives_being_sent_to_a_worker(tmp_path) -> None:
    dataset = load_dataset("folder", make_folder(tmp_path), "train")
    again = pickle.loads(pickle.dumps(dataset))  # noqa: S301
    assert again == dataset
    assert first_row(again) == first_row(dataset)


# Cityscapes


def test_train_ids_are_used_where_label_ids_are_missing(tmp_path) -> None:
    root = make_cityscapes(tmp_path)
    mask = root / "gtFine/train/bonn/bonn_000001_000019_gtFine_labelIds.png"
    mask.unlink()
    save_mask(mask.with_name(mask.name.replace("labelIds", "labelTrainIds")), 0, 18, 255, 3)
    dataset = load_dataset("cityscapes", root, "train")
    assert first_row(dataset, 0) == [0, 0, 8, 8, 10, 10, 255, 255]
    assert first_row(dataset, 1) == [0, 0, 18, 18, 255, 255, 3, 3]


@pytest.mark.parametrize("value", [34, 255])
def test_a_value_that_is_not_a_label_id_is_refused(value, tmp_path) -> None:
    root = make_cityscapes(tmp_path)
    save_mask(root / "gtFine/val/ulm/ulm_000002_000019_gtFine_labelIds.png", 7, value)
    with pytest.raises(DsegError, match=rf"holds the value {value} \(24 pixels\)"):
        load_dataset("cityscapes", root, "val").read(0)


def test_jpeg_images_and_further_splits_are_found(tmp_path) -> None:
    root = make_cityscapes(tmp_path)
    save_image(root / "leftImg8bit/fog/york/york_000000_000019_leftImg8bit.JPG")
    save_mask(root / "gtFine/fog/york/york_000000_000019_gtFine_labelIds.png", 7)
    assert names(load_dataset("cityscapes", root, "fog")) == ["york/york_000000_000019"]
    assert find_splits("cityscapes", root) == ("train", "val", "fog")


def test_coarse_labels_are_separate_splits(tmp_path) -> None:
    root = make_cityscapes(tmp_path)
    for split, frame in (("train", "aachen/aachen_000000_000019"), ("train_extra", "x/x_0_1")):
        save_image(root / f"leftImg8bit/{split}/{frame}_leftImg8bit.png")
        save_mask(root / f"gtCoarse/{split}/{frame}_gtCoarse_labelIds.png", 8)
    assert find_splits("cityscapes", root) == ("train", "val", "train_extra", "train_coarse")
    assert first_row(load_dataset("cityscapes", root, "train_extra")) == [1] * 8
    found = find_dataset("cityscapes", root, "train_coarse")
    assert (len(found.dataset), len(found.unlabelled)) == (1, 1)


def test_the_test_split_can_lack_all_masks_but_not_some(tmp_path) -> None:
    root = make_cityscapes(tmp_path)
    for number in (1, 2):
        save_image(root / f"leftImg8bit/test/bern/bern_{number}_0_leftImg8bit.png")
    dataset = load_dataset("cityscapes", root, "test")
    assert [sample.mask for sample in dataset.samples] == [None, None]
    with pytest.raises(DsegError, match="has no mask"):
        dataset.read(0)
    save_mask(root / "gtFine/test/bern/bern_1_0_gtFine_labelIds.png", 1)
    assert "1 of 2 images" in fault_of("cityscapes", root, "test").problem


def test_images_without_any_ground_truth_are_refused(tmp_path) -> None:
    root = make_cityscapes(tmp_path)
    shutil.rmtree(root / "gtFine")
    fault = fault_of("cityscapes", root, "train")
    assert "has no mask for its 2 images; found: leftImg8bit/train/" in fault.problem
    assert "gtFine/<split>/<city>" in fault.hint
    shutil.rmtree(root / "leftImg8bit")
    (root / "gtFine").mkdir()
    assert "has no split of cityscapes" in fault_of("cityscapes", root, "train").problem


OTHERS = {  # files of data sets derived from Cityscapes, and words of the hint about them
    "gtFine/train/a/a_000000_000019_gtFine_labellevel3Ids.png": "IDD's ids",
    "leftImg8bit_foggy/train/a/a_000000_000019_leftImg8bit_foggy_beta_0.02.png": "--classes foggy",
    "gtFine/train/a/a_000000_000019_gtFine_polygons.json": "csCreateTrainIdLabelImgs",
}


@pytest.mark.parametrize(("name", "hint"), OTHERS.items())
def test_files_found_instead_of_masks_are_named(name: str, hint: str, tmp_path) -> None:
    root = make_cityscapes(tmp_path)
    shutil.rmtree(root / "gtFine")
    (root / name).parent.mkdir(parents=True)
    (root / name).write_bytes(b"")
    fault = fault_of("cityscapes", root, "train")
    assert name in fault.problem
    assert hint in fault.hint


def test_names_in_different_unicode_forms_are_paired(tmp_path) -> None:
    (tmp_path / "classes.json").write_text('{"class": [{"name": "a", "id": 0}]}')
    for kind, form in (("images", "NFD"), ("masks", "NFC")):
        path = tmp_path / kind / "train" / f"{normalize(form, 'Zürich')}.png"
        path.parent.mkdir(parents=True)
        Image.new("L", (4, 4)).save(path)
    [sample] = load_dataset("folder", tmp_path, "train").samples
    assert sample.name == "Z\u00fcrich"
    assert sample.mask is not None


# CamVid


def test_camvids_lists_find_images_by_the_end_of_their_paths(tmp_path) -> None:
    root = make_camvid_lists(tmp_path)
    assert names(load_dataset("camvid", root, "train")) == ["images/a", "images/b"]
    assert names(load_dataset("camvid", root, "val")) == ["images/c"]
    (root / "camvid_val_list.txt").rename(root / "val.txt")
    assert names(load_dataset("camvid", root, "val")) == ["images/c"]
    assert len(load_dataset("camvid", root, "trainval")) == 3
    write(root / "camvid_trainval_list.txt", "images\\a.png /labels/a.png\n\n")
    assert names(load_dataset("camvid", root, "trainval")) == ["images/a"]


def test_folders_come_before_lists(tmp_path) -> None:
    root = make_camvid_lists(make_camvid(tmp_path))
    assert names(load_dataset("camvid", root, "train")) == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("images/a.png", "line 1: 1 words"),
        ("images/a.png labels/a.png 3", "line 1: 3 words"),
        ("\nimages/no.png labels/a.png", "line 2: there is no images/no.png"),
        ("../secret/a.png labels/a.png", "line 1: there is no ../secret/a.png"),
        ("images/a.png labels/no.png", "1 of 1 images"),
        ("images/a.png labels/a.png\nimages/a.png labels/b.png", "line 2: images/a is listed"),
        ("", "has no image"),
    ],
)
def test_a_wrong_list_is_refused_with_its_line(text, problem, tmp_path) -> None:
    save_image(tmp_path / "secret/a.png")
    root = make_camvid_lists(tmp_path / "camvid")
    write(root / "camvid_train_list.txt", text)
    assert problem in fault_of("camvid", root, "train").problem


def test_a_list_that_is_not_text_is_refused(tmp_path) -> None:
    root = make_camvid_lists(tmp_path)
    (root / "camvid_train_list.txt").write_bytes(b"\xff\xfe\x00x")
    assert "not UTF-8 text" in fault_of("camvid", root, "train").problem


# PASCAL VOC


@pytest.mark.parametrize("below", ["", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_voc_is_found_from_any_of_its_folders(below, tmp_path) -> None:
    root = make_voc(tmp_path) / below
    assert names(load_dataset("voc", root, "train")) == ["2007_000032", "2007_000039"]


def test_the_hint_for_the_augmented_split_names_its_files(tmp_path) -> None:
    root = make_voc(tmp_path)
    hint = fault_of("voc", root, "trainaug").hint
    assert "ImageSets/Segmentation/trainaug.txt" in hint
    assert "SegmentationClassAug" in hint


@pytest.mark.parametrize(
    "line", ["2008_000001", "/JPEGImages/2008_000001.jpg /SegmentationClassAug/2008_000001.png"]
)
@pytest.mark.parametrize("listed", ["trainaug.txt", "train_aug.txt"])
def test_the_augmented_split_reads_ids_and_pairs(line, listed, tmp_path) -> None:
    home = make_voc(tmp_path) / "VOCdevkit/VOC2012"
    save_mask(home / "SegmentationClassAug/2008_000001.png", 20)
    assert "no split 'trainaug'" in fault_of("voc", tmp_path, "trainaug").problem
    write(home / "ImageSets/Segmentation" / listed, f"{line}\n")
    assert first_row(load_dataset("voc", tmp_path, "trainaug")) == [20] * 8
    write(home / "ImageSets/Segmentation/trainaug.txt", "2007_000032\n")
    assert names(load_dataset("voc", tmp_path, "trainaug")) == ["2007_000032"]
    assert first_row(load_dataset("voc", tmp_path, "val"))[:4] == [0, 0, 0, 15]


def test_missing_images_and_masks_of_a_voc_list_are_named(tmp_path) -> None:
    home = make_voc(tmp_path) / "VOCdevkit/VOC2012"
    (home / "SegmentationClass/2008_000001.png").unlink()
    assert "1 of 1 images" in fault_of("voc", tmp_path, "val").problem
    (home / "JPEGImages/2008_000001.jpg").unlink()
    fault = fault_of("voc", tmp_path, "val")
    assert "val.txt, line 1: 2008_000001 has no image" in fault.problem


# Mapillary Vistas


def test_newer_downloads_have_the_old_labels_in_a_separate_folder(tmp_path) -> None:
    root = make_mapillary(tmp_path)
    (root / "training" / "v1.2").mkdir()
    (root / "training" / "labels").rename(root / "training" / "v1.2" / "labels")
    assert len(load_dataset("mapillary", root, "train")) == 2
    (root / "training" / "v1.2").rename(root / "training" / "v2.0")
    assert "v2.0 only" in fault_of("mapillary", root, "train").problem


def test_vistas_classes_are_read_as_those_of_cityscapes() -> None:
    from dseg.datasets.mapillary import CLASSES

    assert len(CLASSES) == 66
    onto = dict(CLASSES)
    assert set(onto.values()) - {""} == set(CITYSCAPES.names)
    assert CLASSES[13] == ("construction--flat--road", "road")
    assert CLASSES[27] == ("nature--sky", "sky")
    assert CLASSES[55] == ("object--vehicle--car", "car")
    assert CLASSES[65] == ("void--unlabeled", "")
    assert onto["construction--barrier--curb"] == "sidewalk"
    assert onto["construction--flat--curb-cut"] == "sidewalk"
    assert onto["object--vehicle--caravan"] == ""


def test_the_ids_of_vistas_are_read_from_its_config_file(tmp_path) -> None:
    from dseg.datasets.mapillary import CLASSES

    root = make_mapillary(tmp_path)
    names = [name for name, _ in CLASSES]
    names[13], names[55] = names[55], names[13]
    write(root / "config.json", json.dumps({"labels": [{"name": name} for name in names]}))
    assert first_row(load_dataset("mapillary", root, "train"))[:6] == [13, 13, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "does not list the classes"),
        ("[]", "does not list the classes"),
        ('{"labels": [{"name": "animal--bird"}]}', "names 1 class, "),
        ('{"labels": [{"name": 3}]}', "names 1 class, "),
    ],
)
def test_a_wrong_file_of_vistas_classes_is_refused(text, problem, tmp_path) -> None:
    root = make_mapillary(tmp_path)
    write(root / "config.json", text)
    assert problem in fault_of("mapillary", root, "train").problem


# Mapping and joining


def test_camvid_is_mapped_onto_cityscapes(tmp_path) -> None:
    root = make_camvid(tmp_path)
    save_mask(root / "trainannot/a.png", 0, 4, 5, 6, 8, 9, 10, 11)
    dataset = load_dataset("camvid", root, "train", space=CITYSCAPES)
    assert first_row(dataset) == [10, 1, 8, 7, 13, 11, 255, 255]
    assert dataset.space is CITYSCAPES
    assert dataset.classes == {0, 1, 2, 4, 5, 7, 8, 10, 11, 13}


def test_cityscapes_is_mapped_onto_camvid() -> None:
    camvid = LABEL_SPACES["camvid"]
    mapped = map_classes(CITYSCAPES, camvid, by_name=False)
    assert mapped == (3, 4, 1, 1, 7, 2, 6, 6, 5, 5, 0, 9, 10, 8, 8, 8, 8, 10, 10)


@pytest.mark.parametrize(("name", "space"), [("voc", "cityscapes"), ("cityscapes", "voc")])
def test_classes_without_a_table_cannot_be_mapped(name, space, tmp_path) -> None:
    fault = fault_of(name, TREES[name](tmp_path), "train", space=LABEL_SPACES[space])
    assert f"those of {space}" in fault.problem
    assert "camvid onto cityscapes" in fault.hint


def test_a_folders_classes_are_mapped_by_their_names(tmp_path) -> None:
    dataset = load_dataset("folder", make_folder(tmp_path), "train", space=CITYSCAPES)
    assert first_row(dataset) == [255, 255, 0, 0, 13, 13, 0, 0]
    assert dataset.classes == {0, 13}


def test_a_folder_without_a_common_class_cannot_be_mapped(tmp_path) -> None:
    other = replace(CITYSCAPES, name="two", names=("x", "y"))
    fault = fault_of("folder", make_folder(tmp_path), "train", space=other)
    assert "No class of roads (Road, car, puddle, ...)" in fault.problem


def test_data_sets_of_one_label_space_are_joined(tmp_path) -> None:
    parts = [
        load_dataset("cityscapes", make_cityscapes(tmp_path / "c"), "train"),
        load_dataset("camvid", make_camvid(tmp_path / "v"), "val", space=CITYSCAPES),
        load_dataset("mapillary", make_mapillary(tmp_path / "m"), "val"),
    ]
    joined = join_datasets(parts)
    assert (joined.name, joined.split) == ("cityscapes+camvid+mapillary", "train+val")
    assert len(joined) == len(set(names(joined))) == 4
    assert [first_row(joined, index)[0] for index in range(4)] == [0, 0, 10, 0]


def test_data_sets_of_different_classes_are_not_joined(tmp_path) -> None:
    parts = [
        load_dataset("cityscapes", make_cityscapes(tmp_path / "c"), "train"),
        load_dataset("camvid", make_camvid(tmp_path / "v"), "val"),
    ]
    with pytest.raises(DsegError, match="have different classes"):
        join_datasets(parts)


def test_a_mask_of_another_size_is_refused_when_read(tmp_path) -> None:
    root = make_camvid(tmp_path)
    save_mask(root / "trainannot/a.png", 0, height=7)
    with pytest.raises(DsegError, match=r"has 8x7 pixels, its image .* 8x6"):
        load_dataset("camvid", root, "train").read(0)


def test_every_row_of_the_table_can_be_opened() -> None:
    assert list(DATASETS) == ["cityscapes", "camvid", "voc", "mapillary", "folder", "scenes"]
    for spec in DATASETS.values():
        assert spec.splits[:3] == ("train", "val", "trainval")
        assert spec.title
        assert spec.layout
        assert spec.terms


def test_train_ids_are_bytes(tmp_path) -> None:
    assert load_dataset("voc", make_voc(tmp_path), "val").read(0).train_ids.dtype == np.uint8
