"""Fields of a class file, read with a message that names the right one for a wrong one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from dseg.errors import DsegError, suggest
from dseg.labels import Color

TOP = (
    *("name", "images", "masks", "image_suffix", "mask_suffix", "image_types", "mask_types"),
    *("ignore", "ignore_colors", "mask_colors", "mask_channel", "map", "class"),
)
OF_CLASS = ("name", "id", "ids", "color", "colors")


@dataclass
class FieldReader:
    """Reads the fields of one file, and raises a DsegError that names the file for a wrong one."""

    path: Path
    fields: Any

    def text(self, table: Mapping[str, Any], key: str, default: str, where: str = "") -> str:
        value = table.get(key, default)
        if not isinstance(value, str):
            self.fail(f"{where + ': ' if where else ''}{key} is {value!r}", "write a string.")
        return value

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
        numbers = self.listed(value, where)
        for number in numbers:
            if type(number) is not int or not 0 <= number <= 255:
                self.fail(f"{where} has {number!r}", "mask values are integers from 0 to 255.")
        return numbers

    def color(self, value: Any, where: str) -> Color:
        if not isinstance(value, list) or len(value) != 3:
            self.fail(f"{where} is {value!r}", "write [red, green, blue], each 0 to 255.")
        red, green, blue = self.ids(value, where)
        return red, green, blue

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
