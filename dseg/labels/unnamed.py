"""Label spaces without class names."""

from __future__ import annotations

from functools import cache

from dseg.errors import DsegError
from dseg.labels.space import LabelSpace
from dseg.labels.voc import voc_color


@cache
def unnamed_label_space(num_classes: int) -> LabelSpace:
    """Return a label space with the names class 0 to class K - 1 and VOC's colours.

    Args:
        num_classes: number of classes, 1 to 255.
    """
    if not 1 <= num_classes <= 255:
        raise DsegError(
            f"{num_classes} classes do not fit into an 8-bit mask.", hint="use 1 to 255 classes."
        )
    return LabelSpace(
        name=f"unnamed-{num_classes}",
        names=tuple(f"class {index}" for index in range(num_classes)),
        colors=tuple(voc_color(index + 1) for index in range(num_classes)),
        label_ids=tuple(range(num_classes)),
    )
