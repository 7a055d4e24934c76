"""Validation: predict whole images at one scale, and score exact counts over the split."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dseg.datasets.base import Dataset, Pair
from dseg.device import record_event, to_device, to_host
from dseg.distributed import Group
from dseg.errors import NotFiniteError
from dseg.evaluation.confusion import class_iou, mean_of_present, pixel_accuracy
from dseg.evaluation.values import Counts
from dseg.labels import IGNORE
from dseg.losses import ImageLoss, SegLoss
from dseg.models import SegModel
from dseg.parallel import Advance, map_in_order
from dseg.predict import Pending, Predictor

PRECISION = {None: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
UNITS = 2.0**40  # losses are summed as integers, which do not round


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
        loss: loss of the whole split, see ``ImageLoss``; None if it was not requested or has no
            labelled pixel, NaN if the scores are not at the image's size.
    """

    matrix: Counts
    class_iou: dict[str, float]
    mean_iou: float
    pixel_accuracy: float
    drawn: tuple[tuple[str, Pair, NDArray[np.uint8]], ...]
    tiled: int = 0
    loss: float | None = None


def validate(
    model: SegModel,
    dataset: Dataset,
    group: Group,
    *,
    device: str,
    amp: torch.dtype | None = None,
    read: Callable[[int], Pair] | None = None,
    draw: int = 0,
    loss: SegLoss | None = None,
    advance: Advance = lambda: None,
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
        loss: loss of the training, to be computed on this split too.
        advance: called after each image of this process.
        stopping: asked after each image whether to stop; if so, None is returned.

    Raises:
        NotFiniteError: the network's scores of an image are NaN or infinite, in any process.
        DsegError: an image or mask cannot be read, or does not fit into memory; tiles would give
            another score.
    """
    predictor = Predictor(model, device=device, fall_back=False, precision=PRECISION[amp])
    counts = ConfusionCounts(dataset.space.num_classes, predictor.device)
    losses = LossSum(loss, predictor)
    drawn: list[tuple[str, Pair, NDArray[np.uint8]]] = []
    indices = group.shard(range(len(dataset)))
    not_finite: NotFiniteError | None = None
    readers = _count_readers(group, predictor.device)
    pairs = map_in_order(read or dataset.read, indices, readers, ahead=readers, wait=True)
    with closing(pairs):
        try:
            for index, started in enumerate(_predict_ahead(predictor, losses, pairs)):
                counts.add(started.truth, started.pending.train_ids)
                prediction = started.pending.result().train_ids
                losses.add(started)
                if index < draw:
                    name = dataset.samples[indices[index]].name
                    drawn.append((name, started.pair, prediction))
                advance()
                if stopping():
                    return None
        except NotFiniteError as fault:  # raised below in all processes, once all have finished
            not_finite = fault
    faults = [fault for fault in group.gather(not_finite) if fault is not None]
    if faults:
        raise faults[0]
    found = score(group.sum_counts(counts.matrix()), dataset, tuple(drawn))
    tiled = sum(group.gather(predictor.tiled))
    return replace(found, tiled=tiled, loss=losses.mean(group))


def _count_readers(group: Group, device: torch.device) -> int:
    """Return the number of decoding threads: one if the network needs the cores."""
    return 1 if device.type == "cpu" else group.cores_per_process()


class _Started(NamedTuple):
    """An image that is being predicted, its mask on the device, and its loss on the host.

    The loss is complete after the event, if there is one.
    """

    pair: Pair
    truth: Tensor
    pending: Pending
    loss: Tensor | None = None
    done: torch.cuda.Event | None = None


def _predict_ahead(
    predictor: Predictor, losses: LossSum, pairs: Iterator[Pair]
) -> Iterator[_Started]:
    """Yield each pair with its prediction; on a GPU only after the next one was started."""
    before: _Started | None = None
    for pair in pairs:
        truth = to_device(torch.from_numpy(pair.train_ids), predictor.device)
        now = losses.begin(pair, truth)
        if predictor.device.type == "cpu":
            yield now
            continue
        if before is not None:
            yield before
        before = now
    if before is not None:
        yield before


class LossSum:
    """Sums the loss of images exactly: the result does not depend on their order.

    Args:
        loss: loss of the training; None to compute no loss.
        predictor: predicts the images.
    """

    def __init__(self, loss: SegLoss | None, predictor: Predictor):
        self._loss, self._predictor = loss, predictor
        self._sums = [0, 0]  # in units of 1 / UNITS
        self._complete = True

    def begin(self, pair: Pair, truth: Tensor) -> _Started:
        """Begin to predict an image and to compute its loss."""
        if self._loss is None:
            return _Started(pair, truth, self._predictor.begin(pair.image))
        fusion = self._predictor.protocol.fusion
        own = ImageLoss(self._loss, truth, probabilities=fusion == "prob")
        self._predictor.on_scores = own.add
        pending = self._predictor.begin(pair.image)
        return _Started(pair, truth, pending, to_host(own.total()), record_event(truth.device))

    def add(self, image: _Started) -> None:
        """Add the loss of an image; wait for the device if it is not complete."""
        if image.done is not None:
            image.done.synchronize()
        for place, value in enumerate([] if image.loss is None else image.loss.tolist()):
            if math.isfinite(value):
                self._sums[place] += round(value * UNITS)
            else:
                self._complete = False

    def mean(self, group: Group) -> float | None:
        """Return the loss of the split; all processes have to call this."""
        sums = group.gather((*self._sums, self._complete))
        if self._loss is None or not any(weight for _, weight, _ in sums):
            return None
        if not all(complete for *_, complete in sums):
            return math.nan
        return sum(loss for loss, *_ in sums) / sum(weight for _, weight, _ in sums)


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
