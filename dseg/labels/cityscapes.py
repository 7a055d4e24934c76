"""Cityscapes: the benchmark's label table, and its 19 evaluated classes as a label space."""

from __future__ import annotations

from typing import NamedTuple

from dseg.labels.space import IGNORE, Color, LabelSpace


class CityscapesLabel(NamedTuple):
    """A row of the benchmark's label table.

    Attributes:
        name: class name.
        id: label id, 0 to 33, which is also the position in ``CITYSCAPES_LABELS``.
        train_id: train id of an evaluated class, otherwise ``IGNORE``.
        category: name of the category, which groups classes.
        has_instances: True if single objects are annotated.
        ignored: True if the class is not evaluated.
        color: RGB colour of the class in drawn masks.
    """

    name: str
    id: int
    train_id: int
    category: str
    has_instances: bool
    ignored: bool
    color: Color


# The licence plate is left out: its label id is -1, which no mask holds.
CITYSCAPES_LABELS: tuple[CityscapesLabel, ...] = tuple(
    CityscapesLabel(*row)
    for row in (
        ("unlabeled", 0, IGNORE, "void", False, True, (0, 0, 0)),
        ("ego vehicle", 1, IGNORE, "void", False, True, (0, 0, 0)),
        ("rectification border", 2, IGNORE, "void", False, True, (0, 0, 0)),
        ("out of roi", 3, IGNORE, "void", False, True, (0, 0, 0)),
        ("static", 4, IGNORE, "void", False, True, (0, 0, 0)),
        ("dynamic", 5, IGNORE, "void", False, True, (111, 74, 0)),
        ("ground", 6, IGNORE, "void", False, True, (81, 0, 81)),
        ("road", 7, 0, "flat", False, False, (128, 64, 128)),
        ("sidewalk", 8, 1, "flat", False, False, (244, 35, 232)),
        ("parking", 9, IGNORE, "flat", False, True, (250, 170, 160)),
        ("rail track", 10, IGNORE, "flat", False, True, (230, 150, 140)),
        ("building", 11, 2, "construction", False, False, (70, 70, 70)),
        ("wall", 12, 3, "construction", False, False, (102, 102, 156)),
        ("fence", 13, 4, "construction", False, False, (190, 153, 153)),
        ("guard rail", 14, IGNORE, "construction", False, True, (180, 165, 180)),
        ("bridge", 15, IGNORE, "construction", False, True, (150, 100, 100)),
        ("tunnel", 16, IGNORE, "construction", False, True, (150, 120, 90)),
        ("pole", 17, 5, "object", False, False, (153, 153, 153)),
        ("polegroup", 18, IGNORE, "object", False, True, (153, 153, 153)),
        ("traffic light", 19, 6, "object", False, False, (250, 170, 30)),
        ("traffic sign", 20, 7, "object", False, False, (220, 220, 0)),
        ("vegetation", 21, 8, "nature", False, False, (107, 142, 35)),
        ("terrain", 22, 9, "nature", False, False, (152, 251, 152)),
        ("sky", 23, 10, "sky", False, False, (70, 130, 180)),
        ("person", 24, 11, "human", True, False, (220, 20, 60)),
        ("rider", 25, 12, "human", True, False, (255, 0, 0)),
        ("car", 26, 13, "vehicle", True, False, (0, 0, 142)),
        ("truck", 27, 14, "vehicle", True, False, (0, 0, 70)),
        ("bus", 28, 15, "vehicle", True, False, (0, 60, 100)),
        ("caravan", 29, IGNORE, "vehicle", True, True, (0, 0, 90)),
        ("trailer", 30, IGNORE, "vehicle", True, True, (0, 0, 110)),
        ("train", 31, 16, "vehicle", True, False, (0, 80, 100)),
        ("motorcycle", 32, 17, "vehicle", True, False, (0, 0, 230)),
        ("bicycle", 33, 18, "vehicle", True, False, (119, 11, 32)),
    )
)


def _build_label_space() -> LabelSpace:
    """Sort rows into evaluated and ignored ones; the first ignored row is unlabeled, 0."""
    scored = sorted(
        (row for row in CITYSCAPES_LABELS if not row.ignored), key=lambda row: row.train_id
    )
    ignored = [row for row in CITYSCAPES_LABELS if row.ignored]
    return LabelSpace(
        name="cityscapes",
        names=tuple(row.name for row in scored),
        colors=tuple(row.color for row in scored),
        label_ids=tuple(row.id for row in scored),
        ignored_ids=tuple(row.id for row in ignored),
        ignored_colors=tuple((row.color, row.id) for row in ignored),
    )


CITYSCAPES = _build_label_space()
LAST_TRAIN_ID = CITYSCAPES.num_classes - 1
FIRST_SCORED_ID = min(CITYSCAPES.label_ids)  # as train ids, 0 to 6 are scored too
