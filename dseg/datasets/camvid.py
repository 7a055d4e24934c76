"""CamVid (Brostow et al., ECCV 2008) in the 11-class form of SegNet's tutorial."""

from __future__ import annotations

from pathlib import Path

from dseg.datasets.base import Encoding
from dseg.datasets.layouts import CAMVID_SPLITS, find_camvid_list
from dseg.datasets.listing import DatasetTree, Listing, pair_files, walk_images
from dseg.datasets.lists import read_pair_list
from dseg.labels import IGNORE, LABEL_SPACES

SPACE = LABEL_SPACES["camvid"]
ENCODING = Encoding(
    train_ids={**{value: value for value in range(11)}, 11: IGNORE, IGNORE: IGNORE},
    allowed="CamVid's 11 classes are 0 to 10; 11 and 255 are ignored",
)


def open_camvid(root: Path) -> DatasetTree:
    """Describe a CamVid folder: image and mask folders, or list files as of SegNet or DABNet."""
    splits = (*CAMVID_SPLITS[:2], "trainval", *CAMVID_SPLITS[2:])
    there = tuple(s for s in splits if _has_folders(root, s) or find_camvid_list(root, s))
    return DatasetTree(space=SPACE, splits=there, listing=lambda split: _list_split(root, split))


def _has_folders(root: Path, split: str) -> bool:
    return (root / split).is_dir() and (root / f"{split}annot").is_dir()


def _list_split(root: Path, split: str) -> Listing:
    if _has_folders(root, split):
        images, masks = (walk_images(root / f"{split}{kind}") for kind in ("", "annot"))
        return pair_files(images, masks, ENCODING, masks_optional=split == "test")
    listed = find_camvid_list(root, split)
    assert listed is not None  # open_camvid returns no other splits
    return read_pair_list(listed, root, ENCODING)
