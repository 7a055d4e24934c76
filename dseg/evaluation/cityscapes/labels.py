"""Constants of the Cityscapes benchmark: labels, categories, and the values of its files."""

from __future__ import annotations

import numpy as np

from dseg.evaluation.values import IdMap, ValueTable, make_index_table
from dseg.labels import CITYSCAPES_LABELS, IGNORE, LABEL_SPACES

ROWS = CITYSCAPES_LABELS
NAMES = tuple(row.name for row in ROWS)
CATEGORIES = tuple(dict.fromkeys(row.category for row in ROWS))
NUM_LABELS = len(ROWS)
SCORED = tuple(row.id for row in ROWS if not row.ignored)
WITH_INSTANCES = tuple(row.id for row in ROWS if row.has_instances and not row.ignored)
INSTANCE_BASE = 1000  # an instance's value is label_id * 1000 + number; smaller ones are groups
# Mean size of an instance in pixels, over the training set, as in the official script.
MEAN_PIXELS = {
    "person": 3462.4756337644,
    "rider": 3930.4788056518,
    "car": 12794.0202738185,
    "truck": 27855.1264367816,
    "bus": 35732.1511111111,
    "train": 67583.7075812274,
    "motorcycle": 6298.7200839748,
    "bicycle": 4672.3249222261,
}
TRUTH = ValueTable(
    make_index_table({label_id: label_id for label_id in range(NUM_LABELS)}),
    "Cityscapes label ids are 0 to 33",
    "use the *_gtFine_labelIds.png files as they were downloaded.",
)
PREDICTIONS = {
    "label": ValueTable(
        TRUTH.indices,
        TRUTH.allowed,
        "the evaluation reads label ids (road is 7), not train ids, and no 255.",
        may_be_train_ids=True,
    ),
    "train": ValueTable(
        make_index_table(dict(enumerate(LABEL_SPACES["cityscapes"].label_ids)) | {IGNORE: 0}),
        "train ids are 0 to 18 and 255",
        "if these are label ids, leave --pred-ids train away.",
    ),
}


def _make_groups() -> IdMap:
    """Return (256,): the number of each label's category if that has instances, else 0."""
    groups = np.zeros(256, np.uint8)
    for number, category in enumerate(CATEGORIES, start=1):
        members = [row for row in ROWS if row.category == category]
        if all(row.has_instances for row in members):
            groups[[row.id for row in members]] = number
    return groups


GROUPS = _make_groups()
