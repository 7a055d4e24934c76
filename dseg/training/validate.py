"""Validation: predict whole images at one scale, and score exact counts over the split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dseg.datasets.base import Dataset, Pair
from dseg.device import to_device
from dseg.distributed import Group
from dseg.errors import NotFiniteError
from dseg.evaluation.confusion import class_iou, mean_of_present, pixel_accuracy
from dseg.evaluation.values import Counts
from dseg.labels import IGNORE
from dseg.models import SegModel
from dseg.parallel import map_in_order
from dseg.predict import Pending, Predictor

PRECISION = {None: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


@dataclass(frozen=True, eq=False)
class Validation:
    """Scores of a network on a split.

    Attributes:
        matrix: (K, K) int64, ground truth by prediction.
        class_iou: IoU by class name, 0 to 1; NaN for a class that is absent or that masks cannot
            contain.
        mean_iou: mean of the values of ``class_iou`` that are not NaN.
        pixel_accuracy: fraction of correct pixels, 0 to 1.
        drawn: the first images with truth and prediction, ``(name, pair, prediction)``.
        tiled: number of images predicted in tiles, as they are too large to be predicted whole.
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
    amp: torch.dtype | None = None,
    read: Callable[[int], Pair] | None = None,
    draw: int = 0,
    stopping: Callable[[], bool] = lambda: False,
) -> Validation | None:
    """Score a network on a split, its images sharded over the processes.

    Args:
        model: network; it is left in evaluation mode.
        dataset: the split.
        group: the processes; all of them have to call this.
        device: device of the network.
        amp: precision within the network, None for float32.
        read: returns the pair of an index; by default it is read from its files.
        draw: number of images of this process to return in ``drawn``.
        stopping: asked after each image whether to stop; if so, None is returned.

    Raises:
        NotFiniteError: the network's scores of an image are NaN or infinite, in any process.
        DsegError: an image or mask cannot be read, or does not fit into memory; tiles would give
            another score.
    """
    predictor = Predictor(model, device=device, fall_back=False, precision=PRECISION[amp])
    counts = ConfusionCounts(dataset.space.num_classes, predictor.device)
    drawn: list[tuple[str, Pair, NDArray[np.uint8]]] = []
    indices = group.shard(range(len(dataset)))
    not_finite: NotFiniteError | None = None
    readers = _count_readers(group, predictor.device)
    pairs = map_in_order(read or dataset.read, indices, readers, ahead=readers, wait=True)
    with closing(pairs):
        try:
            for index, (pair, pending) in enumerate(_predict_ahead(predictor, pairs)):
                truth = to_device(torch.from_numpy(pair.train_ids), predictor.device)
                counts.add(truth, pending.train_ids)
                prediction = pending.result().train_ids
                if index < draw:
                    drawn.append((dataset.samples[indices[index]].name, pair, prediction))
                if stopping():
                    return None
        except NotFiniteError as fault:  # raised below in all processes, once all have finished
            not_finite = fault
    faults = [fault for fault in group.gather(not_finite) if fault is not None]
    if faults:
        raise faults[0]
    found = score(group.sum_counts(counts.matrix()), dataset, tuple(drawn))
    return replace(found, tiled=sum(group.gather(predictor.tiled)))


def _count_readers(group: Group, device: torch.device) -> int:
    """Return the number of decoding threads: one if the network needs the cores."""
    return 1 if device.type == "cpu" else group.cores_per_process()


def _predict_ahead(predictor: Predictor, pairs: Iterator[Pair]) -> Iterator[tuple[Pair, Pending]]:
    """Yield each pair with its prediction; on a GPU only after the next one was started."""
    before: tuple[Pair, Pending] | None = None
    for pair in pairs:
        now = pair, predictor.begin(pair.image)
        if predictor.device.type == "cpu":
            yield now
            continue
        if before is not None:
            yield before
        before = now
    if before is not None:
        yield before


def score(
    matrix: Counts,
    dataset: Dataset,
    drawn: tuple[tuple[str, Pair, NDArray[np.uint8]], ...] = (),
) -> Validation:
    """Compute scores from the counts of a whole split, as ``dseg eval`` does.

    Classes that masks of the data set cannot contain are left out of the mean.
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


class ConfusionCounts:
    """Exact counts of ground truth by prediction, on the device of the predictions.

    Args:
        size: number of classes K, at most 255.
        device: device of the predictions; counting on a GPU does not wait for it.

    Attributes:
        on_cpu: True to count with NumPy.
    """

    def __init__(self, size: int, device: torch.device):
        self._size, self.on_cpu = size, device.type == "cpu"
        self._counts = torch.zeros(size * size + 1, dtype=torch.int64, device=device)

    def add(self, truth: Tensor, prediction: Tensor) -> None:
        """Count an image.

        Args:
            truth: (H, W) uint8 train ids on the device, ``IGNORE`` for pixels that are not scored.
            prediction: (H, W) uint8 train ids below K.
        """
        if self.on_cpu:
            found = count_pixels(truth.numpy(), prediction.numpy(), self._size)
            self._counts[:-1] += torch.from_numpy(found.ravel())
            return
        cells = truth.long() * self._size + prediction
        cells = torch.where(truth == IGNORE, self._size**2, cells).flatten()
        self._counts.scatter_add_(0, cells, torch.ones_like(cells))

    def matrix(self) -> Counts:
        """Return the (K, K) counts."""
        counts = self._counts[:-1].view(self._size, self._size)
        matrix: Counts = counts.cpu().numpy().copy()
        return matrix


def count_pixels(truth: NDArray[np.uint8], prediction: NDArray[np.uint8], size: int) -> Counts:
    """Return the (K, K) confusion matrix of an image's scored pixels."""
    cells = truth.astype(np.uint16) * np.uint16(size) + prediction
    cells[truth == IGNORE] = size * size
    counts = np.bincount(cells.ravel(), minlength=size * size + 1)[:-1]
    return counts.reshape(size, size).astype(np.int64)
