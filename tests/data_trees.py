"""Tiny data sets on disk: two training images and one for validation, of 6x8 pixels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from cli_runs import save_noise
from PIL import Image

HEIGHT, WIDTH = 6, 8


def save_mask(path, *values: int, palette: bool = False, height: int = HEIGHT) -> Path:
    """Write a mask of vertical stripes, one for each value."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    row = np.repeat(np.array(values, np.uint8), -(-WIDTH // len(values)))[:WIDTH]
    image = Image.fromarray(np.tile(row, (height, 1)))
    if palette:
        image.putpalette([channel for value in range(256) for channel in (value, 0, 255 - value)])
    image.save(path)
    return path


def save_image(path, height: int = HEIGHT, width: int = WIDTH) -> Path:
    save_noise(path, height, width)
    return Path(path)


def write(path, text: str) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def make_cityscapes(root: Path) -> Path:
    for split, city, frame in (
        ("train", "aachen", "aachen_000000_000019"),
        ("train", "bonn", "bonn_000001_000019"),
        ("val", "ulm", "ulm_000002_000019"),
    ):
        save_image(root / f"leftImg8bit/{split}/{city}/{frame}_leftImg8bit.png")
        save_mask(root / f"gtFine/{split}/{city}/{frame}_gtFine_labelIds.png", 7, 21, 23, 4)
    return root


def make_camvid(root: Path) -> Path:
    for split, name in (("train", "a"), ("train", "b"), ("val", "c")):
        save_image(root / f"{split}/{name}.jpg")
        save_mask(root / f"{split}annot/{name}.png", 0, 3, 11, 10)
    return root


def make_camvid_lists(root: Path) -> Path:
    for name in ("a", "b", "c"):
        save_image(root / f"images/{name}.png")
        save_mask(root / f"labels/{name}.png", 0, 3)
    write(root / "camvid_train_list.txt", "images/a.png labels/a.png\nimages/b.png labels/b.png\n")
    write(root / "camvid_val_list.txt", "/SegNet/CamVid/images/c.png /SegNet/CamVid/labels/c.png")
    return root


def make_voc(root: Path) -> Path:
    home = root / "VOCdevkit" / "VOC2012"
    for name in ("2007_000032", "2007_000039", "2008_000001"):
        save_image(home / f"JPEGImages/{name}.jpg")
        save_mask(home / f"SegmentationClass/{name}.png", 0, 15, 255, palette=True)
    write(home / "ImageSets/Segmentation/train.txt", "2007_000039\n2007_000032\n")
    write(home / "ImageSets/Segmentation/val.txt", "2008_000001\n")
    return root


def make_mapillary(root: Path) -> Path:
    for split, name in (("training", "a"), ("training", "b"), ("validation", "c")):
        save_image(root / f"{split}/images/{name}.jpg")
        save_mask(root / f"{split}/labels/{name}.png", 13, 2, 55, 65, palette=True)
    return root


CLASSES = {
    "name": "roads",
    "class": [
        {"name": "Road", "ids": [1, 4], "color": [128, 64, 128]},
        {"name": "car", "id": 2},
        {"name": "puddle", "id": 0},
    ],
}


def make_folder(root: Path, classes: dict | None = None) -> Path:
    for split, name in (("train", "a"), ("train", "deep/b"), ("val", "c")):
        save_image(root / f"images/{split}/{name}.jpg")
        save_mask(root / f"masks/{split}/{name}.png", 0, 1, 2, 4)
    write(root / "classes.json", json.dumps(classes or CLASSES))
    return root


TREES: dict[str, Callable[[Path], Path]] = {
    "cityscapes": make_cityscapes,
    "camvid": make_camvid,
    "voc": make_voc,
    "mapillary": make_mapillary,
    "folder": make_folder,
    "scenes": make_cityscapes,
}
