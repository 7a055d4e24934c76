"""Dataset: images paired with masks, and the meaning of the values in a mask file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dseg.errors import DsegError
from dseg.images import Ids, Pixels, read_channel, read_image, read_mask, read_mask_file
from dseg.labels import IGNORE, Color, LabelSpace

CHANNELS = ("red", "green", "blue")
UNKNOWN = 254  # marks, in a table of mask values, those that the encoding does not define


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """Meaning of the values in a mask file.

    Attributes:
        train_ids: Train id of each allowed mask value, ``IGNORE`` for ignored values.
        allowed: Description of the allowed values for error messages.
        colors: Train id of each colour if masks are colour images, None for masks of ids.
        channel: Position in ``CHANNELS`` of the channel that holds the ids in colour files of 8 or
            16 bits, as in SYNTHIA; None for files of one channel.
        other: Train id of all other values or colours: ``UNKNOWN`` to refuse them, or ``IGNORE``.
    """

    train_ids: Mapping[int, int]
    allowed: str
    colors: Mapping[Color, int] | None = None
    channel: int | None = None
    other: int = UNKNOWN

    def lookup(self) -> Pixels:
        """Return the train id of each value, (256,) uint8; ``other`` for undefined values."""
        table = np.full(256, self.other, np.uint8)
        for value, train_id in self.train_ids.items():
            table[value] = train_id
        return table

    def digest(self) -> bytes:
        """Return an 8-byte hash of what values and colours mean."""
        values: tuple[object, ...] = (
            tuple(sorted(self.train_ids.items())),
            tuple(sorted((self.colors or {}).items())),
        )
        more: tuple[object, ...] = () if self.channel is None else (self.channel,)
        more += () if self.other == UNKNOWN else (("other", self.other),)
        return _digest_values(*values, *more)

    @property
    def total(self) -> bool:
        """True if every value has a meaning, so that lossy compression leaves no unknown ones."""
        return self.other != UNKNOWN or len(self.train_ids) == 256

    def map_train_ids(self, table: Sequence[int]) -> Encoding:
        """Return this encoding with its train ids mapped onto other classes.

        Args:
            table: New train id for each train id, ``IGNORE`` for a class to ignore.
        """
        onto = {**dict(enumerate(table)), IGNORE: IGNORE}
        colors = self.colors and {color: onto[old] for color, old in self.colors.items()}
        train_ids = {value: onto[old] for value, old in self.train_ids.items()}
        return replace(self, train_ids=train_ids, colors=colors)

    def classes(self) -> frozenset[int]:
        """Return the train ids that masks can hold, without ``IGNORE``."""
        known = self.train_ids if self.colors is None else self.colors
        return frozenset(known.values()) - {IGNORE}


@cache
def _digest_values(*values: object) -> bytes:
    return hashlib.blake2b(repr(values).encode(), digest_size=8).digest()


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One image file with its mask file.

    Attributes:
        name: Name that is unique within the data set, without suffix; ``/`` separates folders.
        image: Path of the image.
        mask: Path of the mask, None in a split without public labels.
        encoding: Meaning of the mask values.
    """

    name: str
    image: Path
    mask: Path | None
    encoding: Encoding = field(repr=False)


class Pair(NamedTuple):
    """A decoded sample: RGB image, (H, W, 3) uint8, and train ids, (H, W) uint8."""

    image: Pixels
    train_ids: Pixels


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One split of a data set, or several of them joined.

    Attributes:
        name: Name of the data set as in ``--dataset``; joined names are separated by ``+``.
        split: Name of the split.
        space: Label space of the train ids.
        samples: Samples sorted by name.
        classes: Train ids that the masks can contain. If they are fewer than the classes of
            ``space``, means are taken over these only.
        note: What the user should know of the split, empty for nothing.
    """

    name: str
    split: str
    space: LabelSpace
    samples: tuple[Sample, ...]
    classes: frozenset[int]
    note: str = ""

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, index: int) -> Pair:
        """Decode a sample.

        Raises:
            DsegError: A file is missing or broken, the sizes of image and mask differ, or a mask
                value is not allowed.
        """
        return read_pair(self.samples[index])


def read_pair(sample: Sample) -> Pair:
    """Decode an image and its mask's train ids; see ``Dataset.read``."""
    if sample.mask is None:
        raise DsegError(
            f"{sample.image} has no mask.", hint="train and validate on labelled splits."
        )
    image = read_image(sample.image)
    train_ids = read_train_ids(sample.mask, sample.encoding, accept_lossy=True)
    if train_ids.shape != image.shape[:2]:
        raise DsegError(
            f"{sample.mask} has {train_ids.shape[1]}x{train_ids.shape[0]} pixels, its image "
            f"{sample.image} {image.shape[1]}x{image.shape[0]}.",
            hint="resize masks to the size of their images with nearest-neighbour interpolation.",
        )
    return Pair(image, train_ids)


def read_train_ids(path: Path, encoding: Encoding, *, accept_lossy: bool = False) -> Pixels:
    """Read a mask as train ids, (H, W) uint8.

    If colours are expected, a one-channel file is read as shades of grey: PNG optimisers store
    images with only grey colours in that form.

    Args:
        path: Path of the mask.
        encoding: Meaning of the mask values.
        accept_lossy: Whether to read files with lossy compression.

    Raises:
        DsegError: The file is unreadable, has ids where colours are expected or vice versa, or
            has a value that the encoding does not define.
    """
    if encoding.colors is not None:
        return _from_colors(path, encoding, accept_lossy)
    if encoding.channel is None:
        values = read_mask(path, accept_lossy=accept_lossy)
    else:
        values = read_channel(path, encoding.channel, accept_lossy=accept_lossy)
    wrong = (values < 0) | (values > 255)
    if wrong.any():
        if encoding.other == UNKNOWN:
            raise _unknown(path, values, wrong, encoding)
        return np.where(wrong, encoding.other, encoding.lookup()[values % 256]).astype(np.uint8)
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
            hint="remove mask_colors from the class file.",
        )
    values = mask.colors()
    packed = values.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    train_ids = np.full(packed.shape, encoding.other, np.uint8)
    for (red, green, blue), train_id in encoding.colors.items():
        train_ids[packed == (red << 16 | green << 8 | blue)] = train_id
    wrong = train_ids == UNKNOWN
    if wrong.any():
        first = tuple(int(channel) for channel in values[wrong][0])
        raise DsegError(
            f"{path} holds the colour {first} ({int(wrong.sum()):,} pixels of unknown colours).",
            hint="list every colour in the class file; for masks of ids, remove mask_colors.",
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
        hint="check the masks with dseg check-data, or choose the matching --dataset.",
    )


def join_datasets(parts: Sequence[Dataset]) -> Dataset:
    """Join data sets of one label space; prefix the sample names with the data set's name.

    Raises:
        DsegError: The classes of the data sets differ.
    """
    if len(parts) == 1:
        return parts[0]
    spaces = {part.space.names for part in parts}
    if len(spaces) > 1:
        named = " and ".join(f"{part.name} ({part.space.name})" for part in parts)
        raise DsegError(
            f"{named} have different classes.",
            hint="map them to common classes with --label-space, for example cityscapes.",
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
        note=" ".join(dict.fromkeys(part.note for part in parts if part.note)),
    )


__all__ = [
    "CHANNELS",
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
