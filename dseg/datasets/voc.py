"""PASCAL VOC 2012, and its training set augmented with SBD (Hariharan et al., ICCV 2011)."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from dseg.datasets.base import Encoding, Sample
from dseg.datasets.layouts import find_voc_home
from dseg.datasets.listing import DatasetTree, Listing
from dseg.datasets.lists import find_below, read_lines
from dseg.errors import DsegError
from dseg.images import IMAGE_SUFFIXES
from dseg.labels import IGNORE, LABEL_SPACES

SPACE = LABEL_SPACES["voc"]
ENCODING = Encoding(
    train_ids={**{value: value for value in range(21)}, IGNORE: IGNORE},
    allowed="VOC's classes are 0 to 20, and 255 is ignored",
)
LISTS = {
    "train": ("train.txt",),
    "val": ("val.txt",),
    "trainval": ("trainval.txt",),
    "trainaug": ("trainaug.txt", "train_aug.txt"),
    "test": ("test.txt",),
}
IMAGES = "JPEGImages"
MASKS = "SegmentationClass"
AUGMENTED = f"{MASKS}Aug"


def open_voc(root: Path) -> DatasetTree:
    """Describe a VOC 2012 folder; ``root`` is VOC2012 or one of the two folders above it."""
    home = find_voc_home(root)
    assert home is not None  # the caller has checked the layout
    lists = {
        split: home / "ImageSets" / "Segmentation" / name
        for split, names in LISTS.items()
        for name in names[::-1]
        if (home / "ImageSets" / "Segmentation" / name).is_file()
    }
    splits = tuple(split for split in LISTS if split in lists)
    return DatasetTree(
        space=SPACE, splits=splits, listing=lambda split: _list_split(home, split, lists[split])
    )


def _list_split(home: Path, split: str, listed: Path) -> Listing:
    """Read a list file with an id, or an image and its mask, per line."""
    folders = (AUGMENTED, MASKS) if split == "trainaug" else (MASKS,)
    found: dict[str, tuple[Path, Path | None]] = {}
    for number, words in read_lines(listed):
        image, mask = _find_pair(home, words, folders)
        if image is None or image.stem in found:
            problem = "is listed twice" if image else f"has no image in {home / IMAGES}"
            raise DsegError(
                f"{listed}, line {number}: {words[0]} {problem}.",
                hint="write one id, or one image and its mask, per line.",
            )
        found[image.stem] = image, mask
    hidden = split == "test" and not any(mask for _, mask in found.values())
    return Listing(
        samples=tuple(
            Sample(name=name, image=image, mask=mask, encoding=ENCODING)
            for name, (image, mask) in sorted(found.items())
            if mask is not None or hidden
        ),
        unlabelled=tuple(image for image, mask in found.values() if mask is None and not hidden),
    )


def _find_pair(
    home: Path, words: list[str], folders: tuple[str, ...]
) -> tuple[Path | None, Path | None]:
    """Return the image and the mask of a line, None for a missing file."""
    if len(words) > 1:
        return find_below(home, words[0]), find_below(home, words[1])
    image = _find_image(home, words[0])
    if image is None:
        return None, None
    masks = (find_below(home, f"{folder}/{image.stem}.png") for folder in folders)
    return image, next((mask for mask in masks if mask), None)


def _find_image(home: Path, word: str) -> Path | None:
    """Return the image of an id, which can have a suffix and a folder, or None.

    Without a suffix, JPEG is tried first, the format of VOC's images.
    """
    suffix = PurePosixPath(word).suffix
    named = (suffix,) if suffix.lower() in IMAGE_SUFFIXES else ()
    stem = word.removesuffix(suffix) if named else word
    for other in dict.fromkeys((*named, ".jpg", *IMAGE_SUFFIXES)):
        for spelt in dict.fromkeys((other, other.lower(), other.upper())):
            image = find_below(home, f"{IMAGES}/{stem}{spelt}")
            if image is not None:
                return image
    return None
