"""PASCAL VOC 2012: background and 20 classes (Everingham et al., IJCV 2010), and VOC's colours."""

from __future__ import annotations

from dseg.labels.space import IGNORE, Color, LabelSpace


def voc_color(index: int) -> Color:
    """Return the RGB colour of a VOC mask value.

    This is the colour map of the PASCAL VOC development kit: bits 0, 1, 2 of the index are the
    highest bits of red, green and blue, bits 3, 4, 5 the next ones, and so on.
    """
    red = green = blue = 0
    for bit in range(8):
        red |= (index >> (3 * bit) & 1) << (7 - bit)
        green |= (index >> (3 * bit + 1) & 1) << (7 - bit)
        blue |= (index >> (3 * bit + 2) & 1) << (7 - bit)
    return red, green, blue


NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus"),
    *("car", "cat", "chair", "cow", "diningtable", "dog", "horse"),
    *("motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)

VOC = LabelSpace(
    name="voc",
    names=NAMES,
    colors=tuple(voc_color(index) for index in range(21)),
    label_ids=tuple(range(21)),
    ignored_colors=((voc_color(IGNORE), IGNORE),),
)
