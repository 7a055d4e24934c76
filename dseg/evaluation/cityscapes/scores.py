"""The official Cityscapes scores, computed exactly: equal to the authors' script bit for bit.

Pixels are counted as integers by the workers. Floats appear only here, and are added image by
image and instance by instance in the official order, so the number of workers changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from dseg.distributed import Group
from dseg.errors import DsegError
from dseg.evaluation.cityscapes.instances import (
    InstanceCount,
    WeightedSums,
    count_instances,
    instance_file_of,
    refuse_missing_instances,
)
from dseg.evaluation.cityscapes.labels import (
    CATEGORIES,
    NAMES,
    NUM_LABELS,
    PREDICTIONS,
    ROWS,
    SCORED,
    TRUTH,
)
from dseg.evaluation.confusion import (
    checked_counts,
    join_runs,
    joint_counts,
    mean_of_present,
    ratio,
)
from dseg.evaluation.reading import (
    ReadIds,
    read_ids,
    read_masks,
    refuse_no_pairs,
    refuse_unequal_sizes,
)
from dseg.evaluation.results import CityscapesScores, ImageScores
from dseg.evaluation.values import Counts, IdMap, ValueTable
from dseg.images import read_mask
from dseg.parallel import map_in_order


@dataclass(frozen=True)
class PairCounts:
    """Counts of one image: (34, 34) of labels, and its instances in ascending order."""

    confusion: Counts
    instances: tuple[InstanceCount, ...]


def evaluate_cityscapes(
    gt_files: Sequence[Path],
    pred_files: Sequence[Path],
    *,
    instances: bool = True,
    workers: int | None = None,
    per_image: bool = False,
    advance: Callable[[], None] | None = None,
    pred_ids: str = "label",
    read_prediction: ReadIds | None = None,
    accept_lossy: bool = False,
    group: Group | None = None,
) -> CityscapesScores:
    """Compute the official scores of predictions against ``*_labelIds.png`` files.

    Args:
        gt_files: ground truth; for iIoU each has its ``*_instanceIds.png`` beside it.
        pred_files: one prediction for each, in the same order and of the same size.
        instances: whether to compute iIoU.
        workers: number of threads, by default one for each core; the result does not depend on it.
        per_image: also keep the scores of each image.
        advance: called once for each image that this process has finished.
        pred_ids: ids in the predictions, "label" or "train".
        read_prediction: reader of a prediction, by default of masks; see ``predictions_of``.
        accept_lossy: read masks whose compression may have changed their ids.
        group: the processes that the images are sharded over; all return the scores of the whole.

    Raises:
        DsegError: a file is missing or unreadable, sizes differ, or an id is wrong.
    """
    group = group or Group()
    refuse_no_pairs(gt_files, pred_files)
    if instances:
        refuse_missing_instances(gt_files)
    read_truth = partial(read_ids, accept_lossy=accept_lossy)
    count = partial(
        count_pair,
        instances=instances,
        pred_ids=pred_ids,
        read_truth=read_truth,
        read_prediction=read_prediction or read_truth,
    )
    pairs = group.shard(list(zip(gt_files, pred_files, strict=True)))
    workers = workers or group.cores_per_process()
    total = np.zeros((NUM_LABELS, NUM_LABELS), np.int64)
    sums = WeightedSums()
    found: list[tuple[InstanceCount, ...]] = []
    images: list[ImageScores] = []
    for pair, counts in zip(pairs, map_in_order(count, pairs, workers), strict=True):
        total += counts.confusion
        if group.world_size == 1:
            sums.add(counts.instances)
        else:  # sums are added in the order of all images, not of a shard
            found.append(counts.instances)
        if per_image:
            images.append(score_image(*pair, counts.confusion))
        if advance is not None:
            advance()
    for of_image in group.gather_shards(found):
        sums.add(of_image)
    return _make_scores(
        group.sum_counts(total),
        sums if instances else None,
        tuple(group.gather_shards(images)),
        len(gt_files),
    )


def count_pair(
    pair: tuple[Path, Path],
    *,
    instances: bool = True,
    pred_ids: str = "label",
    read_truth: ReadIds = read_ids,
    read_prediction: ReadIds = read_ids,
) -> PairCounts:
    """Read and count one pair of ground truth and prediction.

    Raises:
        DsegError: as ``evaluate_cityscapes``.
    """
    gt_file, pred_file = pair
    table = PREDICTIONS[pred_ids]
    truth, prediction = read_masks(gt_file, pred_file, read_truth, read_prediction)
    if not instances:
        (truth, prediction), lengths = join_runs(truth, prediction)
        return PairCounts(_count_labels(pair, table, truth, prediction, lengths), ())
    instance_file = instance_file_of(gt_file)
    values = read_mask(instance_file)
    refuse_unequal_sizes(gt_file, truth, instance_file, values)
    (truth, prediction, values), lengths = join_runs(truth, prediction, values)
    confusion = _count_labels(pair, table, truth, prediction, lengths)
    try:
        return PairCounts(confusion, count_instances(values, prediction, lengths, table))
    except ValueError as fault:
        raise DsegError(
            f"{instance_file} holds {fault}.",
            hint="use the *_gtFine_instanceIds.png files as they were downloaded.",
        ) from fault


def _count_labels(
    pair: tuple[Path, Path], table: ValueTable, truth: IdMap, prediction: IdMap, lengths: Counts
) -> Counts:
    """Count labels from the runs of a pair; its files are named in errors."""
    joint = joint_counts(truth, prediction, lengths)
    shape = (NUM_LABELS, NUM_LABELS)
    return checked_counts(joint, (pair[0], TRUTH), (pair[1], table), shape)


def score_image(gt_file: Path, pred_file: Path, confusion: Counts) -> ImageScores:
    """Score one image from its (34, 34) counts."""
    ignored = [label_id for label_id in range(NUM_LABELS) if label_id not in SCORED]
    iou = {NAMES[label_id]: _iou(confusion, (label_id,)) for label_id in SCORED}
    scored_pixels = int(confusion[list(SCORED)].sum())
    ignored_pixels = int(confusion[ignored].sum())
    return ImageScores(
        ground_truth=gt_file,
        prediction=pred_file,
        scored_pixels=scored_pixels,
        ignored_pixels=ignored_pixels,
        ignored_unequal=ignored_pixels - int(confusion[ignored, ignored].sum()),
        pixel_accuracy=ratio(int(confusion[SCORED, SCORED].sum()), scored_pixels),
        mean_iou=mean_of_present(iou.values()),
        class_iou=iou,
    )


def _iou(confusion: Counts, members: Sequence[int]) -> float:
    """Return the IoU of the labels taken as one class; NaN if there are none or none occurs."""
    if not members:
        return math.nan
    hits = int(confusion[np.ix_(members, members)].sum())
    misses = int(confusion[list(members)].sum()) - hits
    return ratio(hits, hits + _false_alarms(confusion, members, members) + misses)


def _false_alarms(confusion: Counts, members: Sequence[int], columns: Sequence[int]) -> int:
    """Count predictions of ``columns`` on pixels of scored labels that are not members."""
    others = [label_id for label_id in SCORED if label_id not in members]
    return int(confusion[np.ix_(others, columns)].sum())


def _iiou(
    confusion: Counts, sums: list[float], members: Sequence[int], columns: Sequence[int]
) -> float:
    hits, misses = sums
    return ratio(hits, hits + _false_alarms(confusion, members, columns) + misses)


def _make_scores(
    confusion: Counts, sums: WeightedSums | None, images: tuple[ImageScores, ...], count: int
) -> CityscapesScores:
    """Turn counts and weighted sums into the official scores."""
    class_iou, class_iiou = dict.fromkeys(NAMES, math.nan), dict.fromkeys(NAMES, math.nan)
    for label_id in SCORED:
        class_iou[NAMES[label_id]] = _iou(confusion, (label_id,))
        if sums is not None and label_id in sums.classes:
            weighted = sums.classes[label_id]
            class_iiou[NAMES[label_id]] = _iiou(confusion, weighted, (label_id,), (label_id,))
    category_iou, category_iiou = {}, dict.fromkeys(CATEGORIES, math.nan)
    for category in CATEGORIES:
        members = [label_id for label_id in SCORED if ROWS[label_id].category == category]
        category_iou[category] = _iou(confusion, members)
        if sums is not None and category in sums.categories:
            columns = [row.id for row in ROWS if row.category == category]  # with ignored labels
            weighted = sums.categories[category]
            category_iiou[category] = _iiou(confusion, weighted, members, columns)
    pixels = int(confusion.sum())
    return CityscapesScores(
        engine="dseg",
        num_images=count,
        instances=sums is not None,
        confusion=confusion,
        class_iou=class_iou,
        class_iiou=class_iiou,
        category_iou=category_iou,
        category_iiou=category_iiou,
        priors={row.name: ratio(int(confusion[row.id].sum()), pixels) for row in ROWS},
        mean_iou=mean_of_present(class_iou.values()),
        mean_iiou=mean_of_present(class_iiou.values()),
        mean_category_iou=mean_of_present(category_iou.values()),
        mean_category_iiou=mean_of_present(category_iiou.values()),
        images=images,
    )
