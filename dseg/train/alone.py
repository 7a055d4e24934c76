"""One training at a time in a run's folder."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dseg.distributed import Group
from dseg.errors import DsegError
from dseg.files import unwritable_error
from dseg.locks import LockedError, locked

LOCK = ".dseg-train.lock"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # as some network file systems say it


@contextmanager
def run_held(run: Path, group: Group, remark: Callable[[str], None]) -> Iterator[None]:
    """Keep other trainings out of a run's folder; of several processes the main one does.

    Args:
        run: the folder; it is made, and removed again if nothing was written into it.
        group: the processes.
        remark: told where the file system knows no locks.

    Raises:
        DsegError: another training is at work there, or the folder cannot be written.
    """
    with ExitStack() as stack:
        if group.main:
            try:
                stack.enter_context(locked(run / LOCK))
            except LockedError as fault:
                raise _taken(run, fault.holder) from None
            except OSError as fault:
                if fault.errno not in NO_LOCKS:
                    raise unwritable_error(run, fault) from fault
                remark(
                    f"WARNING: {run} cannot be locked ({fault.strerror}); start no other training "
                    "there meanwhile."
                )
        yield


def _taken(run: Path, holder: str) -> DsegError:
    return DsegError(
        f"Another dseg train is at work in {run}{f' ({holder})' if holder else ''}.",
        hint="wait until it has ended, or name another --out.",
    )
