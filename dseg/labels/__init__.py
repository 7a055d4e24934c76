"""Label spaces: the classes of a data set with their train ids, label ids and colours.

``train_id`` is the index of a network's output (0 to K - 1), ``label_id`` the value in the data
set's mask files; the two differ in Cityscapes, ADE20K and COCO-Stuff. Colours are RGB, 0 to 255.
"""

from __future__ import annotations

from dseg.errors import DsegError
from dseg.labels.ade20k import ADE20K
from dseg.labels.camvid import CAMVID
from dseg.labels.cityscapes import CITYSCAPES, CITYSCAPES_LABELS, CityscapesLabel
from dseg.labels.cocostuff import COCOSTUFF
from dseg.labels.space import IGNORE, Color, LabelSpace, make_lookup
from dseg.labels.unnamed import unnamed_label_space
from dseg.labels.voc import VOC, voc_color

__all__ = [
    "CITYSCAPES_LABELS",
    "IGNORE",
    "LABEL_SPACES",
    "CityscapesLabel",
    "Color",
    "LabelSpace",
    "find_label_space",
    "make_lookup",
    "unnamed_label_space",
    "voc_color",
]

LABEL_SPACES: dict[str, LabelSpace] = {
    space.name: space for space in (CITYSCAPES, CAMVID, VOC, ADE20K, COCOSTUFF)
}


def find_label_space(name: str) -> LabelSpace:
    """Return the label space called ``name``, in upper or lower case.

    Raises:
        DsegError: unknown name; the hint lists the known ones.
    """
    try:
        return LABEL_SPACES[name.lower()]
    except KeyError:
        known = ", ".join(LABEL_SPACES)
        raise DsegError(f"Unknown label space {name!r}.", hint=f"choose one of: {known}.") from None
