"""Find a split of a data set by name and folder, and return it as a ``Dataset``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import islice
from pathlib import Path

from dseg.datasets.base import Dataset, Encoding, Sample
from dseg.datasets.layouts import kind_of, refuse_layout, refuse_missing
from dseg.datasets.listing import (
    LOOKED_AT_MOST,
    WHOLE,
    DatasetTree,
    Listing,
    join_listings,
    name_kinds,
)
from dseg.datasets.mapping import map_classes
from dseg.datasets.table import DATASETS, plain_dataset_name
from dseg.errors import DsegError, suggest
from dseg.files import walk_files
from dseg.labels import IGNORE, LabelSpace

MAX_REASON = 200  # characters of an error of another package
LEAVE_OUT = (
    'add the masks, or have these images left out: without_mask = "skip" in the class file, above '
    "the classes."
)
COMPARE_IMAGES = (
    "compare these names with image_prefix, image_suffix and image_types in the class file; or let "
    "dseg init DIR --overwrite look at them."
)
COMPARE_MASKS = (
    "compare the names of images and masks with the prefixes, suffixes and types in the class "
    "file; or let dseg init DIR --overwrite look at them."
)
JOINED = "trainval"
JOINED_OF = ("train", "val")


@dataclass(frozen=True, kw_only=True)
class FoundSplit:
    """Files of one split on disk.

    Attributes:
        dataset: Images that have masks.
        unlabelled: Images without a mask.
        orphans: Masks without an image.
    """

    dataset: Dataset
    unlabelled: tuple[Path, ...]
    orphans: tuple[Path, ...]


def find_dataset_name(name: str) -> str:
    """Return a data set's name as the table spells it.

    Raises:
        DsegError: there is none; the hint lists them.
    """
    plain = plain_dataset_name(name)
    if plain in DATASETS.built_in:
        return plain
    added = {plain_dataset_name(key): key for key in DATASETS}
    if plain in added:
        return added[plain]
    DATASETS.refuse_broken(name)
    raise DsegError(
        f"No data set named {name!r}.",
        hint=f"{suggest(plain, DATASETS)}choose one of: {', '.join(DATASETS)}.",
    )


def load_dataset(
    name: str,
    root: Path | str,
    split: str,
    *,
    space: LabelSpace | None = None,
    class_file: Path | str | None = None,
) -> Dataset:
    """Find the image and mask files of one split; files are decoded when they are read.

    Example:
        >>> train = dseg.load_dataset("camvid", "data/CamVid", "train")
        >>> image, train_ids = train.read(0)
        >>> image.shape, train_ids.shape, train.space.names[:3]
        ((360, 480, 3), (360, 480), ('Sky', 'Building', 'Pole'))

    Args:
        name: Key of ``DATASETS``.
        root: Folder of the data set.
        split: Name of the split, such as ``train``. ``trainval`` joins train and val, and ``+``
            joins any splits, as in ``train+train_extra``.
        space: Label space to map the classes of the masks onto (default: that of the data set).
        class_file: Class file of a ``folder`` data set (default: ``classes.toml`` or
            ``classes.json`` in ``root``).

    Raises:
        DsegError: The name or split is unknown, the folder has another layout, the split is
            empty, an image has no mask, or the classes cannot be mapped.
    """
    root, file = Path(root), None if class_file is None else Path(class_file)
    found = find_dataset(name, root, split, space=space, class_file=file)
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
    """Find the pairs of one split, and the images and masks without a partner.

    See ``load_dataset`` for the arguments and errors.
    """
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
    samples, note = listing.samples, tree.note if split != WHOLE else ""
    if space is not None:
        table = map_classes(tree.space, space, by_name=tree.by_name)
        samples = _map_samples(samples, table)
        lost = [name for name, onto in zip(tree.space.names, table, strict=True) if onto == IGNORE]
        if lost:
            note = f"{note} Not classes of {space.name}, so ignored: {', '.join(lost)}.".strip()
    dataset = Dataset(
        name=name,
        split=split,
        space=space or tree.space,
        samples=samples,
        classes=frozenset[int]().union(*(e.classes() for e in _encodings(samples))),
        note=note,
    )
    return FoundSplit(dataset=dataset, unlabelled=listing.unlabelled, orphans=listing.orphans)


def find_splits(name: str, root: Path, *, class_file: Path | None = None) -> tuple[str, ...]:
    """Return the splits in a data set's folder, without those that only join others.

    Raises:
        DsegError: The name is unknown, or the folder has another layout.
    """
    name = find_dataset_name(name)
    tree = _open_tree(name, root, class_file)
    if not tree.splits:
        raise _no_split(name, root, "", tree)
    alone = tuple(split for split in tree.splits if split not in (JOINED, WHOLE))
    return alone or tree.splits


def _open_tree(name: str, root: Path, class_file: Path | None) -> DatasetTree:
    spec = DATASETS[name]
    if class_file is not None and name != "folder":
        raise DsegError(
            f"The class file {class_file} cannot be used with {name}, whose classes are fixed.",
            hint="remove --classes, or use --dataset folder.",
        )
    if name not in DATASETS.built_in:
        return _open_added(name, spec.target, root)
    module, _, function = spec.target.partition(":")
    opened: Callable[..., DatasetTree] = getattr(import_module(module), function)
    if class_file is not None:
        refuse_missing(name, root)
        return opened(root, class_file)
    refuse_layout(name, root, spec.layout)
    return opened(root)


def _open_added(name: str, target: str, root: Path) -> DatasetTree:
    """Open a data set that another package adds.

    Raises:
        DsegError: the folder is missing, or the package's function cannot open it.
    """
    refuse_missing(name, root)
    module, _, function = target.partition(":")
    try:
        tree = getattr(import_module(module), function)(root)
    except DsegError:
        raise
    except Exception as fault:  # another package can raise anything
        reason = " ".join(str(fault).split())[:MAX_REASON].rstrip(".")
        raise DsegError(
            f"{root} cannot be opened as {name} by {target}: {type(fault).__name__}: {reason}.",
            hint="check the folder; or report it to the authors of that package.",
        ) from fault
    if not isinstance(tree, DatasetTree):
        raise DsegError(
            f"{target} returned {type(tree).__name__} for {name}, not DatasetTree.",
            hint="report it to the authors of that package.",
        )
    return tree


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
    hint = f"there are: {there}. {tree.advice or f'Expected: {layout}.'}"
    if split == "trainaug":
        hint = (
            "put its list into ImageSets/Segmentation/trainaug.txt (an id, or an image and its "
            f"mask, per line) and its masks into SegmentationClassAug; there are: {there}."
        )
    return DsegError(f"{name} in {root} has no split {split!r}.", hint=hint)


def _other_masks(name: str, root: Path) -> str:
    """Return a hint about a folder whose files are named differently from the data set's."""
    there = [path.name for path in islice(walk_files(root), LOOKED_AT_MOST)]
    if any("_labellevel" in file or "_labelcsTrainIds" in file for file in there):
        return (
            "IDD's ids are not Cityscapes' ids: use a ready-made class file (--dataset folder "
            "--classes idd, idd-level3 or idd-trainids)."
        )
    if any("_foggy" in file or "_rain" in file for file in there):
        return (
            "this is Foggy or Rain Cityscapes: use a ready-made class file (--dataset folder "
            "--classes foggy-cityscapes), or describe the files by dseg init."
        )
    if any(file.endswith("_polygons.json") for file in there):
        return (
            "create the masks from the polygons with csCreateTrainIdLabelImgs of cityscapesscripts."
        )
    return COMPARE_IMAGES if name == "folder" else f"expected: {DATASETS[name].layout}."


def _unlabelled(found: FoundSplit, root: Path) -> DsegError:
    count = len(found.unlabelled)
    orphans = ""
    if found.orphans:
        orphans = f"; masks without image: {len(found.orphans)}, the first: {found.orphans[0]}"
    return DsegError(
        f"{count} of {count + len(found.dataset)} images of the split {found.dataset.split} in "
        f"{root} have no mask, the first: {found.unlabelled[0]}{orphans}.",
        hint=(LEAVE_OUT if len(found.dataset) else COMPARE_MASKS)
        if found.dataset.name == "folder"
        else "add the masks, or remove these images. Expected: "
        f"{DATASETS[found.dataset.name].layout}.",
    )


def _encodings(samples: tuple[Sample, ...]) -> list[Encoding]:
    """Return the distinct encodings of samples, which share few objects."""
    return list({id(sample.encoding): sample.encoding for sample in samples}.values())


def _map_samples(samples: tuple[Sample, ...], table: tuple[int, ...]) -> tuple[Sample, ...]:
    """Map the encoding of each sample onto other classes."""
    mapped = {id(old): old.map_train_ids(table) for old in _encodings(samples)}
    return tuple(replace(sample, encoding=mapped[id(sample.encoding)]) for sample in samples)
