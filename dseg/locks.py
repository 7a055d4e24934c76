"""Locks on folders: held by one process at a time, and gone with it however it ends."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

LOOK_AGAIN_S = 0.05
HOLDER_LENGTH = 200  # bytes read of what a holder writes about itself

_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)  # one of Unix, one of Windows
_descriptors: set[int] = set()  # of the locks that this process holds


class LockedError(Exception):
    """Another process holds the lock.

    Attributes:
        holder: which one and since when, as it wrote; "" where that cannot be read.
    """

    def __init__(self, holder: str):
        super().__init__(holder)
        self.holder = holder


@contextmanager
def locked(path: Path, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock that a file stands for, made here with its folder and removed at the end.

    The operating system releases the lock of a process that ends in any way, and processes that
    this one forks do not keep it. A file left by a killed process therefore locks nothing. A
    folder made here that is empty at the end is removed too.

    Args:
        path: the lock file.
        wait_s: how long to wait for a holder to release it, in seconds.

    Raises:
        LockedError: another process, or this one, holds the lock and has not released it in time.
        OSError: the file cannot be made, or its file system knows no locks.
    """
    made = [folder for folder in path.parents if not folder.exists()]
    end = time.monotonic() + wait_s
    handle: int | None = None
    try:
        while (handle := _take(path)) is None:
            if time.monotonic() >= end:
                raise LockedError(_read_holder(path))
            time.sleep(LOOK_AGAIN_S)
        yield
    finally:
        if handle is not None:
            _release(path, handle)
        for folder in made:
            with suppress(OSError):  # what holds something stays
                folder.rmdir()


def _take(path: Path) -> int | None:
    """Return a descriptor of the file, locked; None if another has the lock or just removed it."""
    from filelock import lock_descriptor

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o666)
    except FileNotFoundError:  # whoever made the folder has removed it again
        return None
    _descriptors.add(handle)
    taken = False
    try:
        # the file may have been removed by its last holder since it was opened
        if lock_descriptor(handle, blocking=False) and _is_at(path, handle):
            os.ftruncate(handle, 0)
            os.write(handle, _describe_holder().encode(errors="backslashreplace"))
            taken = True
    finally:
        if not taken:
            _descriptors.discard(handle)
            os.close(handle)
    return handle if taken else None


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(follow_symlinks=False), os.fstat(handle))
    except FileNotFoundError:
        return False


def _release(path: Path, handle: int) -> None:
    if handle not in _descriptors:  # in a forked process, which holds nothing
        return
    with suppress(OSError):  # Windows removes no file that is open
        path.unlink()
    _descriptors.discard(handle)
    os.close(handle)
    if os.name == "nt":
        with suppress(OSError):  # or the next holder has opened it
            path.unlink()


def _describe_holder() -> str:
    since = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"process {os.getpid()} on {socket.gethostname()}, since {since}\n"


def _read_holder(path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(HOLDER_LENGTH).decode(errors="replace")
    except OSError:  # it is gone, or Windows keeps it from readers
        return ""
    return text.partition("\n")[0]


def _close_in_child() -> None:
    """Close the parent's locks in a forked process, which would keep them when the parent dies."""
    for handle in _descriptors:
        with suppress(OSError):
            os.close(handle)
    _descriptors.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
