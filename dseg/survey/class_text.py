"""The text of a class file, with comments for people who edit it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

HEAD = """\
# Classes of the masks in this folder. Rename, join or reorder them as you like: the position
# of a class is its train id. Check the result: dseg check-data --data-dir DIR
"""
COMMENTS = {
    "images": "folder of the images; {split} stands for any split",
    "masks": "folder of the masks",
    "image_prefix": "beginning of the images' names",
    "mask_prefix": "beginning of the masks' names",
    "image_suffix": "end of the images' names, before the extension",
    "mask_suffix": "end of the masks' names, before the extension",
    "image_types": "extensions of the images",
    "mask_types": "extensions of the masks",
    "unlisted": "values and colours that are not listed here",
    "lists": "text files that list the images of each split",
    "without_mask": "images without a mask",
    "ignore": "mask values that are neither trained nor scored",
    "ignore_colors": "colours that are neither trained nor scored",
    "mask_colors": "masks are colour images",
    "mask_channel": "channel of the masks that holds the ids",
}
ORDER = ("name", *COMMENTS)


def make_class_text(fields: Mapping[str, Any], remarks: Sequence[str] = ()) -> str:
    """Return a class file in TOML with one comment for each field.

    Args:
        fields: fields of the file, with its classes in ``class``; a class can have a ``note``,
            which becomes a comment.
        remarks: lines for the head.
    """
    lines = [HEAD.rstrip(), *(f"# {remark}" for remark in remarks), ""]
    for name in ORDER:
        if name in fields and not isinstance(fields[name], Mapping):
            lines += _with_comment(f"{name} = {_format(fields[name])}", COMMENTS.get(name, ""))
    for row in fields["class"]:
        note = f"  # {row['note']}" if row.get("note") else ""
        lines += ["", "[[class]]", f"name = {_format(row['name'])}"]
        for key in ("id", "ids"):
            if key in row:
                lines.append(f"{key} = {_format(row[key])}{note}")
                note = ""
        for key in ("color", "colors"):
            if key in row:
                lines.append(f"{key} = {_format(row[key])}{note}")
                note = ""
    for name in ("images", "masks", "lists"):
        if isinstance(fields.get(name), Mapping):
            lines += ["", f"[{name}]", *(f"{k} = {_format(v)}" for k, v in fields[name].items())]
    return "\n".join(lines) + "\n"


def _with_comment(line: str, comment: str) -> list[str]:
    """Return a line with its comment behind it, or above it if the line is long."""
    if not comment:
        return [line]
    return [f"{line:<40}# {comment}"] if len(line) < 40 else [f"# {comment}:", line]


def _format(value: Any) -> str:
    """Return a TOML value; JSON's strings, lists and booleans are valid TOML."""
    return json.dumps(value, ensure_ascii=False)
