"""Recognise data sets by their folders, and find tables of labels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from dseg.datasets.base import Dataset, read_train_ids
from dseg.datasets.class_rows import TABLE_SUFFIXES, read_label_table
from dseg.datasets.layouts import CAMVID_SPLITS, SIGNS, find_camvid_list, find_voc_home
from dseg.datasets.lists import read_lines
from dseg.datasets.load import find_dataset, find_splits
from dseg.errors import DsegError, counted
from dseg.files import walk_files
from dseg.labels import voc_color
from dseg.survey.content import count_values
from dseg.survey.groups import SPLIT_WORDS
from dseg.survey.pairs import SAMPLED

LABEL_FILES = (
    *("class_dict", "labelmap", "label_colors", "labels", "classes", "class", "colors"),
    *("_classes", "class_names", "label_names", "names", "label_map"),
)
DISTINCT = (  # data sets that can be told by their folders and names of files
    *("idd", "idd-level3", "idd-trainids", "acdc", "dark-zurich", "foggy-cityscapes", "bdd100k"),
    *("kitti", "synthia", "mapillary2", "camvid32"),
)
FIT_READ = 60  # masks to compare with a ready-made class file
FIT_ENOUGH = 10  # masks from which on classes can be missed
FIT_CLASSES, FIT_IGNORED = 0.4, 0.3  # fractions of classes and pixels that are suspicious
MAPILLARY_SPLITS = ("training", "validation")


def find_known(root: Path) -> str:
    """Return the data set whose layout a folder has, or "".

    It is a name for ``--dataset``, or of a ready-made class file whose files are found there.
    """
    for name in DISTINCT:
        try:
            for split in find_splits("folder", root, class_file=Path(name)):
                if len(find_dataset("folder", root, split, class_file=Path(name)).dataset):
                    return name
        except DsegError:
            continue
    kinds = (name for name, is_kind in SIGNS.items() if name != "folder" and is_kind(root))
    found = next(kinds, "")
    is_own = {"voc": _is_voc, "camvid": _is_camvid, "mapillary": _is_mapillary}.get(found)
    return found if is_own is None or is_own(root) else ""


def _is_camvid(root: Path) -> bool:
    """Return True unless lists of names, not of images and masks, look like CamVid's layout."""
    if any((root / f"{split}annot").is_dir() for split in CAMVID_SPLITS):
        return True
    lists = filter(None, (find_camvid_list(root, split) for split in CAMVID_SPLITS))
    try:
        return any(len(words) == 2 for path in lists for _, words in islice(read_lines(path), 1))
    except DsegError:
        return False


def _is_mapillary(root: Path) -> bool:
    """Return True if masks lie where Mapillary Vistas has them."""
    places = ("labels", "v1.2")
    return any((root / split / name).is_dir() for split in MAPILLARY_SPLITS for name in places)


def _is_voc(root: Path) -> bool:
    """Return True unless a folder in VOC's layout has other classes: it has no lists of images, it
    has a table of labels, or masks whose values or palettes are not VOC's."""
    home = find_voc_home(root)
    if home is None or not any((home / "ImageSets/Segmentation").glob("*.txt")):
        return False
    if find_label_file(root) or find_label_file(home):
        return False
    for path in islice(walk_files(home / "SegmentationClass"), SAMPLED):
        try:
            values = count_values(path)
        except DsegError:
            continue
        others = set(values.pixels) - {*range(21), 255}
        palette = {value: color for value, color in values.palette.items() if 0 < value < 255}
        if values.kind != "ids" or others:
            return False
        if any(color != voc_color(value) for value, color in palette.items()):
            return False
    return True


def find_label_file(root: Path) -> Path | None:
    """Return the table of labels in a folder, or in its folders of splits, or None."""
    entries = sorted(entry for entry in root.iterdir() if entry.name[0] != ".")
    below = (sorted(entry.iterdir()) for entry in entries if SPLIT_WORDS.get(entry.name.lower()))
    for path in (*entries, *(path for paths in below for path in paths)):
        if path.suffix.lower() in TABLE_SUFFIXES and path.stem.lower() in LABEL_FILES:
            try:
                read_label_table(path, path.read_text(encoding="utf-8-sig"))
            except (DsegError, OSError, UnicodeDecodeError):
                continue
            return path
    return None


def refuse_empty(datasets: Sequence[Dataset], name: str, root: Path) -> None:
    """Raise a DsegError unless a ready-made class file finds images with masks in a folder."""
    if not any(map(len, datasets)):
        raise DsegError(
            f"The class file {name} finds no image with a mask in {root}.",
            hint="folders or names of masks differ from those of that data set: choose another "
            "(dseg init --table list), or leave out --table and name the classes by --names.",
        )


def describe_fit(datasets: Sequence[Dataset]) -> str:
    """Return in words how much of some masks a ready-made class file covers.

    It is a warning if it looks like that of other masks.

    Raises:
        DsegError: a mask cannot be read.
    """
    samples = [sample for dataset in datasets for sample in dataset.samples if sample.mask]
    samples = samples[:: max(1, len(samples) // FIT_READ)][:FIT_READ]
    counts = np.zeros(256, np.int64)
    for sample in samples:
        if sample.mask is not None:
            train_ids = read_train_ids(sample.mask, sample.encoding, accept_lossy=True)
            counts += np.bincount(train_ids.ravel(), minlength=256)
    classes = datasets[0].space.num_classes
    there = int(np.count_nonzero(counts[:classes]))
    ignored = 1 - float(counts[:classes].sum() / max(1, counts.sum()))
    text = (
        f"In {counted(len(samples), 'mask')} {there} of {classes} classes occur, and "
        f"{ignored:.0%} of the pixels are ignored"
    )
    few = len(samples) >= FIT_ENOUGH and there < FIT_CLASSES * classes
    if few or ignored > FIT_IGNORED:
        return (
            f"WARNING: {text}: the masks may be of another table (dseg init --table list). Look "
            "whether names and colours of the overview are right."
        )
    return f"{text}."
