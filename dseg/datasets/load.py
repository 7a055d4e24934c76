"""From a name, a folder and a split to a ``Dataset``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import islice
from pathlib import Path

from dseg.datasets.base import Dataset, Encoding, Sample
from dseg.datasets.files import (
    LOOKED_AT_MOST,
    DatasetTree,
    Listing,
    join_listings,
    name_kinds,
)
from dseg.datasets.layouts import kind_of, refuse_layout, refuse_missing
from dseg.datasets.mapping import map_classes
from dseg.datasets.table import DATASETS
from dseg.errors import DsegError, suggest
from dseg.files import walk_files
from dseg.labels import LabelSpace

JOINED = "trainval"
JOINED_OF = ("train", "val")


@dataclass(frozen=True, kw_only=True)
class FoundSplit:
    """One split as it lies on disk.

    Attributes:
        dataset: the images that have masks.
        unlabelled: images without mask.
        orphans: masks without image.
    """

    dataset: Dataset
    unlabelled: tuple[Path, ...]
    orphans: tuple[Path, ...]


def find_dataset_name(name: str) -> str:
    """Return a data set's name as the table spells it.

    Raises:
        DsegError: there is none; the hint lists them.
    """
    plain = name.lower().replace("_", "-")
    if plain in DATASETS:
        return plain
    raise DsegError(
        f"No data set named {name!r}.",
        hint=f"{suggest(plain, DATASETS)}choose one of: {', '.join(DATASETS)}.",
    )


def load_dataset(
    name: str,
    root: Path,
    split: str,
    *,
    space: LabelSpace | None = None,
    class_file: Path | None = None,
) -> Dataset:
    """Find the images of one split and their masks, which are decoded later.

    Example:
        >>> dataset = dseg.load_dataset("cityscapes", Path("cityscapes"), "val")
        >>> image, train_ids = dataset.read(0)  # (H, W, 3) and (H, W) uint8

    Args:
        name: a name in ``DATASETS``, such as ``cityscapes``; case does not matter.
        root: the folder of the data set.
        split: a split such as ``train``; ``trainval`` is train and val, ``train+train_extra``
            joins the splits that it names.
        space: classes onto which those of the masks are mapped; by default the data set's own.
        class_file: for ``folder``, a class file other than ``classes.toml`` in ``root``.

    Raises:
        DsegError: unknown name or split, a folder in another layout, an empty split, an image
            without a mask, or classes that cannot be mapped.
    """
    found = find_dataset(name, root, split, space=space, class_file=class_file)
    if found.unlabelled:
        raise _unlabelled(found, root)
    return found.dataset


def find_dataset(
    name: str,
    root: Path,
    split: str,
    *,
    space: LabelSpace | None = None,
    class_file: Path | None = None,
) -> FoundSplit:
    """Find the pairs of one split and what has no partner; see ``load_dataset``."""
    name = find_dataset_name(name)
    tree = _open_tree(name, root, class_file)
    listing = _list_split(name, tree, root, split)
    of_cityscapes = kind_of(name) == "cityscapes"
    if not listing.samples and (of_cityscapes or not listing.unlabelled):
        bare = len(listing.unlabelled)
        what = f"mask for its {bare} images" if bare else "image"
        raise DsegError(
            f"The split {split} of {name} in {root} has no {what}; found: {name_kinds(root)}.",
            hint=_other_masks(name, root),
        )
    samples = listing.samples
    if space is not None:
        table = map_classes(tree.space, space, by_name=tree.by_name)
        samples = _map_samples(samples, table)
    dataset = Dataset(
        name=name,
        split=split,
        space=space or tree.space,
        samples=samples,
        classes=frozenset[int]().union(*(e.classes() for e in _encodings(samples))),
    )
    return FoundSplit(dataset=dataset, unlabelled=listing.unlabelled, orphans=listing.orphans)


def find_splits(name: str, root: Path, *, class_file: Path | None = None) -> tuple[str, ...]:
    """Return the splits that there are in a data set's folder, without joined ones.

    Raises:
        DsegError: unknown name, or a folder of another kind.
    """
    name = find_dataset_name(name)
    tree = _open_tree(name, root, class_file)
    if not tree.splits:
        raise _no_split(name, root, "", tree)
    alone = tuple(split for split in tree.splits if split != JOINED)
    return alone or tree.splits


def _open_tree(name: str, root: Path, class_file: Path | None) -> DatasetTree:
    spec = DATASETS[name]
    if class_file is not None and name != "folder":
        raise DsegError(
            f"The classes of {name} are known, yet the class file {class_file} is named.",
            hint="leave --classes away, or use --dataset folder.",
        )
    module, _, function = spec.target.partition(":")
    opened: Callable[..., DatasetTree] = getattr(import_module(module), function)
    if class_file is not None:
        refuse_missing(name, root)
        return opened(root, class_file)
    refuse_layout(name, root, spec.layout)
    return opened(root)


def _list_split(name: str, tree: DatasetTree, root: Path, split: str) -> Listing:
    if split in tree.splits:
        return tree.listing(split)
    parts = JOINED_OF if split == JOINED else tuple(part.strip() for part in split.split("+"))
    for part in parts:
        if part not in tree.splits:
            raise _no_split(name, root, split if split == JOINED else part, tree)
    return join_listings({part: tree.listing(part) for part in parts})


def _no_split(name: str, root: Path, split: str, tree: DatasetTree) -> DsegError:
    layout = DATASETS[name].layout
    if not tree.splits:
        problem = f"{root} has no split of {name}; found: {name_kinds(root)}."
        return DsegError(problem, hint=_other_masks(name, root))
    there = ", ".join(tree.splits)
    hint = f"there are: {there}. Expected: {layout}."
    if split == "trainaug":
        hint = (
            "put its list into ImageSets/Segmentation/trainaug.txt (an id, or an image and its "
            f"mask a line) and its masks into SegmentationClassAug; there are: {there}."
        )
    return DsegError(f"{name} in {root} has no split {split!r}.", hint=hint)


def _other_masks(name: str, root: Path) -> str:
    """Return what to do about a folder whose files have other names than the data set's."""
    there = [path.name for path in islice(walk_files(root), LOOKED_AT_MOST)]
    if any("_labellevel" in file or "_labelcsTrainIds" in file for file in there):
        return (
            "IDD's level ids are not Cityscapes ids: make csTrainId masks with its tools, and name "
            "them in a class file (--dataset folder, mask_suffix)."
        )
    if any("_foggy" in file or "_rain" in file for file in there):
        return (
            "these are Foggy or Rain Cityscapes: choose one strength in a class file (--dataset "
            'folder, image_suffix = "_leftImg8bit_foggy_beta_0.02").'
        )
    if any(file.endswith("_polygons.json") for file in there):
        return "draw label ids from the polygons: csCreateTrainIdLabelImgs, of cityscapesscripts."
    return f"expected: {DATASETS[name].layout}."


def _unlabelled(found: FoundSplit, root: Path) -> DsegError:
    count = len(found.unlabelled)
    orphans = ""
    if found.orphans:
        orphans = f"; masks without image: {len(found.orphans)}, the first: {found.orphans[0]}"
    return DsegError(
        f"{count} of {count + len(found.dataset)} images of the split {found.dataset.split} in "
        f"{root} have no mask, the first: {found.unlabelled[0]}{orphans}.",
        hint="add the masks, or take these images away. Expected: "
        f"{DATASETS[found.dataset.name].layout}.",
    )


def _encodings(samples: tuple[Sample, ...]) -> list[Encoding]:
    """Return the different encodings of samples; there are few."""
    return list({id(sample.encoding): sample.encoding for sample in samples}.values())


def _map_samples(samples: tuple[Sample, ...], table: tuple[int, ...]) -> tuple[Sample, ...]:
    """Map all encodings; samples share the few that there are."""
    mapped = {id(old): old.map_train_ids(table) for old in _encodings(samples)}
    return tuple(replace(sample, encoding=mapped[id(sample.encoding)]) for sample in samples)
