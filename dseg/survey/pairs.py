"""Which group of files are the images, which the masks, and how their names correspond."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dseg.survey.groups import Group, kind_of_name

SAMPLED = 9  # files of a group whose content is looked at
PREFERRED = ("labelids", "labeltrainids", "mask", "label", "gt", "seg", "l")
Key = tuple[str, str]  # split, name


@dataclass(frozen=True)
class Pairing:
    """Images and masks that belong together.

    Attributes:
        images, masks: the groups.
        image_suffix, mask_suffix: endings of the names that are removed before they are compared.
        pairs: image and mask of each name.
    """

    images: Group
    masks: Group
    image_suffix: str
    mask_suffix: str
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
    ending = one.mask_suffix.lower()
    preferred = next((at for at, word in enumerate(PREFERRED) if word in ending), len(PREFERRED))
    return (
        kind_of_name(one.images.pattern) == "photo",
        kind_of_name(one.masks.pattern) == "mask",
        -preferred,
    )


def pair(images: Group, masks: Group) -> Pairing | None:
    """Pair the files of two groups, or of one group, by their names."""
    photos, labels = images.names(), masks.names()
    endings = ["", common_ending(name for _, name in photos)]
    best: tuple[int, str, str] = (0, "", "")
    for image_suffix in dict.fromkeys(endings):
        bare = {(split, name.removesuffix(image_suffix)) for split, name in photos}
        for mask_suffix, count in _count_endings(labels, bare):
            if images is masks and not mask_suffix:
                continue
            rank = (count, image_suffix, mask_suffix)
            better = count > best[0] or (count == best[0] and _prefer(mask_suffix, best[2]))
            if better:
                best = rank
    count, image_suffix, mask_suffix = best
    if not count:
        return None
    files = {
        (split, name.removesuffix(mask_suffix)): path
        for split, named in masks.files.items()
        for name, path in named.items()
        if name.endswith(mask_suffix)
    }
    pairs = {}
    for split, named in images.files.items():
        for name, path in named.items():
            key = (split, name.removesuffix(image_suffix))
            if key in files and files[key] != path:
                pairs[key] = path, files[key]
    if not pairs:  # each file of a group corresponds to itself
        return None
    return Pairing(images, masks, image_suffix, mask_suffix, pairs)


def _prefer(ending: str, other: str) -> bool:
    def rank(text: str) -> int:
        words = re.split(r"[^a-z0-9]+", text.lower())
        return next((at for at, word in enumerate(PREFERRED) if word in words), len(PREFERRED))

    return rank(ending) < rank(other)


def _count_endings(labels: set[Key], photos: set[Key]) -> list[tuple[str, int]]:
    """Return the endings after which names of masks are names of images, with their counts."""
    counts: Counter[str] = Counter()
    for split, name in labels:
        counts[""] += (split, name) in photos
        for found in re.finditer(r"[_\-. ]", name):
            if (split, name[: found.start()]) in photos:
                counts[name[found.start() :]] += 1
    return [(ending, count) for ending, count in counts.most_common() if count]


def common_ending(names: Iterable[str]) -> str:
    """Return the ending that all names share, from one of ``_``, ``-`` and ``.`` on."""
    turned = sorted(name[::-1] for name in names)
    first, last = (turned[0], turned[-1]) if turned else ("", "")
    equal = (at for at, (one, two) in enumerate(zip(first, last, strict=False)) if one != two)
    shared = first[: next(equal, min(len(first), len(last)))][::-1]
    found = re.search(r"[_\-.]", shared)
    return shared[found.start() :] if found else ""
