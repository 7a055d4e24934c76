"""Unpack the images and videos of zip and tar archives, safely and within limits."""

from __future__ import annotations

import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePosixPath
from typing import IO

from dseg.errors import DsegError
from dseg.images import IMAGE_SUFFIXES
from dseg.video import VIDEO_SUFFIXES

ARCHIVE_SUFFIXES = (*(".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz"),)
MOST_BYTES = 4_000_000_000  # of a file
MOST_TOTAL = 50_000_000_000  # of all files of an archive
MOST_FILES = 1_000_000
BLOCK = 1 << 20
UNSAFE_HINT = "unpack it with a program that you trust, and name the folder."
# in names of files; Windows forbids more
FORBIDDEN = set('/:*?"<>|\0') if os.name == "nt" else set("/\0")
Member = tuple[str, int, IO[bytes] | None]  # name, size, and content, None of a link or device
BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError),
    *(NotImplementedError, RuntimeError),  # a method of compression, or a password
)


def is_archive(path: Path) -> bool:
    """Return True if a file name is that of an archive."""
    return path.name.lower().endswith(ARCHIVE_SUFFIXES)


@dataclass
class Unpacked:
    """What became of the images and videos of an archive.

    Attributes:
        count: number of those that were written.
        fault: what is wrong with the archive; "" if nothing.
        unsafe: number of links, and of names that lead out of the archive: they are lost.
        first_unsafe: name of the first of them.
        repeated: number of files that a later one of the same name replaced.
        first_repeated: name of the first of them.
    """

    count: int = 0
    fault: str = ""
    unsafe: int = 0
    first_unsafe: str = ""
    repeated: int = 0
    first_repeated: str = ""

    def leave_out(self, name: str) -> None:
        """Count a file that is not written."""
        self.unsafe += 1
        self.first_unsafe = self.first_unsafe or name

    def replace(self, name: str) -> None:
        """Count a file that another one of the same name replaces."""
        self.repeated += 1
        self.first_repeated = self.first_repeated or name


def unpack(archive: Path, folder: Path) -> Unpacked:
    """Write the images and videos of an archive below a folder, in its own tree.

    Links, devices and names that lead out of the archive are counted and left out; hidden files
    are left out.

    Returns:
        What could be read, and what could not.

    Raises:
        DsegError: it is no archive, has nothing to read, or is too large.
    """
    left = MOST_TOTAL
    found = Unpacked()
    written: dict[str, Path] = {}  # by the names in the archive
    try:
        with _members(archive) as members:
            for name, size, file in members:
                if _is_hidden(name):
                    continue
                target = _target_of(name, folder)
                if target is None or file is None:
                    found.leave_out(name)
                    continue
                if str(target) in written:
                    found.replace(name)
                else:
                    found.count += 1
                    written[str(target)] = _unused(target)
                target = written[str(target)]
                if size > min(MOST_BYTES, left) or found.count > MOST_FILES:
                    raise _too_large(archive)
                left -= _copy(file, target, min(MOST_BYTES, left), archive)
    except BROKEN as error:
        found.fault = f"{archive} is damaged: {str(error).rstrip('.') or 'it ends too early'}."
    except OSError as error:
        found.fault = f"{archive} cannot be unpacked: {error.strerror or error}."
    if not found.count:
        raise _nothing_in(archive, found)
    return found


def _nothing_in(archive: Path, found: Unpacked) -> DsegError:
    if found.fault:
        return DsegError(found.fault, hint="download or pack it again.")
    if found.unsafe:
        return DsegError(
            f"No image in {archive} can be unpacked: {describe_unsafe(found)}.", hint=UNSAFE_HINT
        )
    return DsegError(
        f"No image in {archive}.",
        hint=f"searched for {' '.join('*' + suffix for suffix in IMAGE_SUFFIXES)}.",
    )


def describe_unsafe(found: Unpacked) -> str:
    """Return how many files were left out, and the first of them."""
    what = "1 file is a link or has a name"
    if found.unsafe > 1:
        what = f"{found.unsafe} files are links or have names"
    return f"{what} that would lead out of it (first: {found.first_unsafe})"


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[Member]]:
    """Yield an iterator of the name, size and content of each image and video."""
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as packed:
            yield _zip_members(packed)
    else:
        with tarfile.open(archive, "r|*") as stream:
            yield _tar_members(stream)


def _zip_members(packed: zipfile.ZipFile) -> Iterator[Member]:
    for member in packed.infolist():
        if not member.is_dir() and _is_wanted(member.filename):
            with packed.open(member) as file:
                yield member.filename, member.file_size, file


def _tar_members(stream: tarfile.TarFile) -> Iterator[Member]:
    for member in stream:
        if not member.isdir() and _is_wanted(member.name):
            file = stream.extractfile(member) if member.isreg() else None
            yield member.name, member.size, file
        stream.members = []  # type: ignore[attr-defined]  # it would keep all of them


def _is_wanted(name: str) -> bool:
    return name.lower().endswith((*IMAGE_SUFFIXES, *VIDEO_SUFFIXES))


def _parts_of(name: str) -> list[str]:
    return [part for part in PurePosixPath(name.replace("\\", "/")).parts if part != "."]


def _is_hidden(name: str) -> bool:
    """Return True for hidden files and those that macOS adds."""
    return any(
        part == "__MACOSX" or (part.startswith(".") and part != "..") for part in _parts_of(name)
    )


def _target_of(name: str, folder: Path) -> Path | None:
    """Return where a member is written; None if its name leads elsewhere."""
    parts = _parts_of(name)
    if any(part == ".." or part[1:2] == ":" or set(part) & FORBIDDEN for part in parts):
        return None
    return folder.joinpath(*parts)


def _unused(target: Path) -> Path:
    """Return a path where there is no file: a.png after A.png has one, where case is ignored."""
    if not target.exists():
        return target
    names = (target.with_name(f"{target.stem}-{number}{target.suffix}") for number in count(2))
    return next(name for name in names if not name.exists())


def _copy(file: IO[bytes], target: Path, most: int, archive: Path) -> int:
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with target.open("wb") as out:
        while block := file.read(BLOCK):
            written += len(block)
            if written > most:  # more than the archive declares
                raise _too_large(archive)
            out.write(block)
    return written


def _too_large(archive: Path) -> DsegError:
    return DsegError(
        f"{archive} holds a file of more than {MOST_BYTES // 10**9} GB, or more than "
        f"{MOST_TOTAL // 10**9} GB or {MOST_FILES:,} files in total.",
        hint="unpack it, and name the folder.",
    )
