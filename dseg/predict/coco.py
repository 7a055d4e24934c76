"""The COCO format: the masks of classes as compressed run lengths, in one JSON file of a run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dseg.errors import DsegError
from dseg.images import Pixels
from dseg.jsonio import read_object
from dseg.labels import LabelSpace

BEGINNING = '{"info": {"description": "masks of dseg"}'  # of the file
GROUPS = 7  # of 5 bits, for a run of at most 2**34 pixels


def compress_counts(counts: NDArray[np.int64]) -> str:
    """Return run lengths as text, as the COCO API stores them.

    From the fourth on, a length is stored as the difference from the last but one. Each number is
    cut into groups of 5 bits, the lowest first, until the rest is the sign only. A group is one
    character: bit 5 is set if another follows, and 48 is added.

    Args:
        counts: lengths in column-major order, of pixels outside and inside in turn.
    """
    values = counts.astype(np.int64)
    values[3:] -= counts[1:-2]
    groups = (values[:, None] >> (5 * np.arange(GROUPS))) & 31
    rest = values[:, None] >> (5 * np.arange(1, GROUPS + 1))
    negative = (groups & 16).astype(bool)
    last = np.where(negative, rest == -1, rest == 0)
    ends = last.argmax(axis=1)
    kept = np.arange(GROUPS) <= ends[:, None]
    more = np.arange(GROUPS) < ends[:, None]
    return bytes((groups + 32 * more + 48)[kept].astype(np.uint8)).decode("ascii")


def encode_classes(train_ids: Pixels, num_classes: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the train id of each class of a mask, and its run lengths, area and bounding box.

    Args:
        train_ids: (H, W) uint8; values from ``num_classes`` on are left out.
    """
    height, width = train_ids.shape
    flat = np.ascontiguousarray(train_ids.T).reshape(-1)
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    ends = np.concatenate([starts[1:], [flat.size]])
    classes = flat[starts]
    for train_id in np.unique(classes).tolist():
        if train_id >= num_classes:
            continue
        ours = np.flatnonzero(classes == train_id)
        first, last = starts[ours], ends[ours] - 1
        edges = np.zeros(2 * len(ours) + 1, np.int64)
        edges[1::2], edges[2::2] = first, last + 1
        counts = np.diff(edges)
        if edges[-1] < flat.size:
            counts = np.append(counts, flat.size - edges[-1])
        yield (
            train_id,
            {
                "segmentation": {"size": [height, width], "counts": compress_counts(counts)},
                "area": int((last - first + 1).sum()),
                "bbox": _find_box(first, last, height),
                "iscrowd": 0,
            },
        )


def _find_box(first: NDArray[np.int64], last: NDArray[np.int64], height: int) -> list[int]:
    """Return left, top, width and height of the pixels of runs, down one column after another."""
    left, right = int(first[0]) // height, int(last[-1]) // height
    if (first // height != last // height).any():  # from the lower edge on to the upper one
        return [left, 0, right - left + 1, height]
    top, bottom = int((first % height).min()), int((last % height).max())
    return [left, top, right - left + 1, bottom - top + 1]


def describe_image(name: str, train_ids: Pixels, space: LabelSpace) -> dict[str, Any]:
    """Return an image and the annotations of its classes, without their numbers in a file."""
    height, width = train_ids.shape
    annotations = [
        {"category_id": space.label_ids[train_id], **facts}
        for train_id, facts in encode_classes(train_ids, space.num_classes)
    ]
    image = {"file_name": name, "width": width, "height": height}
    return {"image": image, "annotations": annotations}


def join(parts: Iterable[Path], space: LabelSpace, target: Path) -> None:
    """Write the descriptions of images as one file that the COCO API reads.

    Args:
        parts: JSON files of ``describe_image``; each is read twice, and one is held at a time.
        space: the categories, numbered by their label ids.
        target: the file.
    """
    parts = list(parts)
    categories = [
        {"id": label_id, "name": name}
        for label_id, name in zip(space.label_ids, space.names, strict=True)
    ]
    with target.open("w", encoding="utf-8", newline="\n") as file:
        file.write(f'{BEGINNING},\n"categories": {_line(categories)},\n"images": [')
        for index, part in enumerate(parts):
            image = {"id": index + 1, **read_part(part, "image")[0]}
            file.write(f"{',' * (index > 0)}\n{_line(image)}")
        file.write('\n],\n"annotations": [')
        number = 0
        for index, part in enumerate(parts):
            for annotation in read_part(part, "annotations")[0]:
                number += 1
                numbered = {"id": number, "image_id": index + 1, **annotation}
                file.write(f"{',' * (number > 1)}\n{_line(numbered)}")
        file.write("\n]}\n")


def _line(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def read_part(part: Path, *keys: str) -> Any:
    """Read what this run or an earlier one wrote of an image: the values of the keys.

    Raises:
        DsegError: the file is damaged.
    """
    try:
        content = read_object(part)
        return [content[key] for key in keys]
    except (OSError, ValueError, KeyError) as fault:
        raise DsegError(
            f"{part} is damaged ({fault}).", hint="remove it, and run again."
        ) from fault
