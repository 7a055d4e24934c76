"""Tree: the files of a data set on disk, split by split, before any is decoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from unicodedata import normalize

from dseg.datasets.base import Encoding, Sample
from dseg.errors import DsegError
from dseg.files import walk_files
from dseg.images import IMAGE_SUFFIXES
from dseg.labels import LabelSpace

NAMED_AT_MOST = 3
LOOKED_AT_MOST = 2000  # files of a folder that may be anybody's


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The files of one split.

    Attributes:
        samples: images with their masks, sorted by name.
        unlabelled: images whose mask is missing, though the split has labels.
        orphans: masks whose image is missing.
    """

    samples: tuple[Sample, ...]
    unlabelled: tuple[Path, ...] = ()
    orphans: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DatasetTree:
    """A data set in its folder.

    Attributes:
        space: the classes that its masks know.
        splits: those that there are.
        listing: gives the files of one of them.
        by_name: whether its classes may be mapped onto others of equal names.
    """

    space: LabelSpace
    splits: tuple[str, ...]
    listing: Callable[[str], Listing]
    by_name: bool = False


def walk_images(
    folder: Path, ending: str = "", suffixes: tuple[str, ...] = IMAGE_SUFFIXES
) -> dict[str, Path]:
    """Find the image files below a folder, at any depth and through links, without hidden ones.

    Args:
        folder: need not exist.
        ending: what names end with before the suffix; other files are left out.
        suffixes: of image files, in any case.

    Returns:
        The files by their path below the folder, without ``ending`` and suffix, sorted.

    Raises:
        DsegError: two files differ in their suffix only.
    """
    found: dict[str, Path] = {}
    for path in walk_files(folder):
        if path.suffix.lower() not in suffixes or not path.stem.endswith(ending):
            continue
        below = path.relative_to(folder).with_suffix("").as_posix()
        key = normal_name(below.removesuffix(ending))
        if key in found:
            raise DsegError(
                f"{found[key]} and {path} have the same name.", hint="keep one file an image."
            )
        found[key] = path
    return dict(sorted(found.items()))


def normal_name(text: str) -> str:
    """Return a name in one Unicode form: macOS takes letters and their accents apart."""
    return normalize("NFC", text)


def name_kinds(folder: Path) -> str:
    """Return an example of each kind of file below a folder, for a message; three at most.

    Files are of one kind if their names end alike, from the last but one underscore on.
    """
    kinds: dict[str, str] = {}
    for path in islice(walk_files(folder), LOOKED_AT_MOST):
        ending = "_".join(path.name.split("_")[-2:]) if "_" in path.name else path.suffix
        kinds.setdefault(ending, path.relative_to(folder).as_posix())
    names = list(kinds.values())
    more = ", ..." if len(names) > NAMED_AT_MOST else ""
    return (", ".join(names[:NAMED_AT_MOST]) + more) or "no file"


def pair_files(
    images: Mapping[str, Path],
    masks: Mapping[str, Path],
    encoding: Encoding,
    *,
    labels_may_lack: bool = False,
) -> Listing:
    """Pair images with the masks of the same key.

    Args:
        images: files by name.
        masks: files by name.
        encoding: of all masks.
        labels_may_lack: whether a split without any mask is a split without public labels.
    """
    if labels_may_lack and not masks:
        bare = (_sample(name, image, None, encoding) for name, image in images.items())
        return Listing(samples=tuple(bare))
    return Listing(
        samples=tuple(
            _sample(name, image, masks[name], encoding)
            for name, image in sorted(images.items())
            if name in masks
        ),
        unlabelled=tuple(image for name, image in images.items() if name not in masks),
        orphans=tuple(mask for name, mask in masks.items() if name not in images),
    )


def _sample(name: str, image: Path, mask: Path | None, encoding: Encoding) -> Sample:
    return Sample(name=name, image=image, mask=mask, encoding=encoding)


def join_listings(parts: Mapping[str, Listing]) -> Listing:
    """Join the listings of several splits; names get their split's in front."""
    return Listing(
        samples=tuple(
            replace(sample, name=f"{split}/{sample.name}")
            for split, part in sorted(parts.items())
            for sample in part.samples
        ),
        unlabelled=tuple(path for part in parts.values() for path in part.unlabelled),
        orphans=tuple(path for part in parts.values() for path in part.orphans),
    )
