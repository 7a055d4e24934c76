"""Checks that predictions and ground truth fit together, before and after they are scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dseg.datasets.mapping import TABLES
from dseg.errors import DsegError
from dseg.evaluation.cityscapes.labels import SCORED
from dseg.evaluation.results import CityscapesScores, ClassScores
from dseg.evaluation.values import Counts, train_id_hint
from dseg.labels import IGNORE, LABEL_SPACES, LabelSpace, unnamed_label_space
from dseg.labels.cityscapes import FIRST_SCORED_ID, LAST_TRAIN_ID


def refuse_other_classes(network: LabelSpace, masks: LabelSpace, dataset: str) -> None:
    """Raise a DsegError unless a network has the classes that masks are read as.

    Unnamed classes are assumed to be those of the masks if there are as many.

    Args:
        network: the network's classes.
        masks: the classes that the masks are read as.
        dataset: name of the data set, for the message.
    """
    size = masks.num_classes
    if network.names in (masks.names, unnamed_label_space(size).names):
        return
    hint = f"choose a network of the {size} classes of {masks.name}, or another data set."
    mapped = dataset == "folder" and network.name in LABEL_SPACES
    if mapped or (masks.name, network.name) in TABLES:
        hint = f"read the masks as the network's classes: --label-space {network.name}."
    raise DsegError(
        f"The network has the {network.num_classes} classes of {network.name}, but the masks of "
        f"{dataset} are read as the {size} of {masks.name}.",
        hint=hint,
    )


def refuse_dataset_train_ids(values: Counts, space: LabelSpace) -> None:
    """Raise a DsegError if a data set's predictions, read as label ids, are train ids.

    They are if all values are train ids and more pixels are correct when read as train ids. If all
    values are label ids as well, most pixels must be correct as train ids, and twice as many as
    label ids, because label ids can look like train ids if some class is never predicted.

    Args:
        values: (K, 256) counts of the predictions' values in each class.
        space: the label space, with its label ids.
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
            f"and {as_train_ids / total:.1%} of the pixels are correct as train ids, "
            f"{as_labels / total:.1%} as label ids.",
            hint="score them as they are with --pred-ids train, or skip this check with --pred-ids "
            "label.",
        )


def refuse_train_ids(confusion: Counts, folder: Path) -> None:
    """Raise a DsegError if Cityscapes predictions, read as label ids, are train ids.

    All of these must hold over the whole set: no prediction is above 18, the last train id; some
    prediction is in 0..6, which are scored train ids but ignored label ids; and more pixels are
    correct when the predictions are read as train ids than as label ids. Label ids that happen to
    end at 18, or that mark pixels as ignored, fail the last test, so they are not refused. (A
    train id of 255 is found earlier: it is not a label id.)

    Args:
        confusion: (34, 34) counts of the whole set.
        folder: folder of the predictions, for the hint.
    """
    predicted = np.flatnonzero(confusion.sum(0))
    if not predicted.size or predicted[-1] > LAST_TRAIN_ID or predicted[0] >= FIRST_SCORED_ID:
        return
    scored = int(confusion[list(SCORED)].sum())
    as_labels = int(confusion[SCORED, SCORED].sum())
    as_train_ids = int(confusion[SCORED, range(len(SCORED))].sum())
    if as_train_ids > as_labels:
        raise DsegError(
            f"The predictions look like train ids, not label ids: none is above {LAST_TRAIN_ID}, "
            f"and {as_train_ids / scored:.1%} of the pixels are correct as train ids, "
            f"{as_labels / scored:.1%} as label ids.",
            hint=train_id_hint(folder) + " (--pred-ids label skips this check.)",
        )


def refuse_blank_truth(scores: CityscapesScores | ClassScores, folder: Path) -> None:
    """Raise a DsegError if no pixel of the ground truth is scored, as in the test split."""
    if isinstance(scores, CityscapesScores):
        pixels = int(scores.confusion[list(SCORED)].sum())
        hint = "the test split has no public labels; score gtFine/val, or submit to the server."
    else:
        pixels = int(scores.confusion.sum())
        hint = "check --label-space, --num-classes and --ignore."
    if not pixels:
        raise DsegError(
            f"All pixels of the {scores.num_images} ground-truth files in {folder} are ignored.",
            hint=hint,
        )
