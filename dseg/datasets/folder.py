"""Folders of images and masks that are described by a class file."""

from __future__ import annotations

from pathlib import Path

from dseg.datasets.classfile import ClassFile, Places, read_class_file
from dseg.datasets.layouts import CLASS_FILES
from dseg.datasets.listing import DatasetTree, Listing, pair_files, walk_images
from dseg.datasets.lists import folder_below
from dseg.errors import DsegError

SPLIT = "{split}"
WHOLE = "all"  # name of the only split of a folder without splits
USUAL = (f"images/{SPLIT}", f"{SPLIT}/images", "images")
MASKS = ("masks", "labels")
ORDER = ("train", "val", "trainval", "test")


def open_folder(root: Path, class_file: Path | None = None) -> DatasetTree:
    """Describe a data set's folder from its class file.

    Raises:
        DsegError: The class file is invalid, or names folders that do not exist.
    """
    if class_file is None:
        class_file = next(root / name for name in CLASS_FILES if (root / name).is_file())
    spec = read_class_file(class_file)
    images = _find_images(root, spec)
    masks = _find_masks(root, spec, images)
    splits = sorted(images, key=lambda s: (ORDER.index(s) if s in ORDER else len(ORDER), s))
    return DatasetTree(
        space=spec.space,
        splits=tuple(splits),
        listing=lambda split: _list_split(spec, split, images[split], masks[split]),
        by_name=True,
    )


def _find_images(root: Path, spec: ClassFile) -> dict[str, Path]:
    """Return the folder of each split's images."""
    usual = (_expand(root, place, spec) for place in USUAL)
    found = _expand(root, spec.images, spec) if spec.images else next(filter(None, usual), {})
    if not found:
        wanted = spec.images or ", ".join(USUAL)
        raise DsegError(
            f"{root} has no folder of images: looked for {wanted}.",
            hint=f'create it, or add images = "..." to {spec.path}.',
        )
    return found


def _find_masks(root: Path, spec: ClassFile, images: dict[str, Path]) -> dict[str, Path]:
    """Return the folder of each split's masks."""
    if spec.masks is None:
        if spec.images is not None:
            raise DsegError(
                f"{spec.path} has the field images, but not the field masks.",
                hint=f'add masks = "...", with {SPLIT} in place of the split.',
            )
        return {split: _beside(root, folder) for split, folder in images.items()}
    masks = _expand(root, spec.masks, spec)
    lacking = [split for split in images if split not in masks and split != "test"]
    if lacking:
        raise DsegError(
            f"There are images, but no masks for the split {lacking[0]} in {root}: looked for "
            f"{spec.masks}.",
            hint=f"add them, or correct masks in {spec.path}.",
        )
    return {split: masks.get(split, root / "no-masks") for split in images}


def _beside(root: Path, images: Path) -> Path:
    """Return the mask folder that corresponds to one of the usual image folders."""
    parts = images.relative_to(root).parts
    at = len(parts) - 1 - parts[::-1].index("images")
    folders = [root.joinpath(*parts[:at], name, *parts[at + 1 :]) for name in MASKS]
    return next((folder for folder in folders if folder.is_dir()), folders[0])


def _expand(root: Path, place: Places, spec: ClassFile) -> dict[str, Path]:
    """Return the folder of each split for a field of the class file."""
    if not isinstance(place, str):
        named = (place or {}).items()
        folders = {split: folder_below(root, name, spec.path) for split, name in named}
        for split, folder in folders.items():
            if not folder.is_dir():
                raise DsegError(
                    f"{spec.path}: the folder {folder} of the split {split} does not exist.",
                    hint="write paths relative to the data set's folder.",
                )
        return folders
    whole = folder_below(root, place, spec.path)
    parts = whole.parts
    at = next((at for at, part in enumerate(parts) if SPLIT in part), None)
    if at is None:
        return {WHOLE: whole} if whole.is_dir() else {}
    before, _, after = parts[at].partition(SPLIT)
    base = Path(*parts[:at])
    found = {}
    for entry in sorted(base.iterdir()) if base.is_dir() else ():
        split = entry.name.removeprefix(before).removesuffix(after)
        folder = entry.joinpath(*parts[at + 1 :])
        if (
            split
            and entry.name == f"{before}{split}{after}"
            and split[0] != "."
            and folder.is_dir()
        ):
            found[split] = folder
    return found


def _list_split(spec: ClassFile, split: str, images: Path, masks: Path) -> Listing:
    photos = walk_images(images, spec.image_suffix)
    if images == masks and spec.mask_suffix:
        photos = {n: path for n, path in photos.items() if not n.endswith(spec.mask_suffix)}
    found = walk_images(masks, spec.mask_suffix)
    return pair_files(photos, found, spec.encoding, masks_optional=split == "test")
