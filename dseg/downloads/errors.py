"""Errors of downloads, each with the way to do it by hand."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from dseg.errors import EXIT_FAILED_INPUTS, CheckpointError, DsegError


class NoNetworkError(CheckpointError):
    """The server cannot be reached, or DSEG_OFFLINE forbids to try."""


class BrokenError(Exception):
    """A transfer ended early, or the server is busy: another try can continue it.

    Attributes:
        reason: what happened, in words.
        pause_s: time that the server asks to wait, in seconds.
    """

    def __init__(self, reason: str, pause_s: float = 0.0):
        super().__init__(reason)
        self.reason = reason
        self.pause_s = pause_s


class UnreachableError(BrokenError):
    """No connection was made."""


def is_offline() -> bool:
    """Return True if the environment variable DSEG_OFFLINE forbids the use of the network."""
    return os.environ.get("DSEG_OFFLINE", "").strip().lower() not in ("", "0", "no", "false", "off")


def cache_error(folder: Path, fault: OSError, by_hand: str) -> DsegError:
    """Return the error for a folder that cannot be written, or for a full disk."""
    if fault.errno in (errno.ENOSPC, errno.EDQUOT):
        return no_space_error(folder, "")
    blocked = isinstance(fault, (FileExistsError, NotADirectoryError))
    reason = "one of its parent folders is a file" if blocked else fault.strerror or fault
    return DsegError(
        f"{folder} cannot be written: {reason}.",
        hint=f"name another folder by the environment variable DSEG_CACHE, or {by_hand}",
        exit_code=EXIT_FAILED_INPUTS,
    )


def no_space_error(folder: Path, more: str) -> DsegError:
    """Return the error for a full disk."""
    return DsegError(
        f"There is not enough space in {folder}{more}.",
        hint="free some space, or name a folder on another disk by the environment variable "
        "DSEG_CACHE; then run again.",
        exit_code=EXIT_FAILED_INPUTS,
    )
