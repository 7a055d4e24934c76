"""Write files whole or not at all, from any number of processes, and walk over folders."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import socket
import stat
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from pathlib import Path

from dseg.errors import EXIT_FAILED_INPUTS, DsegError
from dseg.jsonio import dumps

SUFFIX = ".dseg-part"  # temporary files are named .<host>-<process>-<name>-<random><suffix>
STALE_S = 86_400.0  # age from which a temporary file of another machine is stale
PATIENCE_S = 2.0 if os.name == "nt" else 0.0  # for programs that have a file open; see rename_over

TRY_AGAIN_S = 0.05
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # missing on Windows
_cleaned: set[Path] = set()  # folders from which this process has removed stale files


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary file in the folder of ``path``, and rename it to ``path`` at the end.

    The temporary name is unique, and the file is created here, empty, without following a link.
    Several processes can therefore write one ``path`` at once: all succeed, readers find a whole
    file at any time, and the last one stays. If the body raises an error, the temporary file is
    removed and ``path`` stays as it was. Temporary files that killed processes left in the folder
    are removed; those of other machines once they are a day old.

    Raises:
        DsegError: the path has no name, the folder cannot be written, or the disk is full.
    """
    part = temporary_path(path)
    try:
        _create(part)
        yield part
        rename_over(part, path)
    except OSError as fault:
        raise unwritable_error(path, fault) from fault
    finally:
        with suppress(OSError):  # nothing was created below a file or on a read-only disk
            part.unlink(missing_ok=True)


def free_path(path: Path, is_own: Callable[[Path], bool]) -> Path:
    """Return a path that can be written without a loss: a file of the user is not replaced.

    Args:
        path: is returned if there is no such file, or it is our own.
        is_own: whether a file was written by dseg.

    Returns:
        The path, or else one beside it: ``name-dseg.jpg``, ``name-dseg-2.jpg`` and so on.
    """
    for number in count():
        ending = "" if not number else "-dseg" if number == 1 else f"-dseg-{number}"
        free = path.with_name(f"{path.stem}{ending}{path.suffix}")
        if not os.path.lexists(free) or is_own(free):
            return free
    raise AssertionError


def rename_over(part: Path, path: Path) -> None:
    """Rename a file, and replace the one that has the name.

    Windows refuses it as long as any program has one of them open, such as a virus scanner or
    another process of dseg; so it is tried again for ``PATIENCE_S``.

    Raises:
        OSError: the file cannot be renamed.
    """
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            part.replace(path)
            return
        except PermissionError:
            if time.monotonic() >= end:
                raise
            time.sleep(TRY_AGAIN_S)


def ignores_case(folder: Path) -> bool:
    """Return True if names in a folder, or the nearest one that exists, differ by case only.

    So it is on most disks of Windows and macOS. It is found by the names of the folders.
    """
    for place in (folder.absolute(), *folder.absolute().parents):
        other = place.with_name(place.name.swapcase()) if place.name else place
        if other.name != place.name and place.exists():
            return other.exists() and other.samefile(place)
    return False


def check_writable(path: Path) -> None:
    """Check that a file can be written, before the work whose result it will hold.

    Missing folders are made; an existing file stays as it is.

    Raises:
        DsegError: as ``written_whole``, or the path is a folder.
    """
    part = temporary_path(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        _create(part)
    except OSError as fault:
        raise unwritable_error(path, fault) from fault
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write a file of strict JSON, whole or not at all.

    Raises:
        DsegError: as ``written_whole``.
        ValueError: the value holds NaN or infinity.
    """
    text = dumps(value)
    with written_whole(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def temporary_path(path: Path) -> Path:
    """Return a unique name beside a file; if this process is killed, a later one removes it.

    Raises:
        DsegError: the path has no name, as "." and "" have none.
    """
    if not path.name:
        raise DsegError(
            f"{path} is a folder, not a file.", hint="name a file.", exit_code=EXIT_FAILED_INPUTS
        )
    key = f"{_host()}-{os.getpid()}-{_digest(path.name)}-{secrets.token_hex(4)}"
    return path.with_name(f".{key}{SUFFIX}")


def unwritable_error(path: Path, fault: OSError) -> DsegError:
    """Return the error for a file or folder that cannot be written."""
    blocked = isinstance(fault, (FileExistsError, NotADirectoryError))
    reason = "one of its parent folders is a file" if blocked else fault.strerror or fault
    return DsegError(
        f"{path} cannot be written: {reason}.",
        hint="make room, or name a folder that you can write to.",
        exit_code=EXIT_FAILED_INPUTS,
    )


def sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def walk_folders(
    top: Path,
    *,
    skip: Collection[str] = (),
    on_error: Callable[[OSError], object] | None = None,
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield a folder and those below it: the folder, and its sorted subfolder and file names.

    Links are followed, but no folder is yielded twice. Hidden entries are left out. As with
    ``os.walk``, subfolders that the caller removes from the list are not entered.

    Args:
        top: need not exist.
        skip: real paths of folders that are not entered.
        on_error: is called with the error of a folder that cannot be read; by default such a
            folder is passed over.
    """
    visited: set[str] = set()
    for root, folders, files in os.walk(top, followlinks=True, onerror=on_error):
        real = os.path.realpath(root)
        if real in visited or real in skip:  # visited: a link to a folder above, for example
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(root), folders, sorted(name for name in files if not name.startswith("."))


def walk_files(top: Path) -> Iterator[Path]:
    """Yield the files below a folder at any depth, as ``walk_folders`` finds them."""
    for folder, _, names in walk_folders(top):
        yield from (folder / name for name in names)


def _create(part: Path) -> None:
    """Create an empty temporary file, and its folder; remove what killed processes left there."""
    part.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(part.parent)
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | _NO_LINK, 0o666))


def _remove_stale(folder: Path) -> None:
    """Remove stale temporary files from a folder, the first time this process writes to it."""
    if folder in _cleaned:
        return
    _cleaned.add(folder)
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and entry.name.endswith(SUFFIX) and _is_stale(entry):
                with suppress(OSError):
                    Path(entry.path).unlink(missing_ok=True)


def _is_stale(entry: os.DirEntry[str]) -> bool:
    facts = entry.stat(follow_symlinks=False)
    if not stat.S_ISREG(facts.st_mode):
        return False
    host, _, rest = entry.name[1:].partition("-")
    process = rest.partition("-")[0]
    if os.name == "posix" and host == _host() and process.isdigit():
        return not _is_running(int(process))
    return time.time() - facts.st_mtime > STALE_S


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's process, or not a process number
        return True
    return True


@cache
def _host() -> str:
    return _digest(socket.gethostname())


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=4).hexdigest()
