"""Class files: TOML, JSON or table files that define the classes and mask values of a folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dseg.datasets.base import CHANNELS, UNKNOWN, Encoding
from dseg.datasets.class_fields import OF_CLASS, TOP, FieldReader, Places, format_ranges
from dseg.datasets.class_rows import (
    OTHER_NAMES,
    OTHER_NAMES_OF_CLASS,
    TABLE_SUFFIXES,
    expand_classes,
    read_label_table,
)
from dseg.datasets.known import KNOWN
from dseg.errors import DsegError
from dseg.jsonio import parse_json
from dseg.labels import IGNORE, Color, LabelSpace, voc_color
from dseg.tomlio import parse_toml

EXAMPLE = '[[class]] with name = "road" and id = 0'


@dataclass(frozen=True, kw_only=True)
class ClassFile:
    """Contents of a class file.

    Attributes:
        path: Path of the class file.
        images, masks: Folder relative to the data set's folder, with or without ``{split}`` and
            ``*`` for any folder; or a mapping from split to folder; or None for the default
            folders.
        image_suffix: Endings of file names before the extension, such as ``_leftImg8bit``, which
            are removed before images and masks are paired by name; with several, each mask can
            have several images.
        mask_suffix: Such an ending of masks.
        image_prefix, mask_prefix: Beginnings of file names, which are removed, too.
        image_types, mask_types: Extensions in lower case; empty for all that are read.
        lists: Text file that lists the images of a split, relative to the data set's folder, with
            ``{split}``; or such a file for each split; or None.
        skip_bare: Whether images without a mask are left out instead of refused.
        space: Label space of the classes.
        encoding: Meaning of the values of all masks.
    """

    path: Path
    images: Places
    masks: Places
    image_suffix: tuple[str, ...]
    mask_suffix: str
    image_prefix: str
    mask_prefix: str
    image_types: tuple[str, ...]
    mask_types: tuple[str, ...]
    lists: Places
    skip_bare: bool
    space: LabelSpace
    encoding: Encoding


def read_class_file(path: Path) -> ClassFile:
    """Read a class file (TOML or JSON), or a table of labels (CSV, TSV; see docs/own-data.md).

    Args:
        path: The file, or the name of a data set with a ready-made one (``KNOWN``).

    Raises:
        DsegError: The file is missing or unreadable, or a field is invalid.
    """
    known = KNOWN.get(str(path).lower())
    if known is not None and not path.is_file():
        return _Reader(path, known.fields(str(path).lower())).read()
    return _Reader(path, _parse(path)).read()


def check_class_text(path: Path, text: str) -> None:
    """Raise a DsegError if a class file in TOML with this text could not be read."""
    _Reader(path, parse_toml(text)).read()


def _parse(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DsegError(f"{path} is not UTF-8 text.", hint="save it as UTF-8.") from None
    except OSError as fault:
        raise DsegError(
            f"The class file {path} cannot be read: {fault.strerror}.",
            hint=f"check --classes: a file, or one of {', '.join(KNOWN)}.",
        ) from None
    if path.suffix.lower() in TABLE_SUFFIXES:
        return read_label_table(path, text)
    kind = "JSON" if path.suffix.lower() == ".json" else "TOML"
    try:
        return parse_json(text) if kind == "JSON" else parse_toml(text)
    except (ValueError, RecursionError) as fault:  # both parsers' errors are ValueErrors
        problem = f"{path}: {fault}" if kind == "JSON" else f"{path} is not valid TOML: {fault}"
        raise DsegError(f"{problem}.", hint="correct that line.") from None


@dataclass
class _Reader(FieldReader):
    """Reads and checks the fields of one class file."""

    owners: dict[int | Color, str] = field(default_factory=dict)  # class or "ignore" of each value

    def read(self) -> ClassFile:
        if not isinstance(self.fields, dict):
            self.fail("the file is not a table of fields", f"write {EXAMPLE}.")
        if "class" in self.fields and "classes" in self.fields:
            self.fail("there are both class and classes", "keep one of them.")
        rows = self.fields.get("class", self.fields.get("classes"))
        if isinstance(rows, dict) and isinstance(rows.get("name"), str):
            self.fail("[class] is a single table", f"write two brackets for each class: {EXAMPLE}.")
        self.fields = expand_classes(self.fields)
        self.known(self.fields, TOP, "", "", OTHER_NAMES)
        space = self.read_space()
        return ClassFile(
            path=self.path,
            images=self.places("images"),
            masks=self.places("masks"),
            image_suffix=self.texts("image_suffix") or ("",),
            mask_suffix=self.text(self.fields, "mask_suffix", ""),
            image_prefix=self.text(self.fields, "image_prefix", ""),
            mask_prefix=self.text(self.fields, "mask_prefix", ""),
            image_types=self.types("image_types"),
            mask_types=self.types("mask_types"),
            lists=self.read_lists(),
            skip_bare=self.choice("without_mask", "refuse", "skip") == "skip",
            space=space,
            encoding=self.encoding,
        )

    def read_space(self) -> LabelSpace:
        """Return the classes and store the meaning of the mask values in ``self.encoding``."""
        rows = self.fields.get("class")
        if isinstance(rows, list) and any(isinstance(row, str) for row in rows):
            odd = next(row for row in rows if not isinstance(row, str))
            self.fail(
                f"the list of classes has {odd!r} beside names", "write names only, in quotes."
            )
        if not isinstance(rows, list) or not rows or not all(isinstance(r, dict) for r in rows):
            self.fail("the file has no list of classes", f"write {EXAMPLE} for each class.")
        if len(rows) > UNKNOWN:
            self.fail(f"the file has {len(rows)} classes", f"use at most {UNKNOWN}.")
        by_color = self.fields.get("mask_colors", False)
        if not isinstance(by_color, bool):
            self.fail("mask_colors is neither true nor false", "write mask_colors = true.")
        self.refuse_mixture(rows, by_color)
        names = tuple(self.read_name(place, row) for place, row in enumerate(rows))
        double = [
            name for at, name in enumerate(names) if name.lower() in map(str.lower, names[:at])
        ]
        if double:
            self.fail(
                f"two classes have the same name {double[0]!r}",
                "give one class several ids = [...] or colors = [[...]].",
            )
        several = tuple(self.read_colors(*pair) for pair in zip(names, rows, strict=True))
        colors = tuple(own[0] if own else None for own in several)
        values = self.read_values(names, rows)
        lost = [IGNORE]
        if by_color:
            self.encoding = self.encode_colors(names, several)
        else:
            self.encoding = self.encode_ids(names, values, self.read_channel())
            lost = [v for v, train_id in self.encoding.train_ids.items() if train_id == IGNORE]
        return LabelSpace(
            name=self.text(self.fields, "name", self.path.stem),
            names=names,
            colors=tuple(color or voc_color(at + 1) for at, color in enumerate(colors)),
            label_ids=tuple(range(len(names))) if by_color else tuple(v[0] for v in values),
            ignored_ids=tuple(sorted(lost)),
        )

    def read_colors(self, name: str, row: Mapping[str, Any]) -> list[Color]:
        """Return the colours of a class, the one in which it is drawn first."""
        found = [row["color"]] if "color" in row else []
        found += self.listed(row.get("colors", []), f"colors of {name!r}")
        return [self.color(color, f"color of {name!r}") for color in found]

    def read_channel(self) -> int | None:
        """Return the channel of colour files that holds the ids."""
        name = self.text(self.fields, "mask_channel", "")
        if name and name not in CHANNELS:
            self.fail(f"mask_channel is {name!r}", f"write one of {', '.join(CHANNELS)}.")
        return CHANNELS.index(name) if name else None

    def refuse_mixture(self, rows: list[Any], by_color: bool) -> None:
        """Raise a DsegError for fields that would have no effect."""
        idle = ("ignore", "map", "mask_channel") if by_color else ("ignore_colors",)
        used = [key for key in idle if key in self.fields]
        keys = ("id", "ids") if by_color else ("colors",)
        used += [key for row in rows for key in keys if key in row]
        if used:
            kind = "true" if by_color else "not true"
            hint = "remove one of the two."
            if by_color and used[0] in ("id", "ids"):
                hint = "give each class its color = [red, green, blue], or remove mask_colors."
            self.fail(f"mask_colors is {kind}, so {used[0]} has no effect", hint)

    def read_name(self, place: int, row: Mapping[str, Any]) -> str:
        where = f"class {place + 1}"
        named = row.get("name")
        self.known(
            row,
            OF_CLASS,
            f" of {named!r}" if isinstance(named, str) else f" of {where}",
            "move fields of the whole file above the first class.",
            OTHER_NAMES_OF_CLASS,
        )
        name = self.text(row, "name", "", where)
        if not name.strip() or not name.isprintable():
            self.fail(f"{where} has no name", f"write {EXAMPLE}.")
        if name == "ignore":
            self.fail(f"{where} is named 'ignore'", "write ignore = [...] with its ids instead.")
        if "id" in row and "ids" in row:
            self.fail(f"{name!r} has id and ids", "keep one of them.")
        return name

    def read_values(self, names: tuple[str, ...], rows: list[Any]) -> list[list[int]]:
        """Return the mask values of each class, which are empty lists if masks are colours."""
        values = [
            self.ids([row["id"]] if "id" in row else row.get("ids", []), f"ids of {name!r}")
            for name, row in zip(names, rows, strict=True)
        ]
        renamed = self.fields.get("map", {})
        if not isinstance(renamed, dict):
            self.fail("map is not a table", 'write map = {7 = "road", 0 = "ignore"}.')
        for value, name in renamed.items():
            small = value.isdecimal() and len(value) <= 3
            numbers = self.ids([int(value) if small else value[:9]], "map")
            if name == "ignore":
                for number in numbers:
                    self.assign(number, "ignore")
            elif name in names:
                values[names.index(name)] += numbers
            else:
                self.fail(f"map: {value} = {name!r} is not a class", "use the name of a class.")
        return values

    def encode_ids(
        self, names: tuple[str, ...], values: list[list[int]], channel: int | None
    ) -> Encoding:
        for name, own in zip(names, values, strict=True):
            if not own:
                self.fail(f"{name!r} has no id", "write id = 0, or ids = [0, 7].")
            for value in own:
                self.assign(value, name)
        if "ignore" in self.fields or IGNORE not in self.owners:
            for value in self.ids(self.fields.get("ignore", [IGNORE]), "ignore"):
                self.assign(value, "ignore")
        train_ids = {
            value: IGNORE if owner == "ignore" else names.index(owner)
            for value, owner in self.owners.items()
            if isinstance(value, int)
        }
        allowed = f"{self.path.name} defines {format_ranges(sorted(train_ids))}"
        other = self.read_unlisted()
        return Encoding(train_ids=train_ids, allowed=allowed, channel=channel, other=other)

    def read_unlisted(self) -> int:
        """Return what values and colours mean that are not listed."""
        return IGNORE if self.choice("unlisted", "refuse", "ignore") == "ignore" else UNKNOWN

    def encode_colors(self, names: tuple[str, ...], colors: tuple[list[Color], ...]) -> Encoding:
        for name, own in zip(names, colors, strict=True):
            if not own:
                self.fail(f"{name!r} has no color", "mask_colors = true requires one per class.")
            for color in own:
                self.assign(color, name)
        for color in self.listed(self.fields.get("ignore_colors", []), "ignore_colors"):
            self.assign(self.color(color, "ignore_colors"), "ignore")
        return Encoding(
            train_ids={},
            allowed=f"{self.path.name} defines {len(self.owners)} colours",
            colors={
                color: IGNORE if owner == "ignore" else names.index(owner)
                for color, owner in self.owners.items()
                if isinstance(color, tuple)
            },
            other=self.read_unlisted(),
        )

    def assign(self, value: int | Color, owner: str) -> None:
        """Assign a value or colour to a class or to "ignore"; refuse a second assignment."""
        other = self.owners.setdefault(value, owner)
        if other != owner:
            self.fail(f"{value} is both {other!r} and {owner!r}", "assign it to one of them.")
