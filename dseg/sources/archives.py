"""Unpack the images and videos of zip and tar archives, safely and within limits."""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
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
BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError),
    *(NotImplementedError, RuntimeError),  # a method of compression, or a password
)


def is_archive(path: Path) -> bool:
    """Return True if a file name is that of an archive."""
    return path.name.lower().endswith(ARCHIVE_SUFFIXES)


def unpack(archive: Path, folder: Path) -> str:
    """Write the images and videos of an archive below a folder, in its own tree.

    Links, devices, hidden files and names that lead out of the archive are left out.

    Returns:
        What is wrong with the archive, after what could be read was written; "" if nothing.

    Raises:
        DsegError: it is no archive, has nothing to read, or is too large.
    """
    left = MOST_TOTAL
    found = 0
    written: set[str] = set()
    fault = ""
    try:
        with _members(archive) as members:
            for name, size, file in members:
                target = _target_of(name, folder, written)
                if target is None:
                    continue
                found += 1
                if size > min(MOST_BYTES, left) or found > MOST_FILES:
                    raise _too_large(archive)
                left -= _copy(file, target, min(MOST_BYTES, left), archive)
    except BROKEN as error:
        fault = f"{archive} is damaged: {str(error).rstrip('.') or 'it ends too early'}."
    except OSError as error:
        fault = f"{archive} cannot be unpacked: {error.strerror or error}."
    if fault and not found:
        raise DsegError(fault, hint="download or pack it again.")
    if not found:
        raise DsegError(
            f"No image in {archive}.",
            hint=f"searched for {' '.join('*' + suffix for suffix in IMAGE_SUFFIXES)}.",
        )
    return fault


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[tuple[str, int, IO[bytes]]]]:
    """Yield an iterator of the name, size and content of each regular file."""
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as packed:
            yield _zip_members(packed)
    else:
        with tarfile.open(archive, "r|*") as stream:
            yield _tar_members(stream)


def _zip_members(packed: zipfile.ZipFile) -> Iterator[tuple[str, int, IO[bytes]]]:
    for member in packed.infolist():
        if not member.is_dir() and _is_wanted(member.filename):
            with packed.open(member) as file:
                yield member.filename, member.file_size, file


def _tar_members(stream: tarfile.TarFile) -> Iterator[tuple[str, int, IO[bytes]]]:
    for member in stream:
        if member.isreg() and _is_wanted(member.name):
            file = stream.extractfile(member)
            if file is not None:
                yield member.name, member.size, file
        stream.members = []  # type: ignore[attr-defined]  # it would keep all of them


def _is_wanted(name: str) -> bool:
    return name.lower().endswith((*IMAGE_SUFFIXES, *VIDEO_SUFFIXES))


def _target_of(name: str, folder: Path, written: set[str]) -> Path | None:
    """Return where a member is written; None if its name leads elsewhere or is hidden.

    Args:
        written: names so far; a member that has one of them replaces it, as another version.
    """
    parts = PurePosixPath(name.replace("\\", "/")).parts
    parts = tuple(part for part in parts if part != ".")
    if not parts or any(
        part.startswith(".") or part == "__MACOSX" or set(part) & set('/:*?"<>|\0')
        for part in parts
    ):
        return None
    target = folder.joinpath(*parts)
    if str(target) not in written and target.exists():  # a.png after A.png, where case is ignored
        target = _unused(target)
    written.add(str(target))
    return target


def _unused(target: Path) -> Path:
    """Return a name beside a file that no other file has."""
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
