"""Any folder of images and masks, described by a class file."""

from __future__ import annotations

from pathlib import Path

from dseg.datasets.classfile import ClassFile, Places, read_class_file
from dseg.datasets.files import DatasetTree, Listing, pair_files, walk_images
from dseg.datasets.layouts import CLASS_FILES
from dseg.datasets.lists import folder_below
from dseg.errors import DsegError

SPLIT = "{split}"
WHOLE = "all"  # the split of a folder that is not divided
USUAL = (f"images/{SPLIT}", f"{SPLIT}/images", "images")
MASKS = ("masks", "labels")
ORDER = ("train", "val", "trainval", "test")


def open_folder(root: Path, class_file: Path | None = None) -> DatasetTree:
    """Describe a folder by its class file.

    Raises:
        DsegError: the class file is wrong, or names folders that are not there.
    """
    if class_file is None:
        class_file = next(root / name for name in CLASS_FILES if (root / name).is_file())
    said = read_class_file(class_file)
    images = _find_images(root, said)
    masks = _find_masks(root, said, images)
    splits = sorted(images, key=lambda s: (ORDER.index(s) if s in ORDER else len(ORDER), s))
    return DatasetTree(
        space=said.space,
        splits=tuple(splits),
        listing=lambda split: _list_split(said, split, images[split], masks[split]),
        by_name=True,
    )


def _find_images(root: Path, said: ClassFile) -> dict[str, Path]:
    """Return the folder of each split's images."""
    usual = (_expand(root, place, said) for place in USUAL)
    found = _expand(root, said.images, said) if said.images else next(filter(None, usual), {})
    if not found:
        wanted = said.images or ", ".join(USUAL)
        raise DsegError(
            f"{root} has no folder of images: looked for {wanted}.",
            hint=f'make it, or write images = "..." into {said.path}.',
        )
    return found


def _find_masks(root: Path, said: ClassFile, images: dict[str, Path]) -> dict[str, Path]:
    """Return the folder of each split's masks."""
    if said.masks is None:
        if said.images is not None:
            raise DsegError(
                f"{said.path} says where images are, but not where masks are.",
                hint=f'write masks = "...", with {SPLIT} in place of the split.',
            )
        return {split: _beside(root, folder) for split, folder in images.items()}
    masks = _expand(root, said.masks, said)
    lacking = [split for split in images if split not in masks and split != "test"]
    if lacking:
        raise DsegError(
            f"There are images, but no masks for the split {lacking[0]} in {root}: looked for "
            f"{said.masks}.",
            hint=f"add them, or mend masks in {said.path}.",
        )
    return {split: masks.get(split, root / "no-masks") for split in images}


def _beside(root: Path, images: Path) -> Path:
    """Return the mask folder that belongs to one of the usual image folders."""
    parts = images.relative_to(root).parts
    at = len(parts) - 1 - parts[::-1].index("images")
    folders = [root.joinpath(*parts[:at], name, *parts[at + 1 :]) for name in MASKS]
    return next((folder for folder in folders if folder.is_dir()), folders[0])


def _expand(root: Path, place: Places, said: ClassFile) -> dict[str, Path]:
    """Return the folders that a place names, by split."""
    if not isinstance(place, str):
        named = (place or {}).items()
        folders = {split: folder_below(root, name, said.path) for split, name in named}
        for split, folder in folders.items():
            if not folder.is_dir():
                raise DsegError(
                    f"{said.path}: there is no folder {folder} for the split {split}.",
                    hint="paths count from the data set's folder.",
                )
        return folders
    whole = folder_below(root, place, said.path)
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


def _list_split(said: ClassFile, split: str, images: Path, masks: Path) -> Listing:
    photos = walk_images(images, said.image_suffix)
    if images == masks and said.mask_suffix:
        photos = {n: path for n, path in photos.items() if not n.endswith(said.mask_suffix)}
    found = walk_images(masks, said.mask_suffix)
    return pair_files(photos, found, said.encoding, labels_may_lack=split == "test")
