"""List files, which name one image and its mask per line."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from dseg.datasets.base import Encoding, Sample
from dseg.datasets.listing import Listing
from dseg.errors import DsegError

LONGEST = 4096  # characters of a path
DRIVE = re.compile("[A-Za-z]:")


def read_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the words of each line that is not empty.

    Line ends of all systems are accepted. Words are separated by spaces and tabs.

    Raises:
        DsegError: The file is missing, unreadable or not text, or a word is longer than any path.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # converts all line ends to "\n"
    except UnicodeDecodeError:
        raise DsegError(f"{path} is not UTF-8 text.", hint="is it the right file?") from None
    except OSError as fault:
        raise DsegError(
            f"{path} cannot be read: {fault.strerror}.", hint="check that it is there."
        ) from None
    for number, line in enumerate(text.split("\n"), 1):
        words = line.replace("\t", " ").split(" ")
        if "\0" in line or max(map(len, words)) > LONGEST:
            what = "a NUL" if "\0" in line else f"a word of {max(map(len, words)):,} characters"
            raise DsegError(
                f"{path}, line {number} holds {what}, which cannot be in a path.",
                hint="is it the right file?",
            )
        if words := [word for word in words if word]:
            yield number, words


def read_pair_list(path: Path, root: Path, encoding: Encoding) -> Listing:
    """Read a list file with an image and its mask per line, separated by whitespace.

    Paths can begin with a slash or with folders of another machine, as in SegNet's tutorial
    (``/SegNet/CamVid/train/x.png``): the longest end of a path that exists in ``root`` is used.

    Raises:
        DsegError: A line does not have two paths, an image does not exist, or it is listed twice.
    """
    samples: dict[str, Sample] = {}
    unlabelled = []
    for number, words in read_lines(path):
        if len(words) != 2:
            raise DsegError(
                f"{path}, line {number}: {len(words)} words instead of an image and a mask.",
                hint="write both paths, separated by a space; paths cannot contain spaces.",
            )
        image, mask = (find_below(root, word) for word in words)
        if image is None:
            raise DsegError(
                f"{path}, line {number}: there is no {words[0]} in {root}.",
                hint="write paths relative to the data set's folder, which do not leave it.",
            )
        name = image.relative_to(root).with_suffix("").as_posix()
        if name in samples or image in unlabelled:
            raise DsegError(f"{path}, line {number}: {name} is listed twice.", hint="keep one.")
        if mask is None:
            unlabelled.append(image)
        else:
            samples[name] = Sample(name=name, image=image, mask=mask, encoding=encoding)
    return Listing(
        samples=tuple(samples[name] for name in sorted(samples)), unlabelled=tuple(unlabelled)
    )


def find_below(root: Path, word: str) -> Path | None:
    """Return the file in ``root`` that matches the longest end of a path, or None.

    Links are followed out of ``root``, but ``..`` is not. Names are found in any Unicode normal
    form, because lists written on macOS differ from names on other systems.
    """
    parts = _split(word)
    if parts is None:
        return None
    for start in range(len(parts)):
        found = _find_file(root, parts[start:])
        if found is not None:
            return found
    return None


def folder_below(root: Path, name: str, where: Path) -> Path:
    """Return the path of a folder that is given relative to the data set's folder.

    Args:
        root: Folder of the data set.
        name: Relative path of the folder, as written in a class file.
        where: Path of the class file for error messages.

    Raises:
        DsegError: The path is absolute or leaves ``root``.
    """
    parts = _split(name)
    if parts is None or Path(name).is_absolute() or name.startswith(("/", "\\")):
        raise DsegError(
            f"{where} names the folder {name!r}, which is not inside {root}.",
            hint="use folders inside the data set's folder, or link to them from there.",
        )
    return root.joinpath(*parts)


def _split(word: str) -> list[str] | None:
    """Split a path of any system into its parts without the root; None if ``..`` leads above it."""
    parts: list[str] = []
    for part in word.replace("\\", "/").split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", ".") and not (not parts and DRIVE.fullmatch(part)):
            parts.append(part)
    return parts


def _find_file(root: Path, parts: list[str]) -> Path | None:
    """Return the file with this path, each part of it in any Unicode normal form, or None."""
    exact = root.joinpath(*parts)
    if not exact.is_relative_to(root):  # on Windows, if a part contains a drive
        return None
    try:
        if exact.is_file():
            return exact
        if all(part.isascii() for part in parts):
            return None
        place = root
        for part in parts:
            if not (place / part).exists():
                known = _normal_names(place, place.stat().st_mtime_ns)
                part = known.get(unicodedata.normalize("NFC", part), part)
            place = place / part
        return place if place.is_file() else None
    except (OSError, ValueError):  # the name is too long, or not valid on this system
        return None


@lru_cache(maxsize=64)
def _normal_names(folder: Path, changed: int) -> dict[str, str]:
    """Return the entries of a folder by their NFC names, cached until the folder changes."""
    names = sorted(entry.name for entry in folder.iterdir())
    return {unicodedata.normalize("NFC", name): name for name in names}
