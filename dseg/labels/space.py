"""LabelSpace, and look-up tables from one mask value to another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

Color = tuple[int, int, int]
IGNORE = 255  # train id of pixels that are neither trained nor scored


@dataclass(frozen=True, kw_only=True)
class LabelSpace:
    """The classes of a data set; the position in ``names`` is the train id.

    Attributes:
        name: name for ``--label-space``.
        names: class names, K of them.
        colors: RGB colour of each class.
        label_ids: value of each class in mask files.
        ignored_ids: values in mask files that are neither trained nor scored; the first one
            is written for pixels without a class.
        ignored_colors: colours of ignored values, as ``(colour, label_id)``.
        other_colors: additional colours of classes in a release, as ``(colour, label_id)``.
    """

    name: str
    names: tuple[str, ...]
    colors: tuple[Color, ...]
    label_ids: tuple[int, ...]
    ignored_ids: tuple[int, ...] = (IGNORE,)
    ignored_colors: tuple[tuple[Color, int], ...] = field(default=(), repr=False)
    other_colors: tuple[tuple[Color, int], ...] = field(default=(), repr=False)

    @property
    def num_classes(self) -> int:
        return len(self.names)

    @property
    def void_label_id(self) -> int:
        """The value in mask files for pixels without a class.

        It is the first of ``ignored_ids``; if there is none (a class file can ignore nothing), it
        is the largest value that no class has.
        """
        unused = (value for value in range(IGNORE, -1, -1) if value not in self.label_ids)
        return self.ignored_ids[0] if self.ignored_ids else next(unused)

    def train_id_of(self, label_id: int) -> int:
        """Return the train id of a label id, ``IGNORE`` for an ignored or unknown one."""
        return self.label_ids.index(label_id) if label_id in self.label_ids else IGNORE

    def palette(self) -> list[int]:
        """Return 768 numbers: the colour of each train id, and black for all other values."""
        flat = [channel for color in self.colors for channel in color]
        return flat + [0] * (768 - len(flat))

    def label_id_of_color(self) -> dict[Color, int]:
        """Return the label id of each colour; if two ids share a colour, the scored one."""
        found = dict(reversed((*self.other_colors, *self.ignored_colors)))
        found.update(zip(self.colors, self.label_ids, strict=True))
        return found


def make_lookup(pairs: Iterable[tuple[int, int]], default: int = IGNORE) -> bytes:
    """Return 256 bytes that map the values of a mask, for ``numpy.frombuffer``."""
    table = bytearray([default] * 256)
    for value, result in pairs:
        table[value] = result
    return bytes(table)
