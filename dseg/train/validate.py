"""Validation: whole images at one scale, exact counts over the whole split."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dseg.datasets.base import Dataset, Pair
from dseg.distributed import Group
from dseg.errors import NotFiniteError
from dseg.evaluate.confusion import class_iou, mean_of_present, pixel_accuracy
from dseg.labels import IGNORE
from dseg.models import SegModel
from dseg.predict import Predictor

Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Validation:
    """Scores of a network on a split.

    Attributes:
        matrix: (K, K) int64, ground truth by prediction.
        class_iou: by class name, 0 to 1; NaN for a class that is absent or unknown to the masks.
        mean_iou: mean of those that are not NaN.
        pixel_accuracy: 0 to 1.
        drawn: the first images with truth and prediction, ``(name, pair, prediction)``.
        tiled: images predicted in tiles, as they are too large for the network at once.
    """

    matrix: Counts
    class_iou: dict[str, float]
    mean_iou: float
    pixel_accuracy: float
    drawn: tuple[tuple[str, Pair, NDArray[np.uint8]], ...]
    tiled: int = 0


def validate(
    model: SegModel,
    dataset: Dataset,
    group: Group,
    *,
    device: str,
    read: Callable[[int], Pair] | None = None,
    draw: int = 0,
    stopping: Callable[[], bool] = lambda: False,
) -> Validation | None:
    """Score a network on a split, its images sharded over the processes.

    Args:
        model: left in evaluation mode.
        dataset: the split.
        group: the processes; every one of them has to call.
        device: where the network is.
        read: gives an image's pair; by default it is read from its files.
        draw: images of the main process that are kept to be drawn.
        stopping: asked after each image whether to give up, in which case None is returned.

    Raises:
        NotFiniteError: the network's scores of an image are NaN or infinite, in any process.
        DsegError: an image or mask cannot be read, or memory is too short for an image: tiles in
            its place would give another score.
    """
    predictor = Predictor(model, device=device, fall_back=False)
    size = dataset.space.num_classes
    matrix = np.zeros((size, size), np.int64)
    drawn: list[tuple[str, Pair, NDArray[np.uint8]]] = []
    indices = group.shard(range(len(dataset)))
    broken: NotFiniteError | None = None
    with ThreadPoolExecutor(1) as ahead:  # decodes while the network computes
        waiting = [ahead.submit(read or dataset.read, index) for index in indices[:2]]
        for place, index in enumerate(indices):
            pair = waiting.pop(0).result()
            if place + 2 < len(indices):
                waiting.append(ahead.submit(read or dataset.read, indices[place + 2]))
            try:
                prediction = predictor(pair.image)
            except NotFiniteError as fault:  # told to the others once they are done, too
                broken = fault
                break
            matrix += count_pixels(pair.train_ids, prediction, size)
            if place < draw:
                drawn.append((dataset.samples[index].name, pair, prediction))
            if stopping():
                return None
    faults = [fault for fault in group.gather(broken) if fault is not None]
    if faults:
        raise faults[0]
    found = score(group.sum_counts(matrix), dataset, tuple(drawn))
    return replace(found, tiled=sum(group.gather(predictor.tiled)))


def count_pixels(truth: NDArray[np.uint8], prediction: NDArray[np.uint8], size: int) -> Counts:
    """Return the (K, K) confusion of an image's scored pixels."""
    scored = truth != IGNORE
    pairs = truth[scored].astype(np.intp) * size + prediction[scored]
    return np.bincount(pairs, minlength=size * size).reshape(size, size).astype(np.int64)


def score(
    matrix: Counts,
    dataset: Dataset,
    drawn: tuple[tuple[str, Pair, NDArray[np.uint8]], ...] = (),
) -> Validation:
    """Turn the counts of a whole split into scores, by the code of ``dseg eval``.

    Classes that no mask of the data set can hold are left out of the mean.
    """
    iou = [
        value if train_id in dataset.classes else float("nan")
        for train_id, value in enumerate(class_iou(matrix))
    ]
    return Validation(
        matrix=matrix,
        class_iou=dict(zip(dataset.space.names, iou, strict=True)),
        mean_iou=mean_of_present(iou),
        pixel_accuracy=pixel_accuracy(matrix),
        drawn=drawn,
    )
