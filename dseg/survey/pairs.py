"""Which group of files are the images, which the masks, and how their names correspond."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from dseg.survey.endings import (
    Ends,
    common_ending,
    count_endings,
    find_beginnings,
    find_several,
    prefer,
    preference,
    shorten,
)
from dseg.survey.groups import Group, kind_of_name

SAMPLED = 9  # files of a group whose content is looked at
ENOUGH = 0.9  # of the masks; names are then not searched for other correspondences
Key = tuple[str, str]  # split, name


@dataclass(frozen=True)
class Pairing:
    """Images and masks that belong together.

    Attributes:
        images, masks: the groups.
        image_ends, mask_ends: beginnings and endings of the names that are removed before they
            are compared; several endings of images if each mask has several images.
        pairs: image and mask of each name.
    """

    images: Group
    masks: Group
    image_ends: Ends
    mask_ends: Ends
    pairs: dict[Key, tuple[Path, Path]]


def find_pairing(groups: list[Group], is_mask: dict[int, bool]) -> Pairing | None:
    """Return the pairing with the most pairs, or None.

    Args:
        groups: groups of files.
        is_mask: whether the content of each group, by its ``id``, can be masks.
    """
    found = [
        pairing
        for images in groups
        for masks in groups
        if is_mask[id(masks)] and _can_be(images, masks, is_mask)
        for pairing in (pair(images, masks),)
        if pairing is not None
    ]
    return max(found, key=lambda one: (len(one.pairs), _rank(one)), default=None)


def _can_be(images: Group, masks: Group, is_mask: dict[int, bool]) -> bool:
    """Return False for groups of which the first is masks by its content and its name."""
    if images is masks:
        return True
    if "mask" in (kind_of_name(images.pattern),) and is_mask[id(images)]:
        return False
    return not (is_mask[id(images)] and kind_of_name(masks.pattern) == "photo")


def _rank(one: Pairing) -> tuple[int, int, int]:
    return (
        kind_of_name(one.images.pattern) == "photo",
        kind_of_name(one.masks.pattern) == "mask",
        -preference(one.mask_ends),
    )


def pair(images: Group, masks: Group) -> Pairing | None:
    """Pair the files of two groups, or of one group, by their names."""
    best = _find_ends(images, masks)
    if best is None:
        return None
    image_ends, mask_ends = best
    files = {
        (split, bare): path
        for split, named in masks.files.items()
        for name, path in named.items()
        if (bare := mask_ends.strip(name)) is not None
    }
    pairs = {}
    for split, named in images.files.items():
        for name, path in named.items():
            bare = image_ends.strip(name)
            key = (split, bare or "")
            if bare is not None and key in files and files[key] != path:
                shown = name if len(image_ends.suffixes) > 1 else bare
                pairs[split, shown] = path, files[key]
    if not pairs:  # each file of a group corresponds to itself
        return None
    return Pairing(images, masks, image_ends, mask_ends, pairs)


def _find_ends(images: Group, masks: Group) -> tuple[Ends, Ends] | None:
    """Return the ends of names after whose removal most files correspond."""
    photos, labels = images.names(), masks.names()
    best: tuple[int, Ends, Ends] = (0, Ends(), Ends())
    enough = ENOUGH * len(labels) / (2 if images is masks else 1)
    for found in _propose(photos, labels, same=images is masks):
        count, image_ends, mask_ends = found
        if best[0] >= enough and image_ends.prefix + mask_ends.prefix:
            break
        if count > best[0] or (count == best[0] and prefer(mask_ends, best[2])):
            best = found
    if images is not masks:  # some images for each mask
        for at in {best[2], Ends()}:
            count, suffixes = find_several(photos, labels, at)
            if count > best[0]:
                best = count, Ends("", suffixes), at
    return shorten(*best[1:]) if best[0] else None


def _propose(photos: set[Key], labels: set[Key], *, same: bool) -> Iterator[tuple[int, Ends, Ends]]:
    """Yield numbers of corresponding files and the ends that are removed from their names."""
    endings = dict.fromkeys(("", common_ending(name for _, name in photos)))
    for first, second in product(find_beginnings(photos, "photo"), find_beginnings(labels, "mask")):
        for ending in endings:
            image_ends = Ends(first, (ending,))
            bare = {
                (split, short)
                for split, name in photos
                if (short := image_ends.strip(name)) is not None
            }
            for mask_ending, count in count_endings(labels, bare, second):
                mask_ends = Ends(second, (mask_ending,))
                if not same or mask_ends not in (Ends(), image_ends):
                    yield count, image_ends, mask_ends


__all__ = ["SAMPLED", "Ends", "Key", "Pairing", "find_pairing", "pair"]
