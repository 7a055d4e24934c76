"""List files: which image goes with which mask, one pair a line."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from dseg.datasets.base import Encoding, Sample
from dseg.datasets.files import Listing
from dseg.errors import DsegError

LONGEST = 4096  # characters of a path
DRIVE = re.compile("[A-Za-z]:")


def read_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the words of each line that is not empty.

    Lines end as on any system, and words are separated by spaces and tabs.

    Raises:
        DsegError: the file is missing, unreadable or no text, or a line is longer than any path.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # which makes one kind of line ends
    except UnicodeDecodeError:
        raise DsegError(f"{path} is no text in UTF-8.", hint="is it the right file?") from None
    except OSError as fault:
        raise DsegError(
            f"{path} cannot be read: {fault.strerror}.", hint="check that it is there."
        ) from None
    for number, line in enumerate(text.split("\n"), 1):
        words = line.replace("\t", " ").split(" ")
        if "\0" in line or max(map(len, words)) > LONGEST:
            what = "a NUL" if "\0" in line else f"a word of {max(map(len, words)):,} characters"
            raise DsegError(
                f"{path}, line {number} holds {what}, which no path does.",
                hint="is it the right file?",
            )
        if words := [word for word in words if word]:
            yield number, words


def read_pair_list(path: Path, root: Path, encoding: Encoding) -> Listing:
    """Read a list of images and masks, separated by whitespace.

    Paths may have a leading slash or begin with folders that are not here, as those of SegNet's
    tutorial do (``/SegNet/CamVid/train/x.png``): the longest end of a path that exists below
    ``root`` counts.

    Raises:
        DsegError: a line without two paths, no such image, or an image named twice.
    """
    samples: dict[str, Sample] = {}
    unlabelled = []
    for number, words in read_lines(path):
        if len(words) != 2:
            raise DsegError(
                f"{path}, line {number}: {len(words)} words in place of an image and a mask.",
                hint="write both paths, separated by a space; neither may contain one.",
            )
        image, mask = (find_below(root, word) for word in words)
        if image is None:
            raise DsegError(
                f"{path}, line {number}: there is no {words[0]} in {root}.",
                hint="paths count from the data set's folder and do not lead out of it.",
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
    """Return the file below ``root`` that the longest end of a path names, or None.

    Links are followed wherever they lead, ``..`` never above ``root``. A name may be in another
    Unicode normal form than that on the disk, as lists from macOS are.
    """
    parts = _split(word)
    if parts is None:
        return None
    for start in range(len(parts)):
        found = _look(root, parts[start:])
        if found is not None:
            return found
    return None


def folder_below(root: Path, name: str, where: Path) -> Path:
    """Return the path of a folder that a file names below a data set's.

    Args:
        root: the data set's folder.
        name: as the file has it.
        where: the file, for the error.

    Raises:
        DsegError: it is absolute or leads out of ``root``.
    """
    parts = _split(name)
    if parts is None or Path(name).is_absolute() or name.startswith(("/", "\\")):
        raise DsegError(
            f"{where} names the folder {name!r}, which does not lie in {root}.",
            hint="name folders below the data set's, or link to them from there.",
        )
    return root.joinpath(*parts)


def _split(word: str) -> list[str] | None:
    """Return the parts of a path of any system, without its root; None if ``..`` leads above it."""
    parts: list[str] = []
    for part in word.replace("\\", "/").split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", ".") and not (not parts and DRIVE.fullmatch(part)):
            parts.append(part)
    return parts


def _look(root: Path, parts: list[str]) -> Path | None:
    """Return the file of exactly these parts, each in any normal form."""
    exact = root.joinpath(*parts)
    if not exact.is_relative_to(root):  # a drive within a part, on Windows
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
    except (OSError, ValueError):  # it is longer than names may be, or is no text of this system
        return None


@lru_cache(maxsize=64)
def _normal_names(folder: Path, changed: int) -> dict[str, str]:
    """Return the entries of a folder, as it was when it last changed, by their composed form."""
    names = sorted(entry.name for entry in folder.iterdir())
    return {unicodedata.normalize("NFC", name): name for name in names}
