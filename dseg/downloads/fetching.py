"""Download one file: locked, resumed after a broken connection, and checked by its digest."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dseg.downloads.display import SILENT, Display
from dseg.downloads.errors import (
    BrokenError,
    NoNetworkError,
    UnreachableError,
    cache_error,
    is_offline,
    no_space_error,
)
from dseg.downloads.source import Source
from dseg.downloads.transfer import Part, receive
from dseg.errors import CheckpointError, DsegError
from dseg.files import sha256
from dseg.locks import LockedError, locked

TRIES = 5  # in succession, without as many bytes as PROGRESS in between
UNREACHABLE_TRIES = 2  # while there is no connection at all
PROGRESS = 1 << 20
PAUSES_S = (0.5, 1.0, 2.0, 4.0)
LONGEST_PAUSE_S = 30.0  # that a server can ask for
WAIT_S = 6 * 3600.0  # for another process that downloads the same file


def check_online(source: Source) -> None:
    """Refuse to use the network if DSEG_OFFLINE is set.

    Raises:
        NoNetworkError: it is.
    """
    if is_offline():
        raise NoNetworkError(
            f"{source.title} is not here, and DSEG_OFFLINE forbids to download it.",
            hint=f"{source.by_hand} Or unset DSEG_OFFLINE.",
        )


def fetch(
    source: Source,
    target: Path,
    display: Display = SILENT,
    *,
    about: str = "",
    again: bool = False,
) -> Path:
    """Download a file to ``target``, unless it is there; return ``target``.

    The bytes are first written to ``.<name>.part`` beside it, which stays after a broken connection
    or Ctrl-C and is continued by the next call. Of several processes one downloads, and the others
    wait for it.

    Args:
        source: what to download.
        target: the file; its folder is made.
        display: shows messages and progress.
        about: message before the first byte.
        again: replace a file that is there.

    Raises:
        NoNetworkError: there is no connection to the server, or DSEG_OFFLINE is set.
        CheckpointError: the server has no such file, sends another one, or broke the connection
            several times.
        DsegError: the folder cannot be written, or the disk is full.
    """
    check_online(source)
    with _alone(source, target, display):
        if target.is_file() and not again:  # another process was faster
            return target
        try:
            _download(source, target, display, about)
        except OSError as fault:
            if fault.errno in (errno.ENOSPC, errno.EDQUOT):
                Part(target, key="").remove()
                raise no_space_error(target.parent, f" for {source.title}") from fault
            raise cache_error(target.parent, fault, source.by_hand) from fault
    return target


def _download(source: Source, target: Path, display: Display, about: str) -> None:
    """Receive a file beside its target, check it, and give it its name."""
    part = Part(target, key=source.sha256 or source.url)
    if about:
        display.note(_announce(about, source, part))
    resumed = _receive_all(source, part, display)
    if resumed and not _is_right(part, source):
        display.note(f"The continued file {target.name} is damaged: downloading it anew.")
        part.remove()
        _receive_all(source, part, display)
    _check(part, source)
    part.finish()


@contextmanager
def _alone(source: Source, target: Path, display: Display) -> Iterator[None]:
    """Hold the lock of a download; wait for another process that has it."""
    lock = target.with_name(f".{target.name}.lock")
    with ExitStack() as held:
        try:
            try:
                held.enter_context(locked(lock))
            except LockedError as fault:
                display.note(f"Waiting for {fault.holder or 'a process'}, which downloads it too.")
                held.enter_context(locked(lock, wait_s=WAIT_S))
        except LockedError as fault:
            raise DsegError(
                f"{source.title} is being downloaded by another process: {fault.holder}.",
                hint="end that process, and run again.",
            ) from fault
        except OSError as fault:
            raise cache_error(target.parent, fault, source.by_hand) from fault
        yield


def _receive_all(source: Source, part: Part, display: Display) -> bool:
    """Receive a file in as many tries as it takes; return True if an older part was continued."""
    resumed = part.size() > 0
    failed = 0
    while True:
        before = part.size()
        try:
            receive(source, part, display)
            return resumed
        except BrokenError as fault:
            failed = 1 if part.size() - before >= PROGRESS else failed + 1
            unreachable = isinstance(fault, UnreachableError)
            if failed >= (UNREACHABLE_TRIES if unreachable else TRIES):
                raise _give_up(source, part, fault) from fault
            pause = max(PAUSES_S[min(failed, len(PAUSES_S)) - 1], fault.pause_s)
            time.sleep(min(pause, LONGEST_PAUSE_S))
            resumed = resumed or part.size() > 0


def _announce(about: str, source: Source, part: Part) -> str:
    """Return the message before the first byte, with the mirror and an earlier part, if any."""
    via = f" Mirror: {source.mirror}." if source.mirror else ""
    done = f" Continuing after {part.size() / 1e6:.1f} MB." if part.size() else ""
    return f"{about}{via}{done}"


def _give_up(source: Source, part: Part, fault: BrokenError) -> CheckpointError:
    if part.size():
        return CheckpointError(
            f"The connection for {source.title} broke several times: {fault.reason}.",
            hint=f"run again: the download continues after {part.size() / 1e6:.1f} MB. "
            f"Or {source.by_hand}",
        )
    if isinstance(fault, UnreachableError):
        return NoNetworkError(
            f"{source.title} cannot be downloaded, no connection to {source.host}: {fault.reason}.",
            hint=f"check the network and the proxy (HTTPS_PROXY), or {source.by_hand}",
        )
    return CheckpointError(
        f"{source.title} cannot be downloaded from {source.host}: {fault.reason}.",
        hint=f"run again later, or {source.by_hand}",
    )


def _is_right(part: Part, source: Source) -> bool:
    expected = source.sha256 or part.sha256
    return not expected or sha256(part.path).startswith(expected)


def _check(part: Part, source: Source) -> None:
    """Refuse and remove a file with another digest."""
    if _is_right(part, source):
        return
    found, size, expected = sha256(part.path), part.size(), source.sha256 or part.sha256
    part.remove()
    raise CheckpointError(
        f"{source.title} from {source.host} is another file: {size} bytes with SHA-256 {found}, "
        f"expected {expected}.",
        hint="the download was removed: the server, or something on the way, has changed the file. "
        f"Run again, or {source.by_hand}",
    )
