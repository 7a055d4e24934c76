"""Find the files of a data set's splits on disk, without decoding them."""

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
WHOLE = "all"  # name of the split with all images of a folder without splits
LOOKED_AT_MOST = 2000  # because the folder in question can be any folder, however large


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Files of one split.

    Attributes:
        samples: Images with their masks, sorted by name.
        unlabelled: Images without a mask in a labelled split.
        orphans: Masks without an image.
    """

    samples: tuple[Sample, ...]
    unlabelled: tuple[Path, ...] = ()
    orphans: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DatasetTree:
    """Contents of a data set's folder.

    Attributes:
        space: Label space of the masks.
        splits: Names of the splits that exist.
        listing: Function that returns the files of a split.
        by_name: Whether its classes can be mapped onto another label space by their names.
        note: What the user should know of the splits, empty for nothing.
        advice: Hint for a split that does not exist, empty for the usual one.
    """

    space: LabelSpace
    splits: tuple[str, ...]
    listing: Callable[[str], Listing]
    by_name: bool = False
    note: str = ""
    advice: str = ""


def walk_images(
    folder: Path, ending: str = "", suffixes: tuple[str, ...] = (), beginning: str = ""
) -> dict[str, Path]:
    """Find the image files in a folder at any depth; follow links and skip hidden files.

    Args:
        folder: Folder to search; it need not exist.
        ending: Required end of file names before the suffix; other files are skipped.
        suffixes: Suffixes of image files, compared without case; empty for all that are read.
        beginning: Required beginning of file names; other files are skipped.

    Returns:
        The sorted files by their path relative to the folder, without ``beginning``, ``ending``
        and suffix.

    Raises:
        DsegError: Two files differ in their suffix only.
    """
    found: dict[str, Path] = {}
    suffixes = suffixes or IMAGE_SUFFIXES
    for path in walk_files(folder):
        if path.suffix.lower() not in suffixes or not path.stem.endswith(ending):
            continue
        if not path.stem.removesuffix(ending).startswith(beginning):
            continue
        name = path.stem.removesuffix(ending).removeprefix(beginning)
        key = normal_name((path.parent.relative_to(folder) / name).as_posix())
        if key in found:
            raise DsegError(
                f"{found[key]} and {path} have the same name.", hint="keep one file per image."
            )
        found[key] = path
    return dict(sorted(found.items()))


def normal_name(text: str) -> str:
    """Return a name in Unicode form NFC; macOS stores accented letters decomposed."""
    return normalize("NFC", text)


def name_kinds(folder: Path) -> str:
    """Return examples of up to three kinds of files in a folder, for a message.

    Files are of the same kind if their names are equal from the last but one underscore on.
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
    masks_optional: bool = False,
) -> Listing:
    """Pair images with masks of the same name.

    Args:
        images: Image files by name.
        masks: Mask files by name.
        encoding: Encoding of all masks.
        masks_optional: Whether the split can be one without public labels, so that all masks
            are missing.
    """
    if masks_optional and not masks:
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
    """Join the listings of several splits; prefix the sample names with the split's name."""
    return Listing(
        samples=tuple(
            replace(sample, name=f"{split}/{sample.name}")
            for split, part in sorted(parts.items())
            for sample in part.samples
        ),
        unlabelled=tuple(path for part in parts.values() for path in part.unlabelled),
        orphans=tuple(path for part in parts.values() for path in part.orphans),
    )
