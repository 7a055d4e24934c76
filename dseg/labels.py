"""Label spaces: the classes of a data set with their train ids, label ids and colours.

``train_id`` counts a network's outputs (0 to K - 1), ``label_id`` is what the data set's mask
files hold; the two differ in Cityscapes only. Colours are RGB, 0 to 255.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache

from cityscapesscripts.helpers.labels import labels as cityscapes_table

from dseg.errors import DsegError

Color = tuple[int, int, int]
IGNORE = 255  # the train id of everything that is neither trained nor scored


@dataclass(frozen=True, kw_only=True)
class LabelSpace:
    """The classes of one data set; position in ``names`` is the train id.

    Attributes:
        name: how ``--label-space`` spells it.
        names: class names, K of them.
        colors: one RGB colour a class.
        label_ids: the value that stands for the class in a mask file.
        ignored_ids: values of mask files that are neither trained nor scored.
        ignored_colors: colours that stand for no class, as ``(colour, label_id)``.
    """

    name: str
    names: tuple[str, ...]
    colors: tuple[Color, ...]
    label_ids: tuple[int, ...]
    ignored_ids: tuple[int, ...] = (IGNORE,)
    ignored_colors: tuple[tuple[Color, int], ...] = field(default=(), repr=False)

    @property
    def num_classes(self) -> int:
        return len(self.names)

    def train_id_of(self, label_id: int) -> int:
        """Return the train id of a label id, ``IGNORE`` for an ignored or unknown one."""
        return self.label_ids.index(label_id) if label_id in self.label_ids else IGNORE

    def palette(self) -> list[int]:
        """Return 768 numbers: the colour of each train id, black for every other value."""
        flat = [channel for color in self.colors for channel in color]
        return flat + [0] * (768 - len(flat))

    def label_id_of_color(self) -> dict[Color, int]:
        """Return the label id of each colour; of two that share a colour, the scored one."""
        found = dict(reversed(self.ignored_colors))
        found.update(zip(self.colors, self.label_ids, strict=True))
        return found


def _cityscapes() -> LabelSpace:
    """Build the 19 evaluated classes from the table that cityscapesscripts ships."""
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


def _camvid() -> LabelSpace:
    """Build the 11 classes of SegNet's CamVid (Badrinarayanan et al., PAMI 2017, section 4.1)."""
    table: tuple[tuple[str, Color], ...] = (
        ("Sky", (128, 128, 128)),
        ("Building", (128, 0, 0)),
        ("Pole", (192, 192, 128)),
        ("Road", (128, 64, 128)),
        ("Pavement", (0, 0, 192)),
        ("Tree", (128, 128, 0)),
        ("SignSymbol", (192, 128, 128)),
        ("Fence", (64, 64, 128)),
        ("Car", (64, 0, 128)),
        ("Pedestrian", (64, 64, 0)),
        ("Bicyclist", (0, 128, 192)),
    )
    return LabelSpace(
        name="camvid",
        names=tuple(name for name, _ in table),
        colors=tuple(color for _, color in table),
        label_ids=tuple(range(11)),
        ignored_ids=(11, IGNORE),
        ignored_colors=(((0, 0, 0), 11),),
    )


def voc_color(index: int) -> Color:
    """Return the colour of one VOC mask value: its bits dealt out to the top bits of R, G, B.

    The colour map of the PASCAL VOC development kit: bits 0, 1, 2 of the index are the highest
    bits of red, green and blue, bits 3, 4, 5 the next ones, and so on.
    """
    red = green = blue = 0
    for bit in range(8):
        red |= (index >> (3 * bit) & 1) << (7 - bit)
        green |= (index >> (3 * bit + 1) & 1) << (7 - bit)
        blue |= (index >> (3 * bit + 2) & 1) << (7 - bit)
    return red, green, blue


def _voc() -> LabelSpace:
    """Build the 21 classes of PASCAL VOC 2012 (Everingham et al., IJCV 2010), background first."""
    names = (
        *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus"),
        *("car", "cat", "chair", "cow", "diningtable", "dog", "horse"),
        *("motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
    )
    return LabelSpace(
        name="voc",
        names=names,
        colors=tuple(voc_color(index) for index in range(21)),
        label_ids=tuple(range(21)),
        ignored_colors=((voc_color(IGNORE), IGNORE),),
    )


LABEL_SPACES: dict[str, LabelSpace] = {s.name: s for s in (_cityscapes(), _camvid(), _voc())}


def find_label_space(name: str) -> LabelSpace:
    """Return the label space of that name.

    Raises:
        DsegError: there is none; the hint lists them.
    """
    try:
        return LABEL_SPACES[name.lower()]
    except KeyError:
        known = ", ".join(LABEL_SPACES)
        raise DsegError(
            f"No label space named {name!r}.", hint=f"choose one of: {known}."
        ) from None


@cache
def unnamed_label_space(num_classes: int) -> LabelSpace:
    """Return a space for a network whose classes nobody has named: class 0 to K - 1, VOC colours.

    Args:
        num_classes: 1 to 255.
    """
    if not 1 <= num_classes <= 255:
        raise DsegError(
            f"{num_classes} classes do not fit a mask of 8 bits.", hint="use 1 to 255 classes."
        )
    return LabelSpace(
        name=f"unnamed-{num_classes}",
        names=tuple(f"class {index}" for index in range(num_classes)),
        colors=tuple(voc_color(index + 1) for index in range(num_classes)),
        label_ids=tuple(range(num_classes)),
    )


def make_lookup(pairs: Iterable[tuple[int, int]], default: int = IGNORE) -> bytes:
    """Return 256 bytes that map a mask's values, ready for ``numpy.frombuffer``."""
    table = bytearray([default] * 256)
    for value, result in pairs:
        table[value] = result
    return bytes(table)
