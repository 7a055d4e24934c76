"""Scores from a confusion matrix alone, for any pair of folders of masks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from math import nan
from pathlib import Path

import numpy as np

from dseg.datasets.base import Dataset, Encoding, read_train_ids
from dseg.distributed import Group
from dseg.evaluation.checks import _refuse_train_ids
from dseg.evaluation.cityscapes.labels import PREDICTIONS
from dseg.evaluation.confusion import (
    VALUES,
    Counts,
    IdMap,
    Places,
    class_accuracy,
    class_iou,
    fold_counts,
    join_runs,
    joint_counts,
    mean_of_present,
    pixel_accuracy,
)
from dseg.evaluation.reading import (
    Comparison,
    ValueTable,
    checked_counts,
    make_places,
    read_ids,
    read_label_ids,
    read_masks,
    refuse_no_pairs,
)
from dseg.evaluation.results import ClassScores, ImageScores
from dseg.labels import IGNORE, LabelSpace
from dseg.parallel import count_cores, map_in_order

AS_THEY_ARE = np.arange(VALUES, dtype=np.int16)


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
    pixel is a miss of the true class and a false alarm of none.

    Args:
        gt_files: masks that hold the label ids of ``space``.
        pred_files: one prediction for each, in the same order and of the same size.
        space: the classes.
        workers: threads, by default one a core; the result does not depend on it.
        per_image: whether to keep the scores of each image as well.
        advance: called once for each image that this process has done.
        accept_lossy: read masks whose compression may have changed their ids.
        group: the processes that share the images out; all get the scores of the whole.

    Raises:
        DsegError: a file is unreadable, sizes differ, or an id is not of ``space``.
    """
    refuse_no_pairs(gt_files, pred_files)
    reading = read_label_ids(space)
    read = partial(read_ids, accept_lossy=accept_lossy)
    pairs = [
        Comparison(
            gt_file=truth,
            pred_file=prediction,
            gt_reading=reading,
            pred_reading=reading,
            read_truth=read,
            read_prediction=read,
        )
        for truth, prediction in zip(gt_files, pred_files, strict=True)
    ]
    return compare_pairs(
        pairs, space, workers=workers, per_image=per_image, advance=advance, group=group
    )[0]


def compare_pairs(
    pairs: Sequence[Comparison],
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
        pairs: at least one; all predictions are read in the same way.
        space: the K classes.
        known: train ids that the ground truth can hold, by default all; the others have no IoU.
        workers, per_image, advance, group: as for ``evaluate_pairs``.

    Returns:
        The scores, and (K + 1, 256) counts of the predictions' values, classes by value.
    """
    group = group or Group()
    known = range(space.num_classes) if known is None else known
    places = pairs[0].pred_reading.places
    share = group.shard(pairs)
    workers = workers or group.share_of(count_cores())
    total = np.zeros((space.num_classes + 1, VALUES), np.int64)
    images: list[ImageScores] = []
    count = partial(_count_pair, size=space.num_classes)
    for pair, counts in zip(share, map_in_order(count, share, workers), strict=True):
        total += counts
        if per_image:
            images.append(_score_image(pair, _to_classes(counts, places), space, known))
        if advance is not None:
            advance()
    images = group.gather_shards(images)
    total = group.sum_counts(total)
    counts = _to_classes(total, places)
    return _make_scores(counts, space, known, tuple(images), len(pairs)), total


def _count_pair(pair: Comparison, *, size: int) -> Counts:
    """Count the values of the prediction in each class: (size + 1, 256)."""
    readers = pair.read_truth, pair.read_prediction
    truth, prediction = read_masks(pair.gt_file, pair.pred_file, *readers)
    (truth, prediction), lengths = join_runs(truth, prediction)
    joint = joint_counts(truth, prediction, lengths)
    readings = (pair.gt_file, pair.gt_reading), (pair.pred_file, pair.pred_reading)
    return checked_counts(joint, *readings, (size + 1, VALUES), columns=AS_THEY_ARE)


def _to_classes(counts: Counts, places: Places) -> Counts:
    """Turn (K + 1, 256) counts of values into (K + 1, K + 1) counts of classes."""
    return fold_counts(counts, AS_THEY_ARE, places, (len(counts), len(counts)))


def _iou_of_known(matrix: Counts, known: Collection[int]) -> list[float]:
    """Return the IoU of each class, NaN for one that the ground truth cannot hold."""
    iou = class_iou(matrix)
    return [score if train_id in known else nan for train_id, score in enumerate(iou)]


def _score_image(
    pair: Comparison, counts: Counts, space: LabelSpace, known: Collection[int]
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


def evaluate_dataset(
    gt_files: Sequence[Path],
    pred_files: Sequence[Path],
    dataset: Dataset,
    *,
    workers: int | None = None,
    per_image: bool = False,
    advance: Callable[[], None] | None = None,
    pred_ids: str | None = None,
    read_prediction: Callable[[Path], IdMap] | None = None,
    accept_lossy: bool = False,
    group: Group | None = None,
) -> ClassScores:
    """Compute IoU and accuracy of each class over pairs of a split, as validation does.

    A class that no mask of the data set can hold has no IoU and is left out of the mean; where it
    is predicted, the true class is missed.

    Args:
        gt_files: masks of samples of ``dataset``.
        pred_files: one prediction for each, in the same order and of the same size.
        dataset: says what the masks' values mean; its ``space`` has the classes.
        workers, per_image, advance, group: as for ``evaluate_pairs``.
        pred_ids: "label" or "train", what predictions hold; None for label ids that are checked
            for being train ids.
        read_prediction: by default for masks; see ``predictions_of``.
        accept_lossy: read masks whose compression may have changed their values.

    Raises:
        DsegError: a file is unreadable, sizes differ, a value has no meaning, or the predictions
            look like train ids.
    """
    refuse_no_pairs(gt_files, pred_files)
    space = dataset.space
    encodings = {sample.mask: sample.encoding for sample in dataset.samples}
    different = {id(encoding): encoding for encoding in encodings.values()}  # there are few
    truths = {k: _read_truth(e, space.num_classes, accept_lossy) for k, e in different.items()}
    prediction = _read_predictions(space, pred_ids or "label")
    pairs = [
        truths[id(encodings[gt_file])](
            gt_file=gt_file,
            pred_file=pred_file,
            pred_reading=prediction,
            read_prediction=read_prediction or partial(read_ids, accept_lossy=accept_lossy),
        )
        for gt_file, pred_file in zip(gt_files, pred_files, strict=True)
    ]
    scores, values = compare_pairs(
        pairs,
        space,
        known=dataset.classes,
        workers=workers,
        per_image=per_image,
        advance=advance,
        group=group,
    )
    if pred_ids is None:
        _refuse_train_ids(values[:-1], space)
    return scores


def _read_truth(encoding: Encoding, size: int, accept_lossy: bool) -> Callable[..., Comparison]:
    """Return what makes a comparison with a mask of that encoding, of ``size`` classes."""
    by_color = encoding.colors is not None
    train_ids = {**{k: k for k in range(size)}, IGNORE: IGNORE} if by_color else encoding.train_ids
    reading = ValueTable(
        make_places({value: size if k == IGNORE else k for value, k in train_ids.items()}),
        encoding.allowed,
        "look at the masks with dseg check-data, or choose the right --dataset.",
    )
    read = partial(read_train_ids, encoding=encoding) if by_color else read_ids
    read_truth = partial(read, accept_lossy=accept_lossy)
    return partial(Comparison, gt_reading=reading, read_truth=read_truth)


def _read_predictions(space: LabelSpace, pred_ids: str) -> ValueTable:
    """Return how predictions are read: the class of each value, K for what is ignored."""
    size = space.num_classes
    if pred_ids == "train":
        return ValueTable(
            make_places({**{k: k for k in range(size)}, IGNORE: size}),
            f"train ids are 0 to {size - 1} and {IGNORE}",
            "if these are label ids, leave --pred-ids train away.",
        )
    reading = read_label_ids(space)
    if space.name == "cityscapes":
        return replace(PREDICTIONS["label"], places=reading.places)
    hint = "score what dseg infer wrote for these classes, choose the right --label-space, or, if"
    return replace(reading, hint=f"{hint} these are train ids, give --pred-ids train.")
