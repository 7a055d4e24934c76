"""Count the cores that this process can use, set up its threads, and map over threads."""

from __future__ import annotations

import math
import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # set by the user, they stay
THREADS = "OMP_NUM_THREADS"
CHOSEN = (THREADS, "MKL_NUM_THREADS")
_ours = False  # True if the user has not set the number of threads
Item = TypeVar("Item")
Result = TypeVar("Result")
Advance = Callable[[], None]  # is called once for each item that is done
Progress = Callable[[str, int], AbstractContextManager[Advance]]  # what is done, number of items


def count_cores() -> int:
    """Return the number of cores that this process can use, at least 1.

    This is its CPU affinity, limited by the CPU quota of its cgroups: a container that is limited
    to 2 of 64 cores still has an affinity of 64.
    """
    quota = read_quota(CGROUPS, MEMBERSHIP)
    return max(1, math.ceil(min(_count_allowed(), quota)))


def prepare_threads() -> None:
    """Make OpenMP threads wait passively, one per core at most; call before torch is imported.

    By default, OpenMP threads spin while they wait for each other. If other programs use the
    machine, a spinning thread takes the core from the thread that it waits for. What the user has
    set in the environment stays, and nothing changes once torch is imported.
    """
    global _ours
    if "torch" in sys.modules:
        return
    _ours = not any(name in os.environ for name in CHOSEN)
    if not any(name in os.environ for name in WAITING):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ["KMP_BLOCKTIME"] = "0"  # OpenMP of LLVM and Intel
    if _ours and count_cores() < _count_allowed():
        os.environ[THREADS] = str(count_cores())  # torch ignores the quota


def is_choice_ours() -> bool:
    """Return True if ``prepare_threads`` found that the user has not set the number of threads."""
    return _ours


def _count_allowed() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def read_quota(root: Path, membership: Path) -> float:
    """Return the CPU quota of this process's cgroups in cores, infinity without a limit.

    Args:
        root: mount point of cgroups, version 2 or 1.
        membership: file of this process's cgroups, lines ``id:controllers:path``.
    """
    return min(_quota_of(folder) for folder in find_cgroups(root, membership, "cpu"))


def find_cgroups(root: Path, membership: Path, controller: str) -> list[Path]:
    """Return the folders of this process's cgroups and their parents, which can hold limits.

    Args:
        root, membership: as for ``read_quota``.
        controller: ``cpu`` or ``memory``.
    """
    folders = [root]
    for line in read_text(membership).splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and controller not in controllers.split(","):
            continue
        folders += _upwards(root / controllers if controllers else root, path)
        if controllers:
            folders.append(root / controller)
    return folders


def _upwards(base: Path, path: str) -> list[Path]:
    """Return the folder of a cgroup and those of its parents, whose limits apply too."""
    parts = [part for part in path.split("/") if part not in ("", "..")]
    return [base.joinpath(*parts[:end]) for end in range(len(parts), -1, -1)]


def _quota_of(folder: Path) -> float:
    limit = read_text(folder / "cpu.max").split()  # version 2: quota and period in microseconds
    if not limit:
        limit = [read_text(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    try:
        quota, period = (int(text) for text in limit)
    except ValueError:  # no limit ("max"), or no such file
        return math.inf
    return quota / period if quota > 0 and period > 0 else math.inf


def read_text(file: Path) -> str:
    """Return the text of a system file, "" if it cannot be read."""
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


class Threads(ThreadPoolExecutor):
    """A thread pool that uses the threads it has if the system does not start another one."""

    def _adjust_thread_count(self) -> None:
        try:
            super()._adjust_thread_count()
        except RuntimeError:
            if not self._threads:
                raise


def map_in_order(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int | None = None,
    *,
    ahead: int | None = None,
    wait: bool = False,
) -> Generator[Result, None, None]:
    """Yield ``function(item)`` in the order of the items, computed by threads.

    Decoding and counting release the interpreter's lock, so threads use all cores, and nothing is
    copied between processes. Memory does not grow with the number of items. When the generator is
    closed, or the function raises an error, calls that have not started are cancelled.

    Args:
        function: must be safe to call from several threads.
        items: its arguments.
        workers: number of threads, by default one per core.
        ahead: number of results that are computed ahead of the one being waited for. By default
            twice the number of threads; one worker then computes in the calling thread.
        wait: at the end, wait for calls that have started.
    """
    workers = min(workers or count_cores(), max(len(items), 1))
    if ahead is None and workers == 1:
        yield from map(function, items)
        return
    ahead = 2 * workers if ahead is None else ahead
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=wait, cancel_futures=True)
