"""Fields of a class file, read with a message that names the right one for a wrong one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from dseg.errors import DsegError, suggest
from dseg.labels import Color

TOP = (
    *("name", "images", "masks", "image_prefix", "mask_prefix", "image_suffix", "mask_suffix"),
    *("image_types", "mask_types", "lists", "ignore", "ignore_colors", "unlisted", "mask_colors"),
    *("mask_channel", "without_mask", "map", "class"),
)
Places = str | Mapping[str, str] | None
OF_CLASS = ("name", "id", "ids", "color", "colors")


@dataclass
class FieldReader:
    """Reads the fields of one file, and raises a DsegError that names the file for a wrong one."""

    path: Path
    fields: Any

    def text(self, table: Mapping[str, Any], key: str, default: str, where: str = "") -> str:
        value = table.get(key, default)
        if not isinstance(value, str):
            self.fail(
                f"{where + ': ' if where else ''}{key} is {value!r}", f'write text: {key} = "...".'
            )
        return value

    def choice(self, key: str, default: str, other: str) -> str:
        """Return a field that is one of two words."""
        word = self.text(self.fields, key, default)
        if word not in (default, other):
            self.fail(f"{key} is {word!r}", f'write {key} = "{other}", or "{default}".')
        return word

    def texts(self, key: str) -> tuple[str, ...]:
        """Return the strings of a field that is one string or a list of them."""
        value = self.fields.get(key, [])
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(one, str) for one in values):
            self.fail(f"{key} is {value!r}", "write a string, or a list of strings.")
        return tuple(values)

    def types(self, key: str) -> tuple[str, ...]:
        return tuple("." + one.lower().removeprefix(".") for one in self.texts(key))

    def listed(self, value: Any, where: str) -> list[Any]:
        if not isinstance(value, list):
            self.fail(f"{where} is {value!r}", "write a list, [...].")
        return value

    def ids(self, value: Any, where: str) -> list[int]:
        numbers: list[int] = []
        for one in [value] if isinstance(value, str) else self.listed(value, where):
            ends = _read_range(one) if isinstance(one, str) else [one]
            if not ends or any(type(end) is not int or not 0 <= end <= 255 for end in ends):
                self.fail(
                    f"{where} has {one!r}",
                    'mask values are integers from 0 to 255 without quotes, or ranges "0-127".',
                )
            if ends[0] > ends[-1]:
                self.fail(f"{where} has the range {one!r}", "write the smaller number first.")
            numbers += range(ends[0], ends[-1] + 1)
        return numbers

    def color(self, value: Any, where: str) -> Color:
        if isinstance(value, str) and re.fullmatch("#[0-9a-fA-F]{6}", value):
            value = list(bytes.fromhex(value[1:]))
        if (
            not isinstance(value, list)
            or len(value) != 3
            or any(type(channel) is not int or not 0 <= channel <= 255 for channel in value)
        ):
            self.fail(
                f"{where} is {value!r}", 'write [red, green, blue], each 0 to 255, or "#rrggbb".'
            )
        red, green, blue = value
        return red, green, blue

    def places(self, key: str) -> Places:
        value = self.fields.get(key)
        if isinstance(value, dict):
            return {split: self.text(value, split, "", key) for split in value}
        return self.text(self.fields, key, "") or None

    def read_lists(self) -> Places:
        """Return the files that list the images of each split."""
        pattern = self.places("lists")
        if isinstance(pattern, str) and "{split}" not in pattern.rpartition("/")[2]:
            self.fail(
                f"lists is {pattern!r}",
                'write {split} in place of the split: lists = "ImageSets/{split}.txt".',
            )
        return pattern

    def known(
        self,
        table: Mapping[str, Any],
        names: Iterable[str],
        where: str,
        hint: str,
        others: Mapping[str, str],
    ) -> None:
        for key in table:
            if key not in names:
                right = others.get(key.lower().replace("-", "_"))
                guess = f"write {right} instead. " if right else suggest(key, names)
                hint = hint or f"the fields are: {', '.join(TOP)}."
                self.fail(f"unknown field {key!r}{where}", f"{guess}{hint}")

    def fail(self, problem: str, hint: str) -> NoReturn:
        raise DsegError(f"{self.path}: {problem}.", hint=hint)


def _read_range(text: str) -> list[int]:
    """Return both ends of ``0-127``, or none."""
    found = re.fullmatch(r"\s*(\d{1,3})\s*-\s*(\d{1,3})\s*", text)
    return [int(end) for end in found.groups()] if found else []


def format_ranges(values: Iterable[int]) -> str:
    """Return increasing integers such as ``0-11, 255``."""
    spans: list[list[int]] = []
    for value in values:
        if spans and spans[-1][-1] == value - 1:
            spans[-1] = [spans[-1][0], value]
        else:
            spans.append([value])
    return ", ".join("-".join(map(str, span)) for span in spans)
