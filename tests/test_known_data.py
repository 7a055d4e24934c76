"""Ready-made class files of public data sets: trees in their layouts, and what values mean."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_runs import refused, run
from data_trees import save_image, save_mask
from PIL import Image
from test_class_files import save_deep

from dseg.datasets import load_dataset
from dseg.datasets.classfile import read_class_file
from dseg.datasets.known import KNOWN
from dseg.labels import LABEL_SPACES

# Of each data set: files of an image and its mask, values of the mask, and the classes they mean.
CITY = "a_000000_000019"
TREES: dict[str, tuple[str, str, list[int], list[str]]] = {
    "bdd100k": (
        "images/10k/train/x.jpg",
        "labels/sem_seg/masks/train/x.png",
        [0, 13, 255],
        ["road", "car", ""],
    ),
    "idd": (
        "leftImg8bit/train/0/frame_leftImg8bit.png",
        "gtFine/train/0/frame_gtFine_labelids.png",
        [0, 5, 11, 33],
        ["road", "terrain", "", "sky"],
    ),
    "idd-level3": (
        "leftImg8bit/train/0/frame_leftImg8bit.jpg",
        "gtFine/train/0/frame_gtFine_labellevel3Ids.png",
        [0, 9, 8, 25],
        ["road", "car", "", "sky"],
    ),
    "idd-trainids": (
        "leftImg8bit/train/0/frame_leftImg8bit.jpg",
        "gtFine/train/0/frame_gtFine_labelcsTrainIds.png",
        [0, 18, 255],
        ["road", "bicycle", ""],
    ),
    "acdc": (
        "rgb_anon/fog/train/GOPR/f_rgb_anon.png",
        "gt/fog/train/GOPR/f_gt_labelTrainIds.png",
        [0, 10, 255],
        ["road", "sky", ""],
    ),
    "dark-zurich": (
        "rgb_anon/val/night/GOPR/f_rgb_anon.png",
        "gt/val/night/GOPR/f_gt_labelTrainIds.png",
        [0, 10, 255],
        ["road", "sky", ""],
    ),
    "foggy-cityscapes": (
        f"leftImg8bit_foggy/train/a/{CITY}_leftImg8bit_foggy_beta_0.02.png",
        f"gtFine/train/a/{CITY}_gtFine_labelIds.png",
        [7, 26, 0, 9],
        ["road", "car", "", ""],
    ),
    "kitti": (
        "training/image_2/000000_10.png",
        "training/semantic/000000_10.png",
        [7, 24, 4],
        ["road", "person", ""],
    ),
    "gta5": ("images/00001.png", "labels/00001.png", [7, 34, 23], ["road", "", "sky"]),
    "wilddash2": (
        "images/a.jpg",
        "labels/a.png",
        [34, 35, 38, 37],
        ["truck", "car", "road", ""],
    ),
    "mapillary2": (
        "training/images/a.jpg",
        "training/v2.0/labels/a.png",
        [21, 108, 12, 120],
        ["road", "car", "wall", ""],
    ),
}


def make_tree(root: Path, name: str) -> None:
    image, mask, values, _ = TREES[name]
    save_image(root / image)
    save_mask(root / mask, *values)


def classes_of(root: Path, name: str, split: str) -> list[str]:
    """Return the different classes of the first mask from left to right, "" for ignored pixels."""
    dataset = load_dataset("folder", root, split, class_file=name)
    named = [*dataset.space.names, *[""] * (256 - dataset.space.num_classes)]
    return list(dict.fromkeys(named[value] for value in dataset.read(0).train_ids[0].tolist()))


@pytest.mark.parametrize("name", TREES)
def test_a_tree_is_read_with_the_classes_of_cityscapes(name, tmp_path) -> None:
    make_tree(tmp_path, name)
    if name == "mapillary2":  # whose splits have other names than their folders
        (tmp_path / "validation/images").mkdir(parents=True)
        (tmp_path / "validation/v2.0/labels").mkdir(parents=True)
    split = next((part for part in ("train", "val") if f"/{part}" in TREES[name][0]), "all")
    split = "train" if name == "mapillary2" else split
    assert classes_of(tmp_path, name, split) == list(dict.fromkeys(TREES[name][3]))


def test_synthia_has_its_ids_in_the_red_channel(tmp_path) -> None:
    save_image(tmp_path / "RGB/1.png")
    (tmp_path / "GT/LABELS").mkdir(parents=True)
    save_deep(tmp_path / "GT/LABELS/1.png", 21)
    assert classes_of(tmp_path, "synthia", "all") == ["wall"]


def test_camvids_32_colours_become_11_classes(tmp_path) -> None:
    save_image(tmp_path / "701_StillsRaw_full/f.png")
    (tmp_path / "LabeledApproved_full").mkdir()
    colors = np.zeros((6, 8, 3), np.uint8)
    colors[:, :3], colors[:, 3:6] = (192, 128, 192), (128, 0, 192)  # trucks and buses, markings
    Image.fromarray(colors).save(tmp_path / "LabeledApproved_full/f_L.png")
    assert classes_of(tmp_path, "camvid32", "all") == ["Car", "Road", ""]
    assert read_class_file(Path("camvid32")).space.names == LABEL_SPACES["camvid"].names


def test_each_density_of_fog_is_an_image_of_its_mask(tmp_path) -> None:
    make_tree(tmp_path, "foggy-cityscapes")
    first = tmp_path / TREES["foggy-cityscapes"][0]
    first.with_name(first.name.replace("0.02", "0.01")).write_bytes(first.read_bytes())
    dataset = load_dataset("folder", tmp_path, "train", class_file="foggy-cityscapes")
    assert [sample.name.rpartition("_")[2] for sample in dataset.samples] == ["0.01", "0.02"]
    assert len({sample.mask for sample in dataset.samples}) == 1


@pytest.mark.parametrize("name", KNOWN)
def test_every_table_defines_each_value_once(name) -> None:
    spec = read_class_file(Path(name))
    names = LABEL_SPACES["camvid" if name == "camvid32" else "cityscapes"].names
    assert list(spec.space.names) == [name for name in names if name in spec.space.names]
    values = sorted(spec.encoding.train_ids)
    assert values[-1:] != [254]
    assert name == "camvid32" or values == [*range(values[-2] + 1), 255]
    assert KNOWN[name].source and KNOWN[name].terms


@pytest.mark.parametrize("name", ["idd", "foggy-cityscapes"])
def test_init_recognises_a_layout_and_writes_its_class_file(name, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_tree(Path("data"), name)
    Path(name).mkdir()  # a folder of this name is not a class file
    result = run("init", "data")
    assert result.exit_code == 0, result.output
    assert "images: train 1" in result.stderr
    again = run("init", "data", "--table", name, "--overwrite", "--json", "-")
    assert json.loads(again.stdout)["splits"] == {"train": 1}
    space = load_dataset("folder", Path("data"), "train").space
    assert space.names == LABEL_SPACES["cityscapes"].names
    assert Path("data-overview.png").exists()


def test_an_unknown_table_names_the_others(tmp_path) -> None:
    refused(run("init", tmp_path, "--table", "iddd"), 2, "'iddd'", "did you mean idd?")
    listed = run("init", tmp_path, "--table", "list").stdout
    assert "\nidd               India Driving Dataset" in listed
    assert len(listed.splitlines()) == len(KNOWN)
