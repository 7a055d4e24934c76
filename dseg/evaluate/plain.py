"""Scores from a confusion matrix alone, for any pair of folders of masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from dseg.distributed import Group
from dseg.evaluate.confusion import (
    Counts,
    class_accuracy,
    class_iou,
    join_runs,
    joint_counts,
    mean_of_present,
    pixel_accuracy,
)
from dseg.evaluate.counting import (
    Reading,
    checked_counts,
    count_cores,
    make_places,
    map_in_order,
    read_pair,
    refuse_no_pairs,
)
from dseg.evaluate.scores import ClassScores, ImageScores
from dseg.labels import LabelSpace


def evaluate_pairs(
    gt_files: Sequence[Path],
    pred_files: Sequence[Path],
    space: LabelSpace,
    *,
    workers: int | None = None,
    per_image: bool = False,
    advance: Callable[[], None] | None = None,
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
        group: the processes that share the images out; all get the scores of the whole.

    Raises:
        DsegError: a file is unreadable, sizes differ, or an id is not of ``space``.
    """
    group = group or Group()
    refuse_no_pairs(gt_files, pred_files)
    count = partial(_count_pair, reading=_reading_of(space), size=space.num_classes + 1)
    pairs = group.shard(list(zip(gt_files, pred_files, strict=True)))
    workers = workers or group.share_of(count_cores())
    total = np.zeros((space.num_classes + 1, space.num_classes + 1), np.int64)
    images: list[ImageScores] = []
    for (gt_file, pred_file), counts in zip(
        pairs, map_in_order(count, pairs, workers), strict=True
    ):
        total += counts
        if per_image:
            images.append(_score_image(gt_file, pred_file, counts, space))
        if advance is not None:
            advance()
    images = group.gather_shards(images)
    return _make_scores(group.sum_counts(total), space, tuple(images), len(gt_files))


def _reading_of(space: LabelSpace) -> Reading:
    """Give each label id its class, and the ignored ones the place behind the last class."""
    ignored = dict.fromkeys(space.ignored_ids, space.num_classes)
    classes = {label_id: train_id for train_id, label_id in enumerate(space.label_ids)}
    last = max(space.label_ids, default=0)
    others = ", ".join(str(label_id) for label_id in sorted(space.ignored_ids))
    return Reading(
        make_places(ignored | classes),
        f"{space.name} has ids up to {last}, and {others} for what is ignored",
        "choose the right --label-space or --num-classes; --ignore names an id that is to be "
        "left out.",
    )


def _count_pair(pair: tuple[Path, Path], *, reading: Reading, size: int) -> Counts:
    gt_file, pred_file = pair
    (truth, prediction), lengths = join_runs(*read_pair(gt_file, pred_file))
    joint = joint_counts(truth, prediction, lengths)
    return checked_counts(joint, (gt_file, reading), (pred_file, reading), (size, size))


def _score_image(gt_file: Path, pred_file: Path, counts: Counts, space: LabelSpace) -> ImageScores:
    """Score one image from its (K + 1, K + 1) counts."""
    matrix = counts[:-1]
    iou = class_iou(matrix)
    return ImageScores(
        ground_truth=gt_file,
        prediction=pred_file,
        scored_pixels=int(matrix.sum()),
        ignored_pixels=int(counts[-1].sum()),
        pixel_accuracy=pixel_accuracy(matrix),
        mean_iou=mean_of_present(iou),
        class_iou=dict(zip(space.names, iou, strict=True)),
    )


def _make_scores(
    total: Counts, space: LabelSpace, images: tuple[ImageScores, ...], count: int
) -> ClassScores:
    """Turn the (K + 1, K + 1) counts of all images into scores."""
    matrix = total[:-1]
    iou, accuracy = class_iou(matrix), class_accuracy(matrix)
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
