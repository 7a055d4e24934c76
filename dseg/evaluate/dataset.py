"""Scores of a split of any data set, whatever its masks' values mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from dseg.datasets.base import Dataset, Encoding, read_train_ids
from dseg.distributed import Group
from dseg.errors import DsegError
from dseg.evaluate.benchmark import PREDICTIONS
from dseg.evaluate.confusion import Counts, Ids
from dseg.evaluate.counting import Reading, make_places, read_ids, refuse_no_pairs
from dseg.evaluate.plain import Comparison, compare_pairs, read_label_ids
from dseg.evaluate.scores import ClassScores
from dseg.labels import IGNORE, LabelSpace


def evaluate_dataset(
    gt_files: Sequence[Path],
    pred_files: Sequence[Path],
    dataset: Dataset,
    *,
    workers: int | None = None,
    per_image: bool = False,
    advance: Callable[[], None] | None = None,
    pred_ids: str | None = None,
    read_prediction: Callable[[Path], Ids] | None = None,
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
    reading = Reading(
        make_places({value: size if k == IGNORE else k for value, k in train_ids.items()}),
        encoding.allowed,
        "look at the masks with dseg check-data, or choose the right --dataset.",
    )
    read = partial(read_train_ids, encoding=encoding) if by_color else read_ids
    read_truth = partial(read, accept_lossy=accept_lossy)
    return partial(Comparison, gt_reading=reading, read_truth=read_truth)


def _read_predictions(space: LabelSpace, pred_ids: str) -> Reading:
    """Return how predictions are read: the class of each value, K for what is ignored."""
    size = space.num_classes
    if pred_ids == "train":
        return Reading(
            make_places({**{k: k for k in range(size)}, IGNORE: size}),
            f"train ids are 0 to {size - 1} and {IGNORE}",
            "if these are label ids, leave --pred-ids train away.",
        )
    reading = read_label_ids(space)
    if space.name == "cityscapes":
        return replace(PREDICTIONS["label"], places=reading.places)
    hint = "score what dseg infer wrote for these classes, choose the right --label-space, or, if"
    return replace(reading, hint=f"{hint} these are train ids, give --pred-ids train.")


def _refuse_train_ids(values: Counts, space: LabelSpace) -> None:
    """Raise a DsegError if predictions taken for label ids are train ids.

    All values are train ids, and read as train ids more pixels are right. If all are label ids,
    too, most pixels are, and twice as many: a class that is not predicted leaves such a set.

    Args:
        values: (K, 256) counts of the predictions' values in each class.
        space: its label ids.
    """
    size = space.num_classes
    label_ids, train_ids = set(space.label_ids), set(range(size))
    present = set(np.flatnonzero(values.sum(0)).tolist()) - {IGNORE}
    if not present <= train_ids:
        return
    classes = np.arange(size)
    as_labels = int(values[classes, list(space.label_ids)].sum())
    as_train_ids = int(values[classes, classes].sum())
    total = int(values.sum())
    needed = as_labels
    if present <= label_ids and label_ids != train_ids:
        needed = max(2 * as_labels, total // 2)
    if as_train_ids > needed:
        raise DsegError(
            f"The predictions look like train ids, not label ids: none is above {size - 1}, "
            f"and {as_train_ids / total:.1%} of the pixels are right as train ids, "
            f"{as_labels / total:.1%} as label ids.",
            hint="score them as they are with --pred-ids train, or insist with --pred-ids label.",
        )
