"""Look at a folder: which files are images, which masks, and what the masks hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from dseg.datasets.listing import name_kinds
from dseg.errors import DsegError, counted
from dseg.images import read_size
from dseg.parallel import Advance, count_cores, map_in_order
from dseg.survey.content import FEW, Values, count_values, looks_like_masks, settle
from dseg.survey.further import find_folders_of_masks, find_further, refuse_several
from dseg.survey.groups import Group, find_groups, name_splits
from dseg.survey.known import find_label_file
from dseg.survey.lists import find_lists
from dseg.survey.pairs import SAMPLED, Pairing, find_pairing

READ_AT_MOST = 1000  # masks; of more, evenly spread ones
UNUSED_SHOWN = 5  # folders
SIZES_READ = 200  # images whose sizes are read
Progress = Callable[[str, int], AbstractContextManager[Advance]]


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a folder contains.

    Attributes:
        root: the folder.
        pairing: the images and masks, and how their names correspond.
        splits: number of pairs of each split; ``all`` if there are none.
        lists: text file that lists the images of each split, and their number, if there are any.
        unread_lists: what is wrong with other lists beside them.
        unused: number of image files of each kind that are neither images nor masks here.
        unpaired_images, unpaired_masks: number of files without a partner.
        sizes: number of images of each (height, width), of up to 200 images.
        left_out: files with names of images to train or validate on have no mask.
        unequal: number of masks whose size is not that of their images, and the first.
        values: what the masks hold.
        masks_read: number of masks that were read.
        label_file: table of labels in the folder, or None.
    """

    root: Path
    pairing: Pairing
    splits: dict[str, int]
    lists: dict[str, tuple[str, int]]
    unread_lists: list[str]
    unused: dict[str, int]
    unpaired_images: int
    unpaired_masks: int
    sizes: Counter[tuple[int, int]]
    left_out: bool
    unequal: tuple[int, Path | None]
    values: Values
    masks_read: int
    label_file: Path | None


def look_at(root: Path, progress: Progress) -> Survey:
    """Find out what a folder of images and masks contains.

    Args:
        root: the folder.
        progress: makes a context that yields a function to call after each mask.

    Raises:
        DsegError: there are no images, no masks, no pairs, or the masks hold too many values.
    """
    groups, pairing = _find_pairs(root)
    further = find_further(groups, pairing)
    refuse_several(pairing, further)
    masks = list(dict.fromkeys(mask for _, mask in pairing.pairs.values()))
    step = -(-len(masks) // READ_AT_MOST)
    with progress("masks read", len(masks[::step])) as advance:
        values = settle(_count(masks[::step], advance))
    limit = max(FEW, 255 if values.kind == "ids" else FEW)
    if len(values.pixels) > limit:
        raise _many_error(masks[0], values)
    images = [image for image, _ in pairing.pairs.values()]
    spread = images[:: -(-len(images) // SIZES_READ)]
    unequal = _find_unequal(list(pairing.pairs.values())[:: -(-len(images) // SIZES_READ)])
    splits = Counter(split for split, _ in pairing.pairs)
    lists, unread_lists = find_lists(root, pairing)
    return Survey(
        root=root,
        pairing=pairing,
        splits={split: count for split, (_, count) in lists.items()}
        or {split: splits[split] for split in name_splits([pairing.images]) if splits[split]},
        lists=lists,
        unread_lists=unread_lists,
        unused=_count_unused(root, groups, pairing, further),
        unpaired_images=_count_unpaired(pairing, 0, further),
        unpaired_masks=_count_unpaired(pairing, 1, further),
        sizes=Counter(read_size(path) for path in spread),
        left_out=_is_left_out(pairing),
        unequal=(len(unequal), min(unequal, default=None)),
        values=values,
        masks_read=len(masks[::step]),
        label_file=find_label_file(root),
    )


def _find_pairs(root: Path) -> tuple[list[Group], Pairing]:
    """Return all groups of image files, and the two that are images and masks."""
    for apart in (False, True):
        groups = find_groups(root, apart=apart)
        if not groups:
            raise DsegError(
                f"{root} holds no images; found: {name_kinds(root)}.",
                hint="name the folder that holds images and masks, at any depth.",
            )
        is_mask = {id(group): looks_like_masks(group.sample(SAMPLED)) for group in groups}
        if (pairing := find_pairing(groups, is_mask)) is not None:
            return groups, pairing
    if (several := find_folders_of_masks(find_groups(root))) is not None:
        raise several
    named = find_pairing(groups, dict.fromkeys(is_mask, True))
    raise _no_masks_error(root, named, sum(group.count for group in groups))


def _count(masks: list[Path], advance: Advance) -> Values:
    """Add up the values of masks; greys among colours count as colours."""
    found: dict[str, Values] = {}
    cores = count_cores()
    counted = map_in_order(count_values, masks, cores, ahead=2 * cores - 1, wait=True)
    for path, values in zip(masks, counted, strict=False):
        found.setdefault(values.kind, Values(values.kind)).add(values, path)
        advance()
        if len(found[values.kind].pixels) > 1 << 16:
            break
    ids, colours = found.get("ids"), found.get("colours")
    if colours is None:
        assert ids is not None
        if not ids.clashing or len(ids.colored) > len(ids.pixels):
            return ids
        colours = Values("colours", clashing=ids.clashing)
    if ids is not None:
        colours.pixels.update(ids.colored)
        colours.masks.update(ids.colored_masks)
    return colours


def _is_left_out(pairing: Pairing) -> bool:
    """Return True if files named like images, but those of a test split, lack masks."""
    known = {path for pair in pairing.pairs.values() for path in pair}
    return any(
        pairing.image_ends.strip(name) is not None and path not in known
        for split, named in pairing.images.files.items()
        if split != "test"
        for name, path in named.items()
    )


def _find_unequal(pairs: list[tuple[Path, Path]]) -> list[Path]:
    """Return the masks whose size is not that of their images."""
    unequal = []
    for image, mask in pairs:
        try:
            if read_size(image) != read_size(mask):
                unequal.append(mask)
        except DsegError:  # reported by check-data and before training
            continue
    return unequal


def _count_unused(
    root: Path, groups: list[Group], pairing: Pairing, further: dict[str, list[Path]]
) -> dict[str, int]:
    """Return how many files of each folder or ending belong to neither of the two groups."""
    beside = {path for paths in further.values() for path in paths}
    counts = Counter(
        f"{path.relative_to(root).parts[0]} (*{group.suffix})"
        for group in groups
        if group is not pairing.images and group is not pairing.masks
        for named in group.files.values()
        for path in named.values()
        if path not in beside
    )
    counts.update({f"*{ending}": len(paths) for ending, paths in further.items()})
    return dict(counts.most_common(UNUSED_SHOWN))


def _count_unpaired(pairing: Pairing, of: int, further: dict[str, list[Path]]) -> int:
    """Return how many files of the images (0) or masks (1) have no partner."""
    group = (pairing.images, pairing.masks)[of]
    if pairing.images is pairing.masks:
        rest = sum(len(paths) for ending, paths in further.items() if ending.endswith(group.suffix))
        return (group.count - rest - 2 * len(pairing.pairs)) * (1 - of)
    ends = (pairing.image_ends, pairing.mask_ends)[of]
    beside = {path for paths in further.values() for path in paths}
    candidates = sum(
        ends.strip(name) is not None and path not in beside
        for named in group.files.values()
        for name, path in named.items()
    )
    return candidates - len({pair[of] for pair in pairing.pairs.values()})


def _no_masks_error(root: Path, named: Pairing | None, count: int) -> DsegError:
    """Return the error for a folder in which no masks were found."""
    if named is not None:
        mask = next(iter(named.pairs.values()))[1]
        return _many_error(mask, count_values(mask))
    return DsegError(
        f"{root} holds {counted(count, 'image')}, but no masks that correspond to them by their "
        "names.",
        hint="put images into images/ and masks into masks/, with equal names (a.jpg and a.png); "
        "for predictions only, no masks are needed: dseg infer.",
    )


def _many_error(mask: Path, values: Values) -> DsegError:
    """Return the error for masks that hold more values than classes can be."""
    what = "values" if values.kind == "ids" else "colours"
    problem = f"The masks hold {len(values.pixels):,} different {what}, for example {mask}."
    if mask.suffix.lower() in (".jpg", ".jpeg"):
        problem = f"The masks are JPEG files, for example {mask}: JPEG changes values."
    return DsegError(
        problem,
        hint="a mask has one value for each class: export them as PNG, without smoothed edges, "
        "and resize by nearest neighbour.",
    )


__all__ = ["Survey", "look_at"]
