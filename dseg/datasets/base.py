"""Dataset: images paired with masks, and what the values of a mask file mean."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dseg.errors import DsegError
from dseg.images import Ids, Pixels, read_image, read_mask, read_mask_file
from dseg.labels import IGNORE, Color, LabelSpace

UNKNOWN = 254  # in a table of values: a value that no mask of this data set may hold


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """What a mask file's values mean.

    Attributes:
        train_ids: the train id of each value that may occur, ``IGNORE`` for what is not trained.
        allowed: those values in words, for messages.
        colors: the train id of each colour, where masks are colour images; None for masks of ids.
    """

    train_ids: Mapping[int, int]
    allowed: str
    colors: Mapping[Color, int] | None = None

    def lookup(self) -> Pixels:
        """Return (256,) uint8: the train id of each value, ``UNKNOWN`` for a wrong one."""
        table = np.full(256, UNKNOWN, np.uint8)
        for value, train_id in self.train_ids.items():
            table[value] = train_id
        return table

    def digest(self) -> bytes:
        """Return 8 bytes that differ where values or colours mean something else."""
        return _digest_values(
            tuple(sorted(self.train_ids.items())), tuple(sorted((self.colors or {}).items()))
        )

    def map_train_ids(self, table: Sequence[int]) -> Encoding:
        """Return the encoding for other classes.

        Args:
            table: the new train id of each train id, ``IGNORE`` for one that is lost.
        """
        onto = {**dict(enumerate(table)), IGNORE: IGNORE}
        colors = self.colors and {color: onto[old] for color, old in self.colors.items()}
        train_ids = {value: onto[old] for value, old in self.train_ids.items()}
        return Encoding(train_ids=train_ids, allowed=self.allowed, colors=colors)

    def classes(self) -> frozenset[int]:
        """Return the train ids that masks can hold, without ``IGNORE``."""
        known = self.train_ids if self.colors is None else self.colors
        return frozenset(known.values()) - {IGNORE}


@cache
def _digest_values(*values: object) -> bytes:
    return hashlib.blake2b(repr(values).encode(), digest_size=8).digest()


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One image with its mask.

    Attributes:
        name: unique within the data set, with ``/`` and without suffix.
        image: its file.
        mask: its mask's file; None in a split without public labels.
        encoding: what the mask's values mean.
    """

    name: str
    image: Path
    mask: Path | None
    encoding: Encoding = field(repr=False)


class Pair(NamedTuple):
    """A decoded sample: (H, W, 3) uint8 RGB and (H, W) uint8 train ids."""

    image: Pixels
    train_ids: Pixels


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One split of one data set, or several joined.

    Attributes:
        name: as ``--dataset`` spells it; joined ones with ``+``.
        split: its name.
        space: the classes that the train ids count.
        samples: in a fixed order, by name.
        classes: train ids that masks can hold; where masks know fewer classes than ``space``,
            the others are left out of means.
    """

    name: str
    split: str
    space: LabelSpace
    samples: tuple[Sample, ...]
    classes: frozenset[int]

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, index: int) -> Pair:
        """Decode a sample.

        Raises:
            DsegError: a file is missing or broken, the sizes differ, or a value is not allowed.
        """
        return read_pair(self.samples[index])


def read_pair(sample: Sample) -> Pair:
    """Decode an image and its mask's train ids; see ``Dataset.read``."""
    if sample.mask is None:
        raise DsegError(
            f"{sample.image} has no mask.", hint="train and validate on splits with labels."
        )
    image = read_image(sample.image)
    train_ids = read_train_ids(sample.mask, sample.encoding, accept_lossy=True)
    if train_ids.shape != image.shape[:2]:
        raise DsegError(
            f"{sample.mask} has {train_ids.shape[1]}x{train_ids.shape[0]} pixels, its image "
            f"{sample.image} {image.shape[1]}x{image.shape[0]}.",
            hint="make masks of their images' size, without blending values (nearest neighbour).",
        )
    return Pair(image, train_ids)


def read_train_ids(path: Path, encoding: Encoding, *, accept_lossy: bool = False) -> Pixels:
    """Read a mask as train ids, (H, W) uint8.

    Where colours are expected, a file of one channel holds shades of grey: tools that make PNG
    files smaller store colours so.

    Args:
        path: the file.
        encoding: what its values mean.
        accept_lossy: read a file whose compression may have changed its values.

    Raises:
        DsegError: unreadable, ids where colours are expected or the reverse, or a value that the
            encoding does not know.
    """
    if encoding.colors is not None:
        return _from_colors(path, encoding, accept_lossy)
    values = read_mask(path, accept_lossy=accept_lossy)
    wrong = (values < 0) | (values > 255)
    if wrong.any():
        raise _unknown(path, values, wrong, encoding)
    train_ids = encoding.lookup()[values]
    wrong = train_ids == UNKNOWN
    if wrong.any():
        raise _unknown(path, values, wrong, encoding)
    return train_ids


def _from_colors(path: Path, encoding: Encoding, accept_lossy: bool) -> Pixels:
    assert encoding.colors is not None
    mask = read_mask_file(path, accept_lossy=accept_lossy)
    if mask.values.dtype != np.uint8:
        raise DsegError(
            f"{path} holds ids of more than 8 bits, not colours.",
            hint="leave mask_colors out of the class file.",
        )
    values = mask.colors()
    packed = values.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    train_ids = np.full(packed.shape, UNKNOWN, np.uint8)
    for (red, green, blue), train_id in encoding.colors.items():
        train_ids[packed == (red << 16 | green << 8 | blue)] = train_id
    wrong = train_ids == UNKNOWN
    if wrong.any():
        first = tuple(int(channel) for channel in values[wrong][0])
        raise DsegError(
            f"{path} holds the colour {first} ({int(wrong.sum()):,} pixels of unknown colours).",
            hint="name every colour in the class file; for masks of ids, leave mask_colors out.",
        )
    return train_ids


def _unknown(path: Path, values: Ids, wrong: NDArray[np.bool_], encoding: Encoding) -> DsegError:
    numbers, counts = np.unique(values[wrong], return_counts=True)
    shown = ", ".join(
        f"{number} ({count:,} pixels)"
        for number, count in zip(numbers[:3].tolist(), counts[:3].tolist(), strict=True)
    )
    more = f" and {len(numbers) - 3} more values" if len(numbers) > 3 else ""
    return DsegError(
        f"{path} holds the value {shown}{more}; {encoding.allowed}.",
        hint="look at the masks with dseg check-data, or choose the right --dataset.",
    )


def join_datasets(parts: Sequence[Dataset]) -> Dataset:
    """Join data sets of one label space; names get their data set's in front.

    Raises:
        DsegError: their classes differ.
    """
    if len(parts) == 1:
        return parts[0]
    spaces = {part.space.names for part in parts}
    if len(spaces) > 1:
        named = " and ".join(f"{part.name} ({part.space.name})" for part in parts)
        raise DsegError(
            f"{named} have different classes.",
            hint="name the common ones by --label-space, for example cityscapes.",
        )
    samples = tuple(
        Sample(
            name=f"{part.name}{place}/{sample.name}",
            image=sample.image,
            mask=sample.mask,
            encoding=sample.encoding,
        )
        for place, part in enumerate(parts)
        for sample in part.samples
    )
    return Dataset(
        name="+".join(part.name for part in parts),
        split="+".join(dict.fromkeys(part.split for part in parts)),
        space=parts[0].space,
        samples=samples,
        classes=frozenset().union(*(part.classes for part in parts)),
    )


__all__ = [
    "IGNORE",
    "UNKNOWN",
    "Dataset",
    "Encoding",
    "Pair",
    "Sample",
    "join_datasets",
    "read_pair",
    "read_train_ids",
]
