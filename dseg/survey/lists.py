"""Text files that list the images of each split."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from dseg.datasets.base import Encoding, Sample
from dseg.datasets.listing import WHOLE, Listing
from dseg.datasets.name_lists import choose_listed
from dseg.errors import DsegError
from dseg.files import walk_files
from dseg.survey.groups import SPLIT_WORDS
from dseg.survey.pairs import Pairing

LOOKED_AT_MOST = 100_000  # files
SPLITS = {**SPLIT_WORDS, "trainval": "trainval"}


def find_lists(root: Path, pairing: Pairing) -> tuple[dict[str, tuple[str, int]], list[str]]:
    """Return the list file of each split, below the folder, and the number of its images.

    That is nothing if the images are divided by folders, or no file lists images to train on. Also
    return what is wrong with lists in the same folder.
    """
    if set(pairing.images.files) != {WHOLE}:
        return {}, []
    encoding = Encoding(train_ids={}, allowed="")
    images = Listing(
        samples=tuple(
            Sample(name=name, image=image, mask=mask, encoding=encoding)
            for (_, name), (image, mask) in pairing.pairs.items()
        )
    )
    found: dict[Path, dict[str, tuple[str, int]]] = {}
    faults: dict[Path, list[str]] = {}
    for path in islice(walk_files(root), LOOKED_AT_MOST):
        split = SPLITS.get(path.stem.lower(), "")
        if path.suffix.lower() != ".txt" or not split:
            continue
        try:
            count = len(choose_listed(images, path).samples)
        except DsegError as fault:
            faults.setdefault(path.parent, []).append(fault.problem)
            continue
        if count:
            place = path.relative_to(root).as_posix()
            found.setdefault(path.parent, {}).setdefault(split, (place, count))
    whole = [place for place, lists in found.items() if "train" in lists]
    if not whole:
        return {}, []
    best = max(whole, key=lambda place: len(found[place]))
    return found[best], faults.get(best, [])


def list_pattern(lists: dict[str, tuple[str, int]]) -> str | dict[str, str]:
    """Return the field of a class file: a path with ``{split}``, or a path for each split."""
    places = {split: place for split, (place, _) in lists.items()}
    before = places["train"].rpartition("/")[0]
    pattern = f"{before}/{{split}}.txt" if before else "{split}.txt"
    usual = {split: pattern.replace("{split}", split) for split in places}
    return pattern if usual == places and before else places
