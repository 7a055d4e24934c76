"""Beginnings and endings of names, by which images and masks differ."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import takewhile

from dseg.survey.groups import kind_of_name

PREFERRED = ("labelids", "labeltrainids", "mask", "label", "gt", "seg", "l")
SEVERAL_AT_MOST = 20  # images of a mask
SEPARATORS = "_-. "
BEGINNINGS = 2  # that are tried, for each group
Key = tuple[str, str]  # split, name


@dataclass(frozen=True)
class Ends:
    """What is removed from names: a beginning of the last part, and one of some endings."""

    prefix: str = ""
    suffixes: tuple[str, ...] = ("",)

    def strip(self, name: str) -> str | None:
        """Return a name without these ends, None if it lacks them."""
        folder, _, last = name.rpartition("/")
        for suffix in self.suffixes:
            if last.startswith(self.prefix) and last.removeprefix(self.prefix).endswith(suffix):
                bare = last[len(self.prefix) : len(last) - len(suffix)]
                return f"{folder}/{bare}" if folder else bare
        return None

    def text(self, extension: str) -> str:
        """Return a pattern of file names, such as ``mask_*.png``."""
        return ", ".join(f"{self.prefix}*{suffix}{extension}" for suffix in self.suffixes)


def shorten(image_ends: Ends, mask_ends: Ends) -> tuple[Ends, Ends]:
    """Return ends without what both prefixes end with: names to come may begin otherwise.

    ``img_0001TP_`` and ``gt_0001TP_`` become ``img_`` and ``gt_``.
    """
    first, second = image_ends.prefix, mask_ends.prefix
    if not first or not second:
        return image_ends, mask_ends
    shared = sum(
        1
        for _ in takewhile(
            lambda pair: pair[0] == pair[1], zip(first[::-1], second[::-1], strict=False)
        )
    )
    kept = shared - 1 if shared and first[-shared] in SEPARATORS else shared
    cut = [
        replace(ends, prefix=ends.prefix[: len(ends.prefix) - kept])
        for ends in (image_ends, mask_ends)
    ]
    return cut[0], cut[1]


def preference(ends: Ends) -> int:
    """Return the position of an ending in ``PREFERRED``, by its words."""
    words = re.split(r"[^a-z0-9]+", f"{ends.prefix}_{ends.suffixes[0]}".lower())
    return next((at for at, word in enumerate(PREFERRED) if word in words), len(PREFERRED))


def prefer(ends: Ends, other: Ends) -> bool:
    """Return True if these ends are rather those of masks of ids than others."""
    return preference(ends) < preference(other)


def count_endings(labels: set[Key], photos: set[Key], prefix: str = "") -> list[tuple[str, int]]:
    """Return the endings after which names of masks are names of images, with their counts."""
    counts: Counter[str] = Counter()
    ends = Ends(prefix)
    for split, full in labels:
        name = ends.strip(full)
        if name is None:
            continue
        counts[""] += (split, name) in photos
        for found in re.finditer(r"[_\-. ]", name):
            if (split, name[: found.start()]) in photos:
                counts[name[found.start() :]] += 1
    order = sorted(counts, key=lambda ending: (-counts[ending], len(ending), ending))
    return [(ending, counts[ending]) for ending in order if counts[ending]]


def find_several(
    photos: set[Key], labels: set[Key], mask_ends: Ends
) -> tuple[int, tuple[str, ...]]:
    """Return how many images there are for all masks if each mask has several, and their endings.

    The endings are those by which names of images are longer than those of masks.
    """
    bare = {(split, name) for split, full in labels if (name := mask_ends.strip(full)) is not None}
    counts: Counter[str] = Counter()
    for split, name in photos:
        if (split, name) in bare:
            counts[""] += 1
            continue
        for found in re.finditer(r"[_\-. ]", name):
            if (split, name[: found.start()]) in bare:
                counts[name[found.start() :]] += 1
                break
    if not 2 <= len(counts) <= SEVERAL_AT_MOST or min(counts.values()) < 2:
        return 0, ()
    return sum(counts.values()), tuple(sorted(counts, key=lambda one: (-len(one), one)))


def find_beginnings(names: Iterable[Key], kind: str) -> list[str]:
    """Return beginnings that names can have in common: none, ``mask_``, ``image``.

    Args:
        names: splits and names.
        kind: "mask" or "photo": words for these are tried first.
    """
    last = [name.rpartition("/")[2] for _, name in names]
    first, final = min(last, default=""), max(last, default="")
    equal = sum(
        1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, final, strict=False))
    )
    shared = first[:equal].rstrip("0123456789")
    words = Counter(
        found[0]
        for name in last
        if (found := re.match(r"[A-Za-z]+[_\-. ]?", name))
        and kind_of_name(found[0].rstrip("_-. "))
        and found[0] != name
    )
    order = sorted(words, key=lambda word: (kind_of_name(word) != kind, -words[word], word))
    common = order[:BEGINNINGS]
    return list(dict.fromkeys(("", *([shared] if len(last) > 1 else []), *common)))


def common_ending(names: Iterable[str]) -> str:
    """Return the ending that all names share, from one of ``_``, ``-`` and ``.`` on."""
    turned = sorted(name[::-1] for name in names)
    first, last = (turned[0], turned[-1]) if turned else ("", "")
    equal = (at for at, (one, two) in enumerate(zip(first, last, strict=False)) if one != two)
    shared = first[: next(equal, min(len(first), len(last)))][::-1]
    found = re.search(r"[_\-.]", shared)
    return shared[found.start() :] if found else ""
