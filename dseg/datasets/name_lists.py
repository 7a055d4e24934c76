"""Splits by text files that list names of images, as in PASCAL VOC's layout."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from dseg.datasets.base import Sample
from dseg.datasets.listing import WHOLE, Listing, normal_name
from dseg.datasets.lists import folder_below, read_lines
from dseg.errors import DsegError
from dseg.images import IMAGE_SUFFIXES

SPLIT = "{split}"


def find_list_files(root: Path, lists: str | Mapping[str, str], where: Path) -> dict[str, Path]:
    """Return the list file of each split.

    Args:
        root: folder of the data set.
        lists: path below it with ``{split}``, or the path of each split.
        where: path of the class file for error messages.

    Raises:
        DsegError: there is no such file, or a path leaves the folder.
    """
    if not isinstance(lists, str):
        found = {split: folder_below(root, name, where) for split, name in lists.items()}
        for split, path in found.items():
            if not path.is_file():
                raise _missing(where, f"the list {path} of the split {split} does not exist")
        return found
    pattern = folder_below(root, lists, where)
    before, _, after = pattern.name.partition(SPLIT)
    there = sorted(pattern.parent.iterdir()) if pattern.parent.is_dir() else []
    found = {
        path.name[len(before) : len(path.name) - len(after)]: path
        for path in there
        if path.name.startswith(before) and path.name.endswith(after) and path.is_file()
    }
    found = {split: path for split, path in found.items() if split and split != WHOLE}
    if not found:
        raise _missing(where, f"there is no list {pattern}")
    return found


def _missing(where: Path, problem: str) -> DsegError:
    return DsegError(
        f"{where}: {problem}.", hint="write paths relative to the data set's folder in lists."
    )


def choose_listed(listing: Listing, path: Path) -> Listing:
    """Return the images of a listing that a file names, one per line, with or without extension.

    Raises:
        DsegError: the file is unreadable, or names an image that is not there or twice.
    """
    by_name = _index(listing.samples)
    bare = {normal_name(image.stem): image for image in listing.unlabelled}
    chosen: dict[str, Sample] = {}
    unlabelled = []
    for number, words in read_lines(path):
        names = [name for text in (" ".join(words), words[0]) for name in _spellings(text)]
        sample = next((by_name[name] for name in names if name in by_name), None)
        image = next((bare[name] for name in names if name in bare), None)
        if sample is None and image is None:
            raise DsegError(
                f"{path}, line {number}: there is no image {' '.join(words)}.",
                hint="write the name of one image per line, or leave out lists in the class file.",
            )
        if sample is None:
            unlabelled += [image] if image else []
        elif sample.name in chosen:
            raise DsegError(
                f"{path}, line {number}: {sample.name} is listed twice.", hint="keep one."
            )
        else:
            chosen[sample.name] = sample
    samples = tuple(chosen[name] for name in sorted(chosen))
    return replace(listing, samples=samples, unlabelled=tuple(unlabelled), orphans=())


def _index(samples: Iterable[Sample]) -> dict[str, Sample]:
    """Return samples by their name, and by the name of their image where it is unique."""
    found: dict[str, Sample] = {}
    double = set()
    for sample in samples:
        stem = normal_name(sample.image.stem)
        if stem in found:
            double.add(stem)
        found[stem] = sample
    return {name: s for name, s in found.items() if name not in double} | {
        sample.name: sample for sample in samples
    }


def _spellings(text: str) -> list[str]:
    """Return a path without extension, and its last part."""
    path = PurePosixPath(normal_name(text.replace("\\", "/")))
    plain = path.with_suffix("") if path.suffix.lower() in IMAGE_SUFFIXES else path
    return [plain.as_posix(), plain.name]
