"""Results that are computed correctly from the wrong files, and how they are recognised."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dseg.errors import DsegError
from dseg.evaluate.benchmark import SCORED
from dseg.evaluate.confusion import Counts
from dseg.evaluate.counting import LAST_TRAIN_ID, train_id_hint
from dseg.evaluate.scores import CityscapesScores, ClassScores

FIRST_SCORED = min(SCORED)


def refuse_train_ids(confusion: Counts, folder: Path) -> None:
    """Raise a DsegError if predictions taken for label ids are train ids.

    The rule needs all of these, over the whole set: no prediction above 18, the last train id;
    some prediction in 0..6, which are scored train ids but ignored label ids; and more pixels
    right when the predictions are read as train ids than as label ids. Label ids that happen to
    end at 18, or that mark pixels as ignored, fail the last test, so they are not refused. (A
    train id of 255 is caught earlier: it is no label id.)

    Args:
        confusion: (34, 34) counts of the whole set.
        folder: the predictions, for the hint.
    """
    predicted = np.flatnonzero(confusion.sum(0))
    if not predicted.size or predicted[-1] > LAST_TRAIN_ID or predicted[0] >= FIRST_SCORED:
        return
    scored = int(confusion[list(SCORED)].sum())
    as_labels = int(confusion[SCORED, SCORED].sum())
    as_train_ids = int(confusion[SCORED, range(len(SCORED))].sum())
    if as_train_ids > as_labels:
        raise DsegError(
            f"The predictions look like train ids, not label ids: none is above {LAST_TRAIN_ID}, "
            f"and {as_train_ids / scored:.1%} of the pixels are right as train ids, "
            f"{as_labels / scored:.1%} as label ids.",
            hint=train_id_hint(folder) + " (--pred-ids label insists.)",
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
