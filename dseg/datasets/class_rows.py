"""Other forms of a class list: short forms in class files, tables of labels, CVAT's labelmap."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dseg.errors import DsegError

# Fields that people write, and the field of a class file that means it.
OTHER_NAMES = {
    **dict.fromkeys(("classes", "labels", "categories", "names"), "class"),
    **dict.fromkeys(
        ("img_dir", "image_dir", "images_dir", "imgs", "image", "image_folder"), "images"
    ),
    **dict.fromkeys(("mask_dir", "masks_dir", "ann_dir", "mask", "annotations"), "masks"),
    **dict.fromkeys(("mask_folder", "label_dir", "labels_dir"), "masks"),
    **dict.fromkeys(("img_suffix", "image_ending"), "image_suffix"),
    **dict.fromkeys(("seg_map_suffix", "label_suffix", "mask_ending"), "mask_suffix"),
    **dict.fromkeys(("ignore_index", "ignore_label", "ignore_id", "ignore_ids", "void"), "ignore"),
    **dict.fromkeys(("ignore_color", "void_color"), "ignore_colors"),
    **dict.fromkeys(("colors", "colours", "rgb", "palette", "color_masks"), "mask_colors"),
    **dict.fromkeys(("mapping", "label_map", "id_map"), "map"),
}
OTHER_NAMES_OF_CLASS = {
    **dict.fromkeys(("label", "title", "class", "class_name", "category"), "name"),
    **dict.fromkeys(
        ("value", "index", "label_id", "class_id", "pixel", "train_id", "trainid"), "id"
    ),
    **dict.fromkeys(("values", "indices", "label_ids"), "ids"),
    "colours": "colors",
    **dict.fromkeys(("colour", "rgb", "palette", "hex"), "color"),
}
TABLE_SUFFIXES = (".csv", ".tsv", ".txt")
NAME_COLUMNS = ("name", "label", "class", "class_name", "category", "label_name")
ID_COLUMNS = (
    *("id", "label_id", "class_id", "value", "pixel value", "index", "ids", "pixel"),
    *("train_id", "trainid"),
)
COLOR_COLUMNS = ("color", "colour", "rgb", "hex", "color_rgb")
RGB_COLUMNS = (("r", "g", "b"), ("red", "green", "blue"))
IGNORED_NAMES = ("ignore", "void", "unlabeled", "unlabelled", "unlabelled pixels")
Fail = Callable[[str, str], Any]


def expand_classes(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a class file with its list of classes as a list of tables.

    ``classes = ["road", "car"]`` gives the ids 0 and 1; ``[classes]`` with ``road = 0`` or
    ``road = [0, 7]`` gives these ids.
    """
    fields = dict(fields)
    if "classes" in fields:
        fields.setdefault("class", fields.pop("classes"))
    rows = fields.get("class")
    if isinstance(rows, list) and rows and all(isinstance(row, str) for row in rows):
        fields["class"] = [{"name": name, "id": place} for place, name in enumerate(rows)]
    elif isinstance(rows, dict) and rows and not isinstance(next(iter(rows.values())), dict):
        fields["class"] = [
            {"name": name, "ids": value if isinstance(value, list) else [value]}
            for name, value in rows.items()
        ]
    return fields


def read_label_table(path: Path, text: str, *, by_color: bool = False) -> dict[str, Any]:
    """Return the fields of a class file that a table of labels describes.

    The table has a header line with a column of names and one of ids or of colours: ``name,id``,
    ``name,r,g,b``, ``name,color`` (``#804080`` or ``128 64 128``), separated by commas, semicolons,
    tabs or ``|``. Rows named void, unlabeled or ignore are ignored. Also read are CVAT's
    ``labelmap.txt`` (``road:128,64,128::``), CamVid's ``label_colors.txt`` (``128 64 128 road``),
    lines such as ``0 road``, and a file with one name per line, whose ids are 0, 1, 2.

    Args:
        path: the file, for messages.
        text: its contents.
        by_color: take colours, if there are ids as well.

    Raises:
        DsegError: the columns are not found, or a value is not a number.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    plain = [line for line in lines if not line.lstrip().startswith("#")]
    if not plain:
        raise DsegError(f"{path} is empty.", hint="write a header line such as name,id first.")
    if path.suffix.lower() == ".txt" and all(line.count(":") == 3 for line in plain):
        return _from_labelmap(path, plain)
    colored = [re.fullmatch(r"\s*(\d+)\s+(\d+)\s+(\d+)\s+(\S.*)", line) for line in plain]
    if all(colored):  # label_colors.txt of CamVid
        rows = [
            {"name": found[4].strip(), "color": [int(found[at]) for at in (1, 2, 3)]}
            for found in colored
            if found
        ]
        return _colored(rows)
    numbered = [re.fullmatch(r"\s*(\d+)\s+([^,;|\t]*\S)\s*", line) for line in plain]
    if all(numbered):  # "0 road"
        ids: dict[str, list[int]] = {}
        for found in numbered:
            if found:
                ids.setdefault(found[2], []).append(int(found[1]))
        return {"class": [{"name": name, "ids": own} for name, own in ids.items()]}
    if not re.search(r"[,;\t|]", plain[0]):
        plain = plain[plain[0].strip().lower() in NAME_COLUMNS :]
        return {"class": [{"name": line.strip(), "id": at} for at, line in enumerate(plain)]}
    return _from_columns(path, _without_comments(lines), by_color=by_color)


def _from_labelmap(path: Path, lines: list[str]) -> dict[str, Any]:
    parts = [line.split(":") for line in lines]
    rows = [
        {"name": name.strip(), "color": _read_color(path, color)}
        for name, color, *_ in parts
        if color.strip()
    ]
    return _colored(rows)


def _colored(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the fields of a class file of colours; classes such as Void are ignored."""
    ignored = [row["color"] for row in rows if row["name"].lower() in IGNORED_NAMES]
    rows = [row for row in rows if row["name"].lower() not in IGNORED_NAMES]
    return {"mask_colors": True, "class": rows, "ignore_colors": ignored}


def _without_comments(lines: list[str]) -> list[str]:
    """Return lines without those that begin with ``#``, except a header in the first one."""
    words = set(re.split(r"[,;\t| ]+", lines[0].lstrip("# ").lower()))
    header = lines[:1] if words & set(NAME_COLUMNS) else []
    rest = lines[len(header) :]
    return header + [line for line in rest if not line.lstrip().startswith("#")]


def _from_columns(path: Path, lines: list[str], *, by_color: bool) -> dict[str, Any]:
    separator = max(",;\t|", key=lines[0].count)
    reader = csv.reader(io.StringIO("\n".join(lines)), delimiter=separator, skipinitialspace=True)
    header = [title.strip().lstrip("#").strip().lower() for title in next(reader)]
    named = _find(header, NAME_COLUMNS)
    ids, color = _find(header, ID_COLUMNS), _find(header, COLOR_COLUMNS)
    rgb = next((tuple(map(header.index, t)) for t in RGB_COLUMNS if set(t) <= set(header)), None)
    if named is None or (ids is None and color is None and rgb is None):
        raise DsegError(
            f"{path} has the columns {', '.join(header)}.",
            hint="name the columns in the first line: name,id or name,r,g,b or name,color.",
        )
    if by_color and (color is not None or rgb is not None):
        ids = None
    rows: dict[str, dict[str, Any]] = {}
    ignored: list[Any] = []
    for cells in reader:
        cells = [cell.strip() for cell in cells] + [""] * (len(header) - len(cells))
        name, found = cells[named], None
        if rgb is not None:
            found = _read_color(path, ",".join(cells[at] for at in rgb))
        elif color is not None and cells[color]:
            found = _read_color(path, cells[color])
        numbers = _read_ids(path, cells[ids]) if ids is not None else []
        if name.lower() in IGNORED_NAMES:
            ignored += numbers if ids is not None else [found]
            continue
        row = rows.setdefault(name, {"name": name} | ({"color": found} if found else {}))
        if ids is not None:
            row.setdefault("ids", []).extend(numbers)
        elif found != row.get("color"):
            row.setdefault("colors", []).append(found)
    if ids is None:
        return {"mask_colors": True, "class": list(rows.values()), "ignore_colors": ignored}
    return {"class": list(rows.values()), "ignore": sorted({*ignored, 255} - _taken(rows))}


def _taken(rows: dict[str, dict[str, Any]]) -> set[int]:
    return {number for row in rows.values() for number in row["ids"]}


def _find(header: list[str], names: tuple[str, ...]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _read_ids(path: Path, text: str) -> list[int]:
    words = re.split(r"[\s;|]+", text.strip())
    try:
        return [int(word) for word in words if word]
    except ValueError:
        raise DsegError(
            f"{path}: the id {text!r} is not an integer.", hint="write 0 to 255."
        ) from None


def _read_color(path: Path, text: str) -> list[int]:
    code = re.fullmatch(r"#?([0-9a-fA-F]{6})", text.strip())
    if code and not text.strip().isdecimal():
        return list(bytes.fromhex(code[1]))
    numbers = re.findall(r"\d+", text)
    if len(numbers) != 3:
        raise DsegError(
            f"{path}: the colour {text!r} is not three numbers.",
            hint="write 128 64 128 or #804080.",
        )
    return [int(number) for number in numbers]
