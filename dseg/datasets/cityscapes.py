"""Cityscapes (Cordts et al., CVPR 2016), and synthetic scenes in the same layout."""

from __future__ import annotations

from pathlib import Path

from dseg.datasets.base import Encoding, Sample
from dseg.datasets.listing import DatasetTree, Listing, walk_images
from dseg.labels import IGNORE, LABEL_SPACES

SPACE = LABEL_SPACES["cityscapes"]
IMAGES = "leftImg8bit"
LABEL_IDS = Encoding(
    train_ids={label_id: SPACE.train_id_of(label_id) for label_id in range(34)},
    allowed="Cityscapes label ids are 0 to 33",
)
TRAIN_IDS = Encoding(
    train_ids={**{train_id: train_id for train_id in range(19)}, IGNORE: IGNORE},
    allowed="Cityscapes train ids are 0 to 18, and 255 for ignored pixels",
)
KNOWN = ("train", "val", "test")  # in the order in which splits are listed
COARSE = {"train_extra": "train_extra", "train_coarse": "train", "val_coarse": "val"}


def open_cityscapes(root: Path) -> DatasetTree:
    """Describe a Cityscapes folder; every folder in ``leftImg8bit`` is a split.

    ``train_extra`` has coarse labels only. The splits ``train_coarse`` and ``val_coarse`` pair
    the images of ``train`` and ``val`` with their coarse labels.
    """
    images = root / IMAGES
    there = [entry.name for entry in sorted(images.iterdir())] if images.is_dir() else []
    names = [name for name in there if (images / name).is_dir() and name[0] != "."]
    fine = [name for name in names if name not in COARSE]
    fine.sort(key=lambda name: KNOWN.index(name) if name in KNOWN else len(KNOWN))
    coarse = [
        split
        for split, folder in COARSE.items()
        if folder in names and (split == folder or (root / "gtCoarse" / folder).is_dir())
    ]
    return DatasetTree(
        space=SPACE, splits=(*fine, *coarse), listing=lambda split: _list_split(root, split)
    )


def _list_split(root: Path, split: str) -> Listing:
    """Pair each image of a split with its label ids, or else with its train ids."""
    kind = "gtCoarse" if split in COARSE else "gtFine"
    folder = COARSE.get(split, split)
    images = walk_images(root / IMAGES / folder, f"_{IMAGES}")
    truth = root / kind / folder
    label_ids = walk_images(truth, f"_{kind}_labelIds", (".png",))
    train_ids = walk_images(truth, f"_{kind}_labelTrainIds", (".png",))
    masks = {name: (path, TRAIN_IDS) for name, path in train_ids.items()}
    masks.update({name: (path, LABEL_IDS) for name, path in label_ids.items()})
    hidden = split == "test" and not masks
    samples = []
    for name, image in images.items():
        mask, encoding = masks.get(name, (None, LABEL_IDS))
        if mask is not None or hidden:
            samples.append(Sample(name=name, image=image, mask=mask, encoding=encoding))
    return Listing(
        samples=tuple(samples),
        unlabelled=() if hidden else tuple(images[name] for name in images if name not in masks),
        orphans=tuple(masks[name][0] for name in sorted(masks) if name not in images),
    )
