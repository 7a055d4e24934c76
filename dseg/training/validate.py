"""Validation: whole images at one scale, exact counts over the whole split."""

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

AMP = {None: "off", torch.bfloat16: "bf16", torch.float16: "fp16"}


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
    amp: torch.dtype | None = None,
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
        amp: the precision within the network, None for float32.
        read: gives an image's pair; by default it is read from its files.
        draw: images of the main process that are kept to be drawn.
        stopping: asked after each image whether to give up, in which case None is returned.

    Raises:
        NotFiniteError: the network's scores of an image are NaN or infinite, in any process.
        DsegError: an image or mask cannot be read, or memory is too short for an image: tiles in
            its place would give another score.
    """
    predictor = Predictor(model, device=device, fall_back=False, amp=AMP[amp])
    counts = ConfusionCounts(dataset.space.num_classes, predictor.device)
    drawn: list[tuple[str, Pair, NDArray[np.uint8]]] = []
    indices = group.shard(range(len(dataset)))
    broken: NotFiniteError | None = None
    readers = _count_readers(group, predictor.device)
    pairs = map_in_order(read or dataset.read, indices, readers, ahead=readers, wait=True)
    with closing(pairs):
        try:
            for place, (pair, pending) in enumerate(_predict_ahead(predictor, pairs)):
                truth = to_device(torch.from_numpy(pair.train_ids), predictor.device)
                counts.add(truth, pending.train_ids)
                prediction = pending.result().train_ids
                if place < draw:
                    drawn.append((dataset.samples[indices[place]].name, pair, prediction))
                if stopping():
                    return None
        except NotFiniteError as fault:  # told to the others once they are done, too
            broken = fault
    faults = [fault for fault in group.gather(broken) if fault is not None]
    if faults:
        raise faults[0]
    found = score(group.sum_counts(counts.matrix()), dataset, tuple(drawn))
    return replace(found, tiled=sum(group.gather(predictor.tiled)))


def _count_readers(group: Group, device: torch.device) -> int:
    """Return how many threads decode: one beside a network on the CPU, which needs the cores."""
    return 1 if device.type == "cpu" else group.cores_per_process()


def _predict_ahead(predictor: Predictor, pairs: Iterator[Pair]) -> Iterator[tuple[Pair, Pending]]:
    """Yield each pair once the next image was given to a device that computes by itself."""
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


class ConfusionCounts:
    """Counts of ground truth by prediction, exact, on the device of the predictions.

    Args:
        size: number of classes K, 255 at most.
        device: where predictions are; counting on a GPU does not wait for it.

    Attributes:
        on_cpu: count by the processor's way.
    """

    def __init__(self, size: int, device: torch.device):
        self._size, self.on_cpu = size, device.type == "cpu"
        self._counts = torch.zeros(size * size + 1, dtype=torch.int64, device=device)

    def add(self, truth: Tensor, prediction: Tensor) -> None:
        """Count an image.

        Args:
            truth: (H, W) uint8 train ids on the device, ``IGNORE`` for pixels that do not count.
            prediction: (H, W) uint8 train ids below K.
        """
        if self.on_cpu:
            found = count_pixels(truth.numpy(), prediction.numpy(), self._size)
            self._counts[:-1] += torch.from_numpy(found.ravel())
            return
        places = truth.long() * self._size + prediction
        places = torch.where(truth == IGNORE, self._size**2, places).flatten()
        self._counts.scatter_add_(0, places, torch.ones_like(places))

    def matrix(self) -> Counts:
        """Return the (K, K) counts."""
        counts = self._counts[:-1].view(self._size, self._size)
        matrix: Counts = counts.cpu().numpy().copy()
        return matrix


def count_pixels(truth: NDArray[np.uint8], prediction: NDArray[np.uint8], size: int) -> Counts:
    """Return the (K, K) confusion of an image's scored pixels."""
    places = truth.astype(np.uint16) * np.uint16(size) + prediction
    places[truth == IGNORE] = size * size
    counts = np.bincount(places.ravel(), minlength=size * size + 1)[:-1]
    return counts.reshape(size, size).astype(np.int64)
