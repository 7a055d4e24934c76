"""From two mask files to confusion counts: reading, checking, and many pairs at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dseg.errors import DsegError
from dseg.evaluation.confusion import FORBIDDEN, VALUES, Counts, IdMap, Places, fold_counts
from dseg.images import lossy_error, read_image, read_loss, read_mask
from dseg.labels import LabelSpace

if TYPE_CHECKING:
    from dseg.predict import Predictor

LAST_TRAIN_ID = 18
IGNORED_TRAIN_ID = 255


@dataclass(frozen=True, eq=False)
class ValueTable:
    """How the values of a kind of mask file are read.

    Attributes:
        places: (256,) int16, the row or column of each value, ``FORBIDDEN`` for a wrong one.
        allowed: which values are right, for the person.
        hint: what to do about a wrong one.
        may_be_train_ids: whether train ids are a likely mistake.
    """

    places: Places
    allowed: str
    hint: str
    may_be_train_ids: bool = False


def make_places(pairs: dict[int, int]) -> Places:
    """Return the (256,) table of a mapping from file values to rows or columns."""
    places = np.full(VALUES, FORBIDDEN, np.int16)
    for value, place in pairs.items():
        places[value] = place
    return places


def read_ids(path: Path, *, accept_lossy: bool = False) -> IdMap:
    """Read a mask whose ids fit 8 bits, whatever its file's depth: (H, W) uint8.

    Raises:
        DsegError: unreadable, colours, lossy compression, or an id below 0 or above 255.
    """
    values = read_mask(path, accept_lossy=accept_lossy)
    if values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    numbers = values.astype(np.int64)
    wrong = numbers[(numbers < 0) | (numbers >= VALUES)]
    if wrong.size:
        raise DsegError(
            f"{path} holds id {wrong[0]} ({wrong.size:,} pixels are outside 0..255).",
            hint="ids of classes are 0 to 255; is it a file of instances or of depth?",
        )
    return numbers.astype(np.uint8)


def refuse_lossy(files: Sequence[Path]) -> None:
    """Raise a DsegError for the first mask whose compression may have changed its ids."""
    for path in files:
        if loss := read_loss(path):
            raise lossy_error(path, loss)


def refuse_unequal_sizes(
    first: Path, first_ids: NDArray[np.generic], second: Path, second_ids: NDArray[np.generic]
) -> None:
    """Raise a DsegError that names both files and sizes unless these are equal."""
    if first_ids.shape == second_ids.shape:
        return
    sizes = ["x".join(str(side) for side in ids.shape[::-1]) for ids in (first_ids, second_ids)]
    raise DsegError(
        f"{second} has {sizes[1]} pixels, but {first} has {sizes[0]} (width x height).",
        hint="masks and predictions have the size of the original image; dseg infer keeps it.",
    )


def refuse_wrong_ids(path: Path, counts: Counts, reading: ValueTable) -> None:
    """Raise a DsegError for a file that holds a forbidden value.

    Args:
        path: the file that was counted.
        counts: (256,) pixels of each value.
        reading: which values are right.
    """
    present = np.flatnonzero(counts)
    wrong = present[reading.places[present] == FORBIDDEN]
    if not wrong.size:
        return
    worst = wrong[0]
    more = f" and {wrong.size - 1} other wrong ids" if wrong.size > 1 else ""
    problem = f"{path} holds id {worst} at {counts[worst]:,} pixels{more}; {reading.allowed}."
    train_ids = np.all((present <= LAST_TRAIN_ID) | (present == IGNORED_TRAIN_ID))
    if reading.may_be_train_ids and train_ids:
        raise DsegError(
            f"{problem[:-1]}, and these look like train ids (0..18 and 255).",
            hint=train_id_hint(path.parent),
        )
    raise DsegError(problem, hint=reading.hint)


def train_id_hint(folder: Path) -> str:
    """Say what to do about predictions that are train ids."""
    return (
        f"convert them with dseg transfer-labels {quote(str(folder))} --to label-ids, "
        "or score them as they are with --pred-ids train."
    )


def read_masks(
    gt_file: Path,
    pred_file: Path,
    read_truth: Callable[[Path], IdMap] = read_ids,
    read_prediction: Callable[[Path], IdMap] = read_ids,
) -> tuple[IdMap, IdMap]:
    """Read ground truth and prediction: (H, W) uint8 both.

    Args:
        gt_file: read by ``read_truth``.
        pred_file: read by ``read_prediction``.
        read_truth, read_prediction: by default for masks of ids.

    Raises:
        DsegError: a file that cannot be read, or files of different size.
    """
    truth, prediction = read_truth(gt_file), read_prediction(pred_file)
    refuse_unequal_sizes(gt_file, truth, pred_file, prediction)
    return truth, prediction


def checked_counts(
    joint: Counts,
    gt_reading: tuple[Path, ValueTable],
    pred_reading: tuple[Path, ValueTable],
    shape: tuple[int, int],
    *,
    columns: Places | None = None,
) -> Counts:
    """Gather the counts of a pair's values into counts of its classes, int64 of ``shape``.

    Args:
        joint: (256, 256) of ``joint_counts``.
        gt_reading: the ground truth's file, for messages, and how its values are read.
        pred_reading: the same of the prediction.
        shape: rows and columns of the result.
        columns: (256,) the column of each value of the prediction, by default as it is read.

    Raises:
        DsegError: one of the two holds a wrong id.
    """
    refuse_wrong_ids(gt_reading[0], joint.sum(1), gt_reading[1])
    refuse_wrong_ids(pred_reading[0], joint.sum(0), pred_reading[1])
    columns = pred_reading[1].places if columns is None else columns
    return fold_counts(joint, gt_reading[1].places, columns, shape)


def refuse_no_pairs(gt_files: Sequence[Path], pred_files: Sequence[Path]) -> None:
    """Raise a DsegError unless there are as many predictions as masks, and at least one."""
    if len(gt_files) != len(pred_files):
        raise DsegError(
            f"{len(gt_files)} ground-truth files but {len(pred_files)} predictions.",
            hint="give one prediction for each ground-truth file, in the same order.",
        )
    if not gt_files:
        raise DsegError("There is nothing to score.", hint="give at least one pair of files.")


@contextmanager
def predictions_of(predictor: Predictor) -> Iterator[Callable[[Path], IdMap]]:
    """Give what reads an image and returns its train ids, (H, W) uint8, for ``read_prediction``.

    Several threads may call it: they decode and count beside each other, and one predicts; each
    waits for its own labels, so that a GPU gets the next image meanwhile. Each holds one image.
    """
    forward = ThreadPoolExecutor(1)

    def read(image: Path) -> IdMap:
        pending = forward.submit(predictor.begin, read_image(image)).result()
        return pending.result().train_ids

    try:
        yield read
    finally:
        forward.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True, eq=False, kw_only=True)
class Comparison:
    """Two mask files, and how their values become classes.

    Attributes:
        gt_file, pred_file: of the same size.
        gt_reading, pred_reading: the class of each value, K for no class.
        read_truth, read_prediction: read the two files, (H, W) uint8; from several threads.
    """

    gt_file: Path
    pred_file: Path
    gt_reading: ValueTable
    pred_reading: ValueTable
    read_truth: Callable[[Path], IdMap] = read_ids
    read_prediction: Callable[[Path], IdMap] = read_ids


def read_label_ids(space: LabelSpace) -> ValueTable:
    """Give each label id its class, and the ignored ones the place behind the last class."""
    ignored = dict.fromkeys(space.ignored_ids, space.num_classes)
    classes = {label_id: train_id for train_id, label_id in enumerate(space.label_ids)}
    last = max(space.label_ids, default=0)
    others = ", ".join(str(label_id) for label_id in sorted(space.ignored_ids))
    return ValueTable(
        make_places(ignored | classes),
        f"{space.name} has ids up to {last}, and {others} for what is ignored",
        "choose the right --label-space or --num-classes; --ignore names an id that is to be "
        "left out.",
    )
