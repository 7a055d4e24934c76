"""Cityscapes: the 19 evaluated classes, from the table that cityscapesscripts contains."""

from __future__ import annotations

from cityscapesscripts.helpers.labels import labels as cityscapes_table

from dseg.labels.space import LabelSpace


def _build() -> LabelSpace:
    """Sort the table's rows into evaluated and ignored ones; the first ignored is unlabeled, 0."""
    known = [row for row in cityscapes_table if row.id >= 0]  # -1: the licence plate has no id
    scored = sorted((row for row in known if not row.ignoreInEval), key=lambda row: row.trainId)
    ignored = [row for row in known if row.ignoreInEval]
    return LabelSpace(
        name="cityscapes",
        names=tuple(row.name for row in scored),
        colors=tuple(row.color for row in scored),
        label_ids=tuple(row.id for row in scored),
        ignored_ids=tuple(row.id for row in ignored),
        ignored_colors=tuple((row.color, row.id) for row in ignored),
    )


CITYSCAPES = _build()
