"""IoU and accuracy from a confusion matrix alone, for folders of masks and for data sets."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import nan
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dseg.datasets.base import UNKNOWN, Dataset, Encoding, read_train_ids
from dseg.distributed import Group
from dseg.evaluation.checks import refuse_dataset_train_ids
from dseg.evaluation.cityscapes.labels import PREDICTIONS
from dseg.evaluation.confusion import (
    checked_counts,
    class_accuracy,
    class_iou,
    fold_counts,
    join_runs,
    joint_counts,
    mean_of_present,
    pixel_accuracy,
)
from dseg.evaluation.reading import ReadIds, read_ids, read_masks, refuse_no_pairs
from dseg.evaluation.results import ClassScores, ImageScores
from dseg.evaluation.values import (
    VALUES,
    Counts,
    IndexTable,
    ValueTable,
    make_index_table,
    make_label_id_table,
)
from dseg.labels import IGNORE, LabelSpace
from dseg.parallel import map_in_order

IDENTITY = np.arange(VALUES, dtype=np.int16)


class MaskKind(NamedTuple):
    """How a kind of mask file is read: its values, K for no class, and a reader of (H, W) uint8."""

    table: ValueTable
    read: ReadIds


@dataclass(frozen=True, eq=False)
class MaskPair:
    """Two mask files of the same size, and how each is read."""

    gt_file: Path
    pred_file: Path
    truth: MaskKind
    prediction: MaskKind


def evaluate_pairs(
    gt_files: Sequence[Path],
    pred_files: Sequence[Path],
    space: LabelSpace,
    *,
    workers: int | None = None,
    per_image: bool = False,
    advance: Callable[[], None] | None = None,
    accept_lossy: bool = False,
    group: Group | None = None,
) -> ClassScores:
    """Compute IoU and accuracy of each class over all pairs together.

    Pixels whose ground truth is ignored do not count. A prediction of an ignored id on a scored
    pixel is a false negative of the true class and a false positive of none.

    Args:
        gt_files: masks that hold the label ids of ``space``.
        pred_files: one prediction for each, in the same order and of the same size.
        space: the classes.
        workers: number of threads, by default one for each core; the result does not depend on it.
        per_image: also keep the scores of each image.
        advance: called once for each image that this process has finished.
        accept_lossy: read masks whose compression may have changed their ids.
        group: the processes that the images are sharded over; all return the scores of the whole.

    Raises:
        DsegError: a file is unreadable, sizes differ, or an id is not of ``space``.
    """
    refuse_no_pairs(gt_files, pred_files)
    mask = MaskKind(make_label_id_table(space), partial(read_ids, accept_lossy=accept_lossy))
    pairs = [MaskPair(*files, mask, mask) for files in zip(gt_files, pred_files, strict=True)]
    return score_pairs(
        pairs, space, workers=workers, per_image=per_image, advance=advance, group=group
    )[0]


def evaluate_dataset(
    gt_files: Sequence[Path],
    pred_files: Sequence[Path],
    dataset: Dataset,
    *,
    workers: int | None = None,
    per_image: bool = False,
    advance: Callable[[], None] | None = None,
    pred_ids: str | None = None,
    read_prediction: ReadIds | None = None,
    accept_lossy: bool = False,
    group: Group | None = None,
) -> ClassScores:
    """Compute IoU and accuracy of each class over pairs of a split, as validation does.

    A class that no mask of the data set can hold has no IoU and is left out of the mean; where it
    is predicted, the pixel is a false negative of the true class.

    Args:
        gt_files: masks of samples of ``dataset``.
        pred_files: one prediction for each, in the same order and of the same size.
        dataset: the split, with the classes and the encoding of its masks.
        workers, per_image, advance, group: as for ``evaluate_pairs``.
        pred_ids: ids in the predictions, "label" or "train"; None for label ids, with a check that
            they are not train ids.
        read_prediction: reader of a prediction, by default of masks; see ``predictions_of``.
        accept_lossy: read masks whose compression may have changed their values.

    Raises:
        DsegError: a file is unreadable, sizes differ, a value has no meaning, or the predictions
            look like train ids.
    """
    refuse_no_pairs(gt_files, pred_files)
    space = dataset.space
    encodings = {sample.mask: sample.encoding for sample in dataset.samples}
    different = {id(encoding): encoding for encoding in encodings.values()}  # there are few
    truths = {k: _truth_kind(e, space.num_classes, accept_lossy) for k, e in different.items()}
    prediction = MaskKind(
        _make_prediction_table(space, pred_ids or "label"),
        read_prediction or partial(read_ids, accept_lossy=accept_lossy),
    )
    pairs = [
        MaskPair(gt_file, pred_file, truths[id(encodings[gt_file])], prediction)
        for gt_file, pred_file in zip(gt_files, pred_files, strict=True)
    ]
    scores, values = score_pairs(
        pairs,
        space,
        known=dataset.classes,
        workers=workers,
        per_image=per_image,
        advance=advance,
        group=group,
    )
    if pred_ids is None:
        refuse_dataset_train_ids(values[:-1], space)
    return scores


def score_pairs(
    pairs: Sequence[MaskPair],
    space: LabelSpace,
    *,
    known: Collection[int] | None = None,
    workers: int | None = None,
    per_image: bool = False,
    advance: Callable[[], None] | None = None,
    group: Group | None = None,
) -> tuple[ClassScores, Counts]:
    """Count the pixels of all pairs and score them; see ``evaluate_pairs``.

    Args:
        pairs: at least one; all predictions are of one kind.
        space: the K classes.
        known: train ids that the ground truth can hold, by default all; the others have no IoU.
        workers, per_image, advance, group: as for ``evaluate_pairs``.

    Returns:
        The scores, and (K + 1, 256) counts of the predictions' values, classes by value.
    """
    group = group or Group()
    known = range(space.num_classes) if known is None else known
    columns = pairs[0].prediction.table.indices
    shard = group.shard(pairs)
    workers = workers or group.cores_per_process()
    total = np.zeros((space.num_classes + 1, VALUES), np.int64)
    images: list[ImageScores] = []
    count = partial(_count_pair, size=space.num_classes)
    for pair, counts in zip(shard, map_in_order(count, shard, workers), strict=True):
        total += counts
        if per_image:
            images.append(_score_image(pair, _to_classes(counts, columns), space, known))
        if advance is not None:
            advance()
    images = group.gather_shards(images)
    total = group.sum_counts(total)
    counts = _to_classes(total, columns)
    return _make_scores(counts, space, known, tuple(images), len(pairs)), total


def _count_pair(pair: MaskPair, *, size: int) -> Counts:
    """Count the values of the prediction in each class: (size + 1, 256)."""
    truth, prediction = read_masks(
        pair.gt_file, pair.pred_file, pair.truth.read, pair.prediction.read
    )
    (truth, prediction), lengths = join_runs(truth, prediction)
    return checked_counts(
        joint_counts(truth, prediction, lengths),
        (pair.gt_file, pair.truth.table),
        (pair.pred_file, pair.prediction.table),
        (size + 1, VALUES),
        columns=IDENTITY,
    )


def _to_classes(counts: Counts, columns: IndexTable) -> Counts:
    """Turn (K + 1, 256) counts of values into (K + 1, K + 1) counts of classes."""
    return fold_counts(counts, IDENTITY, columns, (len(counts), len(counts)))


def _iou_of_known(matrix: Counts, known: Collection[int]) -> list[float]:
    """Return the IoU of each class, NaN for one that the ground truth cannot hold."""
    iou = class_iou(matrix)
    return [score if train_id in known else nan for train_id, score in enumerate(iou)]


def _score_image(
    pair: MaskPair, counts: Counts, space: LabelSpace, known: Collection[int]
) -> ImageScores:
    """Score one image from its (K + 1, K + 1) counts."""
    matrix = counts[:-1]
    iou = _iou_of_known(matrix, known)
    return ImageScores(
        ground_truth=pair.gt_file,
        prediction=pair.pred_file,
        scored_pixels=int(matrix.sum()),
        ignored_pixels=int(counts[-1].sum()),
        pixel_accuracy=pixel_accuracy(matrix),
        mean_iou=mean_of_present(iou),
        class_iou=dict(zip(space.names, iou, strict=True)),
    )


def _make_scores(
    total: Counts,
    space: LabelSpace,
    known: Collection[int],
    images: tuple[ImageScores, ...],
    count: int,
) -> ClassScores:
    """Turn the (K + 1, K + 1) counts of all images into scores."""
    matrix = total[:-1]
    iou, accuracy = _iou_of_known(matrix, known), class_accuracy(matrix)
    return ClassScores(
        space=space,
        num_images=count,
        confusion=matrix,
        ignored_pixels=int(total[-1].sum()),
        class_iou=dict(zip(space.names, iou, strict=True)),
        class_accuracy=dict(zip(space.names, accuracy, strict=True)),
        mean_iou=mean_of_present(iou),
        mean_accuracy=mean_of_present(accuracy),
        pixel_accuracy=pixel_accuracy(matrix),
        images=images,
    )


def _truth_kind(encoding: Encoding, size: int, accept_lossy: bool) -> MaskKind:
    """Return how masks of an encoding of ``size`` classes are read."""
    mapped = encoding.colors is not None or encoding.channel is not None
    mapped = mapped or encoding.other != UNKNOWN
    train_ids = {**{k: k for k in range(size)}, IGNORE: IGNORE} if mapped else encoding.train_ids
    table = ValueTable(
        make_index_table({value: size if k == IGNORE else k for value, k in train_ids.items()}),
        encoding.allowed,
        "look at the masks with dseg check-data, or choose the right --dataset.",
    )
    read = partial(read_train_ids, encoding=encoding) if mapped else read_ids
    return MaskKind(table, partial(read, accept_lossy=accept_lossy or encoding.total))


def _make_prediction_table(space: LabelSpace, pred_ids: str) -> ValueTable:
    """Return the class of each value of a prediction, K for ignored pixels."""
    size = space.num_classes
    if pred_ids == "train":
        return ValueTable(
            make_index_table({**{k: k for k in range(size)}, IGNORE: size}),
            f"train ids are 0 to {size - 1} and {IGNORE}",
            "if these are label ids, leave --pred-ids train away.",
        )
    table = make_label_id_table(space)
    if space.name == "cityscapes":
        return replace(PREDICTIONS["label"], indices=table.indices)
    hint = "score what dseg infer wrote for these classes, choose the right --label-space, or, if"
    return replace(table, hint=f"{hint} these are train ids, give --pred-ids train.")
