"""Instances of Cityscapes: finding their files, counting their pixels, summing for iIoU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dseg.errors import DsegError
from dseg.evaluation.cityscapes.labels import (
    GROUPS,
    INSTANCE_BASE,
    MEAN_PIXELS,
    NAMES,
    NUM_LABELS,
    PREDICTIONS,
    ROWS,
    SCORED,
    WITH_INSTANCES,
)
from dseg.evaluation.confusion import weighted_counts
from dseg.evaluation.matching import first_of
from dseg.evaluation.values import Counts, IdMap, ValueTable
from dseg.images import has_8_bits


def instance_file_of(gt_file: Path) -> Path:
    """Return the path of the instance file beside a ``*_labelIds.png``."""
    return gt_file.with_name(gt_file.name.replace("labelIds", "instanceIds"))


def find_shallow_instances(gt_files: Sequence[Path]) -> list[Path]:
    """Return the instance files whose 8 bits cannot hold an instance's value."""
    return [path for path in map(instance_file_of, gt_files) if has_8_bits(path)]


def refuse_missing_instances(gt_files: Sequence[Path]) -> None:
    """Raise a DsegError if a ground-truth file has no instance file beside it."""
    missing = [path for path in map(instance_file_of, gt_files) if not path.is_file()]
    if missing:
        raise DsegError(
            f"{len(missing)} of {len(gt_files)} ground-truth files have no instance file, which "
            f"iIoU needs; not found: {first_of(missing)}.",
            hint="copy *_gtFine_instanceIds.png beside them, or go without iIoU: --no-instances.",
        )


class InstanceCount(NamedTuple):
    """Pixels of one instance: all, predicted as its label, predicted as its category."""

    label_id: int
    size: int
    hits: int
    category_hits: int


def count_instances(
    values: NDArray[Any],
    prediction: IdMap,
    lengths: Counts,
    table: ValueTable = PREDICTIONS["label"],
) -> tuple[InstanceCount, ...]:
    """Count the pixels of each scored instance, in ascending order of its value.

    Args:
        values: (R,) integers, runs of an instance file, from ``join_runs``.
        prediction: (R,) uint8, the same runs of the prediction file.
        lengths: (R,) pixels in each run.
        table: the label id of each value of the prediction.

    Raises:
        ValueError: a value that is not of a label with instances.
    """
    inside = np.flatnonzero(values > INSTANCE_BASE)
    if not inside.size:
        return ()
    own, pixels = values[inside].astype(np.intp), lengths[inside]
    largest = int(np.max(own))
    if largest >= NUM_LABELS * INSTANCE_BASE:
        raise ValueError(f"instance {largest}, but label ids end at {NUM_LABELS - 1}")
    label_of = own // INSTANCE_BASE
    predicted = table.indices[prediction[inside]]
    same_group = GROUPS[predicted] == GROUPS[label_of]
    sizes = weighted_counts(own, pixels)
    hits = weighted_counts(own, pixels * (predicted == label_of))
    category_hits = weighted_counts(own, pixels * same_group)
    found = []
    for value in np.flatnonzero(sizes):
        label_id = int(value) // INSTANCE_BASE
        if label_id in WITH_INSTANCES:
            numbers = (sizes[value], hits[value], category_hits[value])
            found.append(InstanceCount(label_id, *map(int, numbers)))
        elif label_id in SCORED:
            raise ValueError(f"instance {value}, but {NAMES[label_id]} has no instances")
    return tuple(found)


class WeightedSums:
    """Weighted true positives and false negatives of the classes and categories with iIoU."""

    def __init__(self) -> None:
        self.classes = {label_id: [0.0, 0.0] for label_id in WITH_INSTANCES}
        self.categories = {ROWS[label_id].category: [0.0, 0.0] for label_id in WITH_INSTANCES}

    def add(self, instances: Sequence[InstanceCount]) -> None:
        """Add one image; the last bit of the sums depends on the order of images and instances."""
        for label_id, size, hits, category_hits in instances:
            row = ROWS[label_id]
            weight = MEAN_PIXELS[row.name] / size
            for sums, correct in (
                (self.classes[label_id], hits),
                (self.categories[row.category], category_hits),
            ):
                sums[0] += correct * weight
                sums[1] += (size - correct) * weight
