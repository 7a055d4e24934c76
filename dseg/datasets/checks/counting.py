"""Count the values of one mask, and find the faults of the mask and its image."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dseg.datasets.base import CHANNELS, UNKNOWN, Encoding, Sample
from dseg.datasets.checks.report import Level, Remark
from dseg.datasets.cityscapes import LABEL_IDS, TRAIN_IDS
from dseg.errors import DsegError
from dseg.images import (
    MaskFile,
    has_equal_channels,
    has_orientation,
    lossy_error,
    read_channel,
    read_image,
    read_mask_file,
    read_size,
)
from dseg.labels import IGNORE, Color

SHOWN_AT_MOST = 3


@dataclass
class Counted:
    """Counts and faults of one sample.

    Attributes:
        size: (height, width) of the image, or of the mask if the image is unreadable; None if
            both are.
        kind: Description of how the mask is stored; empty if there is no mask.
        values: Number of pixels of each value, (256,), for masks of ids.
        outside: Number of pixels whose value does not fit into 8 bits.
        train_ids: Number of pixels of each train id, (256,); ``UNKNOWN`` counts invalid values.
        palette: colours of the ids in a palette file that is read by index.
        exif_rotated: ``image`` or ``mask`` if only this one is rotated or flipped by its EXIF
            orientation, otherwise empty.
        remarks: Faults of the two files.
    """

    size: tuple[int, int] | None = None
    kind: str = ""
    values: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    outside: int = 0
    train_ids: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    palette: dict[int, Color] = field(default_factory=dict)
    exif_rotated: str = ""
    remarks: list[Remark] = field(default_factory=list)


def count_sample(sample: Sample, *, decode_image: bool = False) -> Counted:
    """Count the values of a sample's mask and check its image; return faults as remarks.

    Args:
        sample: Image and mask files.
        decode_image: Whether to decode the image instead of reading only its header.
    """
    counted = Counted()
    mask_size = None
    try:
        counted.size = (
            read_image(sample.image).shape[:2] if decode_image else read_size(sample.image)
        )
    except DsegError as fault:
        _remark(counted, "unreadable image", sample.image, fault.problem, fault.hint)
    if sample.mask is None:
        return counted
    try:
        mask = read_mask_file(sample.mask, accept_lossy=True)
        if counted.size is not None:
            tags = has_orientation(sample.image), has_orientation(sample.mask)
            counted.exif_rotated = {(True, False): "image", (False, True): "mask"}.get(tags, "")
    except DsegError as fault:
        _remark(counted, "unreadable mask", sample.mask, fault.problem, fault.hint)
        return counted
    mask_size = mask.values.shape[:2]
    if counted.size is not None and counted.size != mask_size:
        sizes = [f"{width}x{height}" for height, width in (mask_size, counted.size)]
        _remark(
            counted,
            "size",
            sample.mask,
            f"{sample.mask} has {sizes[0]} pixels, its image {sizes[1]}.",
            "resize masks to the size of their images with nearest-neighbour interpolation.",
        )
    counted.size = counted.size or mask_size
    if mask.loss and len(sample.encoding.train_ids) < 256:
        problem = lossy_error(sample.mask, mask.loss).problem
        hint = "create it again as PNG, or use its values as they are with --no-check."
        if sample.encoding.total:
            hint = "create it again as PNG: values that the class file does not list are ignored."
        level: Level = "warning" if sample.encoding.total else "fault"
        counted.remarks.append(Remark("lossy mask", str(sample.mask), problem, hint, level))
    _count_mask(counted, sample.mask, mask, sample.encoding)
    return counted


def _count_mask(counted: Counted, path: Path, mask: MaskFile, encoding: Encoding) -> None:
    values = mask.values
    if encoding.channel is not None:
        try:
            values = read_channel(path, encoding.channel, accept_lossy=True)
        except DsegError as fault:
            _remark(counted, "channel", path, fault.problem, fault.hint)
            return
        counted.kind = f"{CHANNELS[encoding.channel]} channel of {8 * values.dtype.itemsize} bits"
    elif values.ndim == 3:
        counted.kind = "colours"
        if encoding.colors is None and has_equal_channels(values):
            counted.kind, values = "8 bits in three equal channels", values[..., 0]
    elif mask.palette is not None:
        counted.kind = "palette"
        if encoding.colors is None:
            held = np.flatnonzero(np.bincount(values.ravel(), minlength=256)).tolist()
            colors = mask.palette[held].tolist()
            counted.palette = {v: (r, g, b) for v, (r, g, b) in zip(held, colors, strict=True)}
    else:
        counted.kind = f"{8 * values.dtype.itemsize} bits"
    if encoding.colors is not None:
        _count_colors(counted, path, mask, encoding)
    elif values.ndim == 3:
        colors, numbers = _find_colors(values)
        _remark(
            counted,
            "colours",
            path,
            f"{path} holds colours where ids are expected: {_describe_colors(colors, numbers)}.",
            "convert colours to ids: dseg transfer-labels --help; or use --dataset folder, list "
            "the colours in the class file and set mask_colors = true.",
        )
    else:
        small = values.dtype == np.uint8
        whole = values.ravel() if small else values[(values >= 0) & (values <= 255)]
        counted.values = np.bincount(whole, minlength=256)
        counted.outside = int(values.size - counted.values.sum())
        np.add.at(counted.train_ids, encoding.lookup(), counted.values)
        counted.train_ids[encoding.other] += counted.outside
        _remark_values(counted, path, encoding)


def _remark_values(counted: Counted, path: Path, encoding: Encoding) -> None:
    """Add a remark on the invalid values and the mistake that explains them."""
    if not counted.train_ids[UNKNOWN]:
        return
    held = np.flatnonzero(counted.values)
    wrong = [int(value) for value in held if int(value) not in encoding.train_ids]
    shown = [f"{value} ({counted.values[value]:,} pixels)" for value in wrong[:SHOWN_AT_MOST]]
    if len(wrong) > SHOWN_AT_MOST:
        shown.append(f"{len(wrong) - SHOWN_AT_MOST} more")
    if counted.outside:
        shown.append(f"values above 255 ({counted.outside:,} pixels)")
    kind, hint = _explain(wrong, held.tolist(), counted.outside, encoding)
    what = "value" if len(shown) == 1 else "values"
    problem = f"{path} holds the {what} {', '.join(shown)}; {encoding.allowed}."
    _remark(counted, kind, path, problem, hint)


def _explain(
    wrong: list[int], held: list[int], outside: int, encoding: Encoding
) -> tuple[str, str]:
    """Return the kind of mistake and a hint."""
    if outside:
        return "values", "is it an instance or depth file? Masks hold one class per pixel."
    if encoding == LABEL_IDS and wrong == [IGNORE] and all(value <= 18 for value in held[:-1]):
        return "train ids", (
            "these are train ids in files named as label ids: rename the files to "
            "*_labelTrainIds.png, or convert them with dseg transfer-labels."
        )
    if encoding == TRAIN_IDS and all(19 <= value <= 33 for value in wrong):
        return "label ids", (
            "these are label ids in files named as train ids: rename the files to *_labelIds.png."
        )
    if len(wrong) > len(encoding.train_ids):
        return "blended values", (
            "so many values are due to JPEG or to interpolation: create the masks again as PNG, "
            "resized by nearest neighbour, or choose the matching --dataset."
        )
    return "values", "choose the matching --dataset, or describe the masks in a class file."


def _count_colors(counted: Counted, path: Path, mask: MaskFile, encoding: Encoding) -> None:
    assert encoding.colors is not None
    if mask.values.dtype != np.uint8:
        problem = f"{path} holds ids of more than 8 bits where colours are expected."
        _remark(counted, "ids", path, problem, "remove mask_colors from the class file.")
        return
    colors, numbers = _find_colors(mask.colors())
    wrong = []
    for color, number in zip(colors, numbers, strict=True):
        train_id = encoding.colors.get(color, encoding.other)
        counted.train_ids[train_id] += number
        if train_id == UNKNOWN:
            wrong.append((color, number))
    if not wrong:
        return
    if mask.values.ndim == 2 and mask.palette is None:
        values = ", ".join(str(color[0]) for color, _ in wrong[:SHOWN_AT_MOST])
        problem = f"{path} has one channel, and its values {values} are not the grey of any class."
        hint = "if the masks hold ids, remove mask_colors from the class file."
        _remark(counted, "ids", path, problem, hint)
        return
    blended = len(wrong) > len(encoding.colors)
    unknown = _describe_colors([color for color, _ in wrong], [number for _, number in wrong])
    _remark(
        counted,
        "blended values" if blended else "values",
        path,
        f"{path} holds unknown colours: {unknown}; {encoding.allowed}.",
        "so many colours are due to JPEG or to interpolation: create the masks again as PNG."
        if blended
        else "list each in the class file, as the color of a class or in ignore_colors.",
    )


def _find_colors(
    values: NDArray[np.integer],
) -> tuple[list[tuple[int, int, int]], list[int]]:
    """Return the colours of an (H, W, 3) mask and their pixel counts, most frequent first."""
    packed = values.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    found, counts = np.unique(packed, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    colors = [(int(c) >> 16, int(c) >> 8 & 255, int(c) & 255) for c in found[order]]
    return colors, counts[order].tolist()


def _describe_colors(colors: list[tuple[int, int, int]], numbers: list[int]) -> str:
    shown = [
        f"{color} ({number:,} pixels)"
        for color, number in zip(colors[:SHOWN_AT_MOST], numbers, strict=False)
    ]
    more = len(colors) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _remark(counted: Counted, kind: str, path: Path, problem: str, hint: str) -> None:
    counted.remarks.append(Remark(kind, str(path), problem, hint))
