"""Folders of images and masks that are described by a class file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from dseg.datasets.class_fields import Places
from dseg.datasets.classfile import ClassFile, read_class_file
from dseg.datasets.layouts import CLASS_FILES
from dseg.datasets.listing import WHOLE, DatasetTree, Listing, pair_files, walk_images
from dseg.datasets.lists import folder_below
from dseg.datasets.name_lists import choose_listed, find_list_files
from dseg.errors import DsegError

SPLIT = "{split}"
USUAL = (f"images/{SPLIT}", f"{SPLIT}/images", "images")
MASKS = ("masks", "labels")
ORDER = ("train", "val", "trainval", "test")
VAL_FRACTION = 0.2
SPLIT_SEED = "dseg"


class Place(NamedTuple):
    """A folder of a split: its path, and what begins the names of its files."""

    folder: Path
    prefix: str = ""


Folders = dict[str, list[Place]]  # by split


def open_folder(root: Path, class_file: Path | None = None) -> DatasetTree:
    """Describe a data set's folder from its class file.

    A folder without splits has the splits ``train`` and ``val`` of ``divide``, and ``all``.

    Raises:
        DsegError: The class file is invalid, or names folders that do not exist.
    """
    if class_file is None:
        class_file = next(root / name for name in CLASS_FILES if (root / name).is_file())
    spec = read_class_file(class_file)
    images = _find_images(root, spec)
    masks = _find_masks(root, spec, images)
    if set(images) == {WHOLE}:
        return _open_undivided(root, spec, images[WHOLE], masks[WHOLE])
    if spec.lists is not None:
        raise DsegError(
            f"{spec.path}: both lists and the folders of images name splits.",
            hint="leave out lists, or {split} in images and masks.",
        )
    splits = sort_splits(images)
    advice = "To hold back a fifth of the training images: --val-split 0.2"
    return DatasetTree(
        space=spec.space,
        splits=tuple(splits),
        listing=lambda split: _list_split(spec, split, images[split], masks[split]),
        by_name=True,
        advice=f"{advice}; to train without validation: --val-split none." * ("val" not in splits),
    )


def _open_listed(
    root: Path, spec: ClassFile, images: list[Place], masks: list[Place]
) -> DatasetTree:
    """Describe a folder whose splits are listed in text files."""
    files = find_list_files(root, spec.lists or "", spec.path)

    def listing(split: str) -> Listing:
        whole = _list_split(spec, split, images, masks)
        return whole if split == WHOLE else choose_listed(whole, files[split])

    return DatasetTree(
        space=spec.space, splits=(*sort_splits(files), WHOLE), listing=listing, by_name=True
    )


def sort_splits(splits: Iterable[str]) -> list[str]:
    """Return splits in the usual order."""
    return sorted(splits, key=lambda s: (ORDER.index(s) if s in ORDER else len(ORDER), s))


def _open_undivided(
    root: Path, spec: ClassFile, images: list[Place], masks: list[Place]
) -> DatasetTree:
    endings = spec.image_suffix if len(spec.image_suffix) > 1 else ()
    if spec.lists is not None:
        return _open_listed(root, spec, images, masks)
    whole = _list_split(spec, WHOLE, images, masks)
    tree = DatasetTree(
        space=spec.space,
        splits=("train", "val", WHOLE),
        listing=lambda split: divide(whole, split, endings),
        by_name=True,
        note=f"The images are not divided into splits: {VAL_FRACTION:.0%} of them, chosen by a "
        "hash of their names, are val, the others train.",
    )
    if whole.samples and not divide(whole, "val", endings).samples:
        only = "one image" if len(whole.samples) == 1 else "one mask"
        note = f"There is only {only}, so none is held back to validate on."
        advice = f"There is only {only}: train without validation (--split all --val-split none)."
        return replace(tree, splits=("train", WHOLE), note=note, advice=advice)
    return tree


def divide(listing: Listing, split: str, endings: tuple[str, ...] = ()) -> Listing:
    """Return the pairs of ``train`` or ``val`` of a folder without splits, or ``all``.

    The fifth of the images (at least one of two) with the smallest hashes of their names is
    ``val``: the same images on every machine. Neighbouring frames of a video are much alike, and
    fall into both splits; put such images into folders for each split instead. Images that share
    a mask, whose names differ by one of ``endings``, stay together.
    """
    if split == WHOLE:
        return listing

    def key(name: str) -> str:
        return next((name.removesuffix(end) for end in endings if name.endswith(end)), name)

    keys = sorted({key(sample.name) for sample in listing.samples})
    count = max(round(VAL_FRACTION * len(keys)), int(len(keys) > 1))
    held = set(sorted(keys, key=_hash_name)[:count])
    chosen = (one for one in listing.samples if (key(one.name) in held) == (split == "val"))
    leftovers = split == "train"  # reported once, not for each split
    return replace(
        listing,
        samples=tuple(chosen),
        unlabelled=listing.unlabelled if leftovers else (),
        orphans=listing.orphans if leftovers else (),
    )


def _hash_name(name: str) -> bytes:
    return hashlib.blake2b(f"{SPLIT_SEED}/{name}".encode(), digest_size=8).digest()


def _find_images(root: Path, spec: ClassFile) -> Folders:
    """Return the folders of each split's images."""
    usual = (_expand(root, place, spec) for place in USUAL)
    found = _expand(root, spec.images, spec) if spec.images else next(filter(None, usual), {})
    if not found:
        wanted = spec.images or ", ".join(USUAL)
        raise DsegError(
            f"{root} has no folder of images: looked for {wanted}.",
            hint=f'create it, add images = "..." to {spec.path}, or let dseg init {root} look.',
        )
    return found


def _find_masks(root: Path, spec: ClassFile, images: Folders) -> Folders:
    """Return the folders of each split's masks."""
    if spec.masks is None:
        if spec.images is not None:
            raise DsegError(
                f"{spec.path} has the field images, but not the field masks.",
                hint=f'add masks = "...", with {SPLIT} in place of the split.',
            )
        return {
            split: [Place(_beside(root, place.folder)) for place in places]
            for split, places in images.items()
        }
    masks = _expand(root, spec.masks, spec)
    lacking = [split for split in images if split not in masks and split != "test"]
    if lacking:
        if isinstance(spec.masks, str):
            wanted = f"looked for {spec.masks}"
        else:
            wanted = f"masks names folders for {', '.join(spec.masks)}"
        raise DsegError(
            f"There are images, but no masks for the split {lacking[0]} in {root}: {wanted}.",
            hint=f"add them, or correct masks in {spec.path}.",
        )
    return {split: masks.get(split, []) for split in images}


def _beside(root: Path, images: Path) -> Path:
    """Return the mask folder that corresponds to one of the usual image folders."""
    parts = images.relative_to(root).parts
    at = len(parts) - 1 - parts[::-1].index("images")
    folders = [root.joinpath(*parts[:at], name, *parts[at + 1 :]) for name in MASKS]
    return next((folder for folder in folders if folder.is_dir()), folders[0])


def _expand(root: Path, place: Places, spec: ClassFile) -> Folders:
    """Return the folders of each split for a field of the class file."""
    if not isinstance(place, str):
        named = {split: _match(root, name, spec) for split, name in (place or {}).items()}
        for split, found in named.items():
            if not found:
                folder = folder_below(root, (place or {})[split], spec.path)
                raise DsegError(
                    f"{spec.path}: the folder {folder} of the split {split} does not exist.",
                    hint="write paths relative to the data set's folder.",
                )
        return {
            split: [one for places in found.values() for one in places]
            for split, found in named.items()
        }
    return _match(root, place, spec)


def _match(root: Path, pattern: str, spec: ClassFile) -> Folders:
    """Return the folders that match a path in which ``*`` and ``{split}`` stand for any name."""
    found = [(WHOLE, Place(root))]
    for part in folder_below(root, pattern, spec.path).relative_to(root).parts:
        found = [deeper for split, place in found for deeper in _descend(split, place, part)]
    folders: Folders = {}
    for split, place in found:
        if place.folder.is_dir():
            folders.setdefault(split, []).append(place)
    return folders


def _descend(split: str, place: Place, part: str) -> list[tuple[str, Place]]:
    """Return the folders inside a folder that match one part of a pattern."""
    if SPLIT not in part and "*" not in part:
        return [(split, Place(place.folder / part, place.prefix))]
    found = []
    for entry in sorted(place.folder.iterdir()) if place.folder.is_dir() else ():
        if entry.name[0] == "." or not entry.is_dir():
            continue
        if SPLIT in part:
            before, _, after = part.partition(SPLIT)
            named = entry.name.removeprefix(before).removesuffix(after)
            if named and entry.name == f"{before}{named}{after}":
                found.append((named, Place(entry, place.prefix)))
        elif fnmatchcase(entry.name, part):
            found.append((split, Place(entry, f"{place.prefix}{entry.name}/")))
    return found


def _list_split(spec: ClassFile, split: str, images: list[Place], masks: list[Place]) -> Listing:
    """Pair the images of a split with their masks; with several suffixes these end the names."""
    labels: dict[str, Path] = {}
    for place in masks:
        found = walk_images(place.folder, spec.mask_suffix, spec.mask_types, spec.mask_prefix)
        labels.update({place.prefix + name: path for name, path in found.items()})
    photos: dict[str, Path] = {}
    wanted: dict[str, Path] = {}
    several, files = len(spec.image_suffix) > 1, set(labels.values())
    for place in images:
        for suffix in spec.image_suffix:
            found = walk_images(place.folder, suffix, spec.image_types, spec.image_prefix)
            for below, path in found.items():
                key = place.prefix + below
                if path in files:  # a mask in or below the folder of the images
                    continue
                name = key + suffix if several else key
                photos[name] = path
                if key in labels:
                    wanted[name] = labels[key]
    used = set(wanted.values())
    wanted.update({name: path for name, path in labels.items() if path not in used})
    listing = pair_files(photos, wanted, spec.encoding, masks_optional=split == "test")
    return replace(listing, unlabelled=()) if spec.skip_bare else listing
