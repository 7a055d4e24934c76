"""The type of a label space, and look-up tables from one mask value to another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

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
        ignored_ids: values of mask files that are neither trained nor scored; the first one
            is written for pixels of no class.
        ignored_colors: colours that stand for no class, as ``(colour, label_id)``.
        other_colors: colours that a release draws classes in besides, as ``(colour, label_id)``.
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
        """The value that a mask file uses for none of the classes.

        It is the first of ``ignored_ids``; without any (a class file may ignore nothing), the
        largest value that no class has.
        """
        unused = (value for value in range(IGNORE, -1, -1) if value not in self.label_ids)
        return self.ignored_ids[0] if self.ignored_ids else next(unused)

    def train_id_of(self, label_id: int) -> int:
        """Return the train id of a label id, ``IGNORE`` for an ignored or unknown one."""
        return self.label_ids.index(label_id) if label_id in self.label_ids else IGNORE

    def palette(self) -> list[int]:
        """Return 768 numbers: the colour of each train id, black for every other value."""
        flat = [channel for color in self.colors for channel in color]
        return flat + [0] * (768 - len(flat))

    def label_id_of_color(self) -> dict[Color, int]:
        """Return the label id of each colour; of two that share a colour, the scored one."""
        found = dict(reversed((*self.other_colors, *self.ignored_colors)))
        found.update(zip(self.colors, self.label_ids, strict=True))
        return found


def make_lookup(pairs: Iterable[tuple[int, int]], default: int = IGNORE) -> bytes:
    """Return 256 bytes that map a mask's values, ready for ``numpy.frombuffer``."""
    table = bytearray([default] * 256)
    for value, result in pairs:
        table[value] = result
    return bytes(table)
