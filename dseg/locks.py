"""File locks, held by one process at a time and released when it ends in any way."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

LOOK_AGAIN_S = 0.05
HOLDER_LENGTH = 200  # largest number of bytes read of a holder's description

_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)  # on Unix, on Windows
_descriptors: set[int] = set()  # open files of the locks that this process holds


class LockedError(Exception):
    """Another process holds the lock.

    Attributes:
        holder: description of the other process, with the time; "" if it cannot be read.
    """

    def __init__(self, holder: str):
        super().__init__(holder)
        self.holder = holder


@contextmanager
def locked(path: Path, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold a lock on a file, which is created here, with its folder, and removed at the end.

    The operating system releases the lock when the process ends in any way, and forked processes
    do not inherit it. A file left by a killed process therefore locks nothing. Folders created
    here are removed too, if they are empty at the end.

    Args:
        path: the lock file.
        wait_s: largest time to wait for the lock, in seconds.

    Raises:
        LockedError: another process, or this one, holds the lock and did not release it in time.
        OSError: the file cannot be created, or its file system does not support locks.
    """
    made = [folder for folder in path.parents if not folder.exists()]
    end = time.monotonic() + wait_s
    handle: int | None = None
    try:
        while (handle := _try_lock(path)) is None:
            if time.monotonic() >= end:
                raise LockedError(_read_holder(path))
            time.sleep(LOOK_AGAIN_S)
        yield
    finally:
        if handle is not None:
            _release(path, handle)
        for folder in made:
            with suppress(OSError):  # a folder that is not empty stays
                folder.rmdir()


def _try_lock(path: Path) -> int | None:
    """Return a descriptor of the locked file; None if another process holds or removed it."""
    from filelock import lock_descriptor

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o666)
    except FileNotFoundError:  # another process has removed the folder again
        return None
    _descriptors.add(handle)
    acquired = False
    try:
        # its last holder can have removed the file since it was opened here
        if lock_descriptor(handle, blocking=False) and _is_at(path, handle):
            os.ftruncate(handle, 0)
            os.write(handle, _describe_holder().encode(errors="backslashreplace"))
            acquired = True
    finally:
        if not acquired:
            _descriptors.discard(handle)
            os.close(handle)
    return handle if acquired else None


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(follow_symlinks=False), os.fstat(handle))
    except FileNotFoundError:
        return False


def _release(path: Path, handle: int) -> None:
    if handle not in _descriptors:  # a forked process does not hold the lock
        return
    with suppress(OSError):  # Windows does not remove open files
        path.unlink()
    _descriptors.discard(handle)
    os.close(handle)
    if os.name == "nt":
        with suppress(OSError):  # the next holder has opened it
            path.unlink()


def _describe_holder() -> str:
    since = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"process {os.getpid()} on {socket.gethostname()}, since {since}\n"


def _read_holder(path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(HOLDER_LENGTH).decode(errors="replace")
    except OSError:  # the file was removed, or Windows locks it for readers
        return ""
    return text.partition("\n")[0]


def _close_in_child() -> None:
    """Close the parent's locks in a forked process, so that they end with the parent."""
    for handle in _descriptors:
        with suppress(OSError):
            os.close(handle)
    _descriptors.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
