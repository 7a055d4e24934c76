"""Lists of images: text and CSV files with one path or address on each line."""

from __future__ import annotations

import csv
import locale
import os
import re
from pathlib import Path

from dseg.errors import DsegError
from dseg.sources.urls import is_url

LIST_SUFFIXES = (".txt", ".lst", ".csv")
HEADERS = {"file", "files", "path", "paths", "filename", "file_name", "filepath", "image", "images",
           "img", "name", "url"}  # fmt: skip
MOST_BYTES = 100_000_000


def is_list(source: str | Path) -> bool:
    """Return True for ``@FILE``, and for the name of an existing text or CSV file."""
    text = str(source)
    if text.startswith("@") and not Path(text).exists():
        return True
    return Path(text).suffix.lower() in LIST_SUFFIXES and Path(text).is_file()


def read_list(source: str | Path) -> list[str | Path]:
    """Return the files and addresses of a list.

    A path is relative to the folder of the list or, if there is no such file, to the working
    directory. If a line has several fields, the first is the image. Empty lines, lines that begin
    with ``#`` and the header of a table are left out.

    Raises:
        DsegError: the list cannot be read, names a file that does not exist, or names none.
    """
    file = Path(str(source).removeprefix("@"))
    try:
        with file.open("rb") as opened:
            data = opened.read(MOST_BYTES + 1)
    except OSError as fault:
        raise DsegError(
            f"{file} cannot be read: {fault.strerror}.", hint="name a file of paths, one a line."
        ) from fault
    if len(data) > MOST_BYTES or b"\0" in without_bom(data)[:4096].rstrip(b"\0"):
        raise DsegError(
            f"{file} is not a list of paths.", hint="name a text file with one path on each line."
        )
    found: list[str | Path] = []
    lines = [decode_name(line) for line in without_bom(data).splitlines()]
    is_table = file.suffix.lower() == ".csv"
    for number, line in enumerate(lines, start=1):
        entry = _find(line.strip(), file.parent, is_table=is_table)
        if entry is not None:
            found.append(entry)
        elif (
            line.strip()
            and not line.startswith("#")
            and not (number == 1 and _fields(line, is_table=is_table)[0].lower() in HEADERS)
        ):
            raise DsegError(
                f"{file}, line {number}: {_fields(line, is_table=is_table)[0]} does not exist.",
                hint="paths are relative to the folder of the list, or to the working directory.",
            )
    if not found:
        raise DsegError(f"{file} names no image.", hint="write one path or address on each line.")
    return found


def without_bom(data: bytes) -> bytes:
    """Return a list as UTF-8, without the byte order mark that Windows programs write."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace").encode()
    return data.removeprefix(b"\xef\xbb\xbf")


def decode_name(data: bytes) -> str:
    """Return a file name; on Windows one that is not UTF-8 has the encoding of its programs."""
    try:
        return os.fsdecode(data)
    except UnicodeDecodeError:
        return data.decode(locale.getpreferredencoding(False), "replace")


def _find(line: str, folder: Path, *, is_table: bool) -> str | Path | None:
    """Return the file or address that a line names: all of it, or its first field."""
    if not line:
        return None
    for text in (line, *_fields(line, is_table=is_table)[:1]):
        if is_url(text):
            if text == line and " " not in line:
                return text
            continue
        for path in (folder / text, Path(text)):
            try:
                if path.exists():
                    return path
            except OSError:  # a name that is too long
                continue
    first = _fields(line, is_table=is_table)[0]
    return first if is_url(first) else None


def _fields(line: str, *, is_table: bool) -> list[str]:
    if is_table:
        mark = ";" if ";" in line and "," not in line else ","
        return [field.strip() for field in next(csv.reader([line], delimiter=mark), [line])]
    return re.split(r"[\t,;]|\s+", line.strip())
