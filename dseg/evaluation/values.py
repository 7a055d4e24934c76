"""The values that a kind of mask file can hold, and the class of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dseg.errors import DsegError, quote
from dseg.labels import LabelSpace
from dseg.labels.cityscapes import LAST_TRAIN_ID

Counts = NDArray[np.int64]
IdMap = NDArray[np.uint8]
IndexTable = NDArray[np.int16]
FORBIDDEN = -1  # in a lookup table: a value that no file may hold
VALUES = 256
IGNORED_TRAIN_ID = 255


@dataclass(frozen=True, eq=False)
class ValueTable:
    """How the values of a kind of mask file are read.

    Attributes:
        indices: (256,) int16, the row or column of each value, ``FORBIDDEN`` for a wrong one.
        allowed: the allowed values in words, for messages.
        hint: advice for a wrong value.
        may_be_train_ids: whether train ids are a likely mistake.
    """

    indices: IndexTable
    allowed: str
    hint: str
    may_be_train_ids: bool = False


def make_index_table(pairs: dict[int, int]) -> IndexTable:
    """Return the (256,) table of a mapping from file values to rows or columns."""
    table = np.full(VALUES, FORBIDDEN, np.int16)
    for value, index in pairs.items():
        table[value] = index
    return table


def make_label_id_table(space: LabelSpace) -> ValueTable:
    """Map each label id to its class, and the ignored ones to K, one past the last class."""
    ignored = dict.fromkeys(space.ignored_ids, space.num_classes)
    classes = {label_id: train_id for train_id, label_id in enumerate(space.label_ids)}
    last = max(space.label_ids, default=0)
    others = ", ".join(str(label_id) for label_id in sorted(space.ignored_ids))
    return ValueTable(
        make_index_table(ignored | classes),
        f"{space.name} has ids up to {last}, and {others} for ignored pixels",
        "choose the right --label-space or --num-classes; --ignore names an id to leave out.",
    )


def refuse_wrong_ids(path: Path, counts: Counts, table: ValueTable) -> None:
    """Raise a DsegError for a file that holds a forbidden value.

    Args:
        path: the file.
        counts: (256,) pixels of each value in the file.
        table: the allowed values.
    """
    present = np.flatnonzero(counts)
    wrong = present[table.indices[present] == FORBIDDEN]
    if not wrong.size:
        return
    worst = wrong[0]
    more = f" and {wrong.size - 1} other wrong ids" if wrong.size > 1 else ""
    problem = f"{path} holds id {worst} at {counts[worst]:,} pixels{more}; {table.allowed}."
    train_ids = np.all((present <= LAST_TRAIN_ID) | (present == IGNORED_TRAIN_ID))
    if table.may_be_train_ids and train_ids:
        raise DsegError(
            f"{problem[:-1]}, and these look like train ids (0..18 and 255).",
            hint=train_id_hint(path.parent),
        )
    raise DsegError(problem, hint=table.hint)


def train_id_hint(folder: Path) -> str:
    """Return the hint for predictions that are train ids."""
    return (
        f"convert them with dseg transfer-labels {quote(folder)} --to label-ids, "
        "or score them as they are with --pred-ids train."
    )
