"""One cache of decoded images per machine, made by one process and mapped by all."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from mmap import mmap
from pathlib import Path

from dseg.data.cache.file import CacheFile, Key, find_key, write_cache
from dseg.datasets.base import Dataset
from dseg.distributed import Group
from dseg.errors import EXIT_FAILED_INPUTS, EXIT_INTERRUPTED, DsegError
from dseg.files import temporary_path, written_whole
from dseg.images import read_size
from dseg.locks import LockedError, locked
from dseg.memory import find_free_memory
from dseg.parallel import Progress

SHARED = Path("/dev/shm")
SPARE = 1 << 30  # bytes of memory and of shared memory that are left free, for batches
SUFFIX = ".dseg-cache"
ASK_AGAIN_S = 1.0


def never() -> bool:
    """Return False: never stop."""
    return False


class Builder:
    """Makes caches of a data set.

    Args:
        dataset: the data set.
        threads: number of threads that decode.
        progress: shows progress.
        stopping: called after each image; stop if it returns True.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        threads: int,
        progress: Progress,
        stopping: Callable[[], bool] = never,
    ):
        self.dataset, self.threads = dataset, threads
        self.progress, self.stopping = progress, stopping
        self.key = find_key(dataset)

    def write_temporary(self) -> Path:
        """Write a cache into shared memory, or without enough of it into the temporary folder.

        The caller removes the file. If this process is killed before, a later process that writes
        to the folder removes it.

        Raises:
            DsegError: there is too little space, or ``stopping`` returned True.
        """
        needed = count_bytes(self.dataset, self.threads)
        folder = Path(tempfile.gettempdir())
        room = min(find_free_memory(), shutil.disk_usage(SHARED).free if SHARED.is_dir() else 0)
        if needed + SPARE <= room:
            folder = SHARED
        path = temporary_path(folder / f"ram{SUFFIX}")
        hint = "use --cache disk with --cache-dir on a larger disk, set TMPDIR, or use --cache none"
        self._write(path, needed, hint)
        return path

    def find_or_write(self, folder: Path) -> Path:
        """Return the cache of the data set in a folder; make it if missing, damaged or out of date.

        If another process is making the same cache, wait for it.

        Raises:
            DsegError: there is too little space, the folder cannot be written, or ``stopping``
                returned True.
        """
        path = folder / name_cache(self.dataset, self.key)
        lock = path.with_suffix(".lock")
        while True:
            with ExitStack() as held:
                try:
                    # without locks, or in a read-only folder, an existing file is complete
                    with suppress(OSError):
                        held.enter_context(locked(lock, wait_s=ASK_AGAIN_S))
                except LockedError:
                    if self.stopping():
                        raise _stopped() from None
                    continue
                return self._find_or_write(path)

    def _find_or_write(self, path: Path) -> Path:
        if path.exists() and self._is_good(path):
            return path
        needed = count_bytes(self.dataset, self.threads)
        self._write(path, needed, "make room, or name another --cache-dir (dseg cache: --out)")
        return path

    def _is_good(self, path: Path) -> bool:
        """Check a cache; a damaged or outdated one is not mapped any more, and can be replaced."""
        try:
            found = CacheFile(path, self.key)
            with self.progress("cached images checked", len(self.dataset)) as advance:
                found.check(self.threads, advance)
        except DsegError:
            return False
        return True

    def _write(self, path: Path, needed: int, hint: str) -> None:
        there = next(place for place in path.absolute().parents if place.is_dir())
        free = shutil.disk_usage(there).free
        if needed > free:
            raise DsegError(
                f"The cache of {len(self.dataset)} images takes {needed:,} bytes, but {there} has "
                f"{free:,} free.",
                hint=f"{hint}.",
                exit_code=EXIT_FAILED_INPUTS,
            )
        with (
            self.progress("images cached", len(self.dataset)) as advance,
            written_whole(path) as part,
        ):
            write_cache(
                part, self.dataset, self.key, threads=self.threads, advance=advance,
                stopping=self.stopping,
            )  # fmt: skip


def name_cache(dataset: Dataset, key: Key) -> str:
    """Return the file name of a data set's cache, which stays when its files change."""
    words = re.sub(r"[^A-Za-z0-9+-]", "_", f"{dataset.name}-{dataset.split}-{dataset.space.name}")
    return f"{words[:80]}-{len(dataset)}-{key.samples[:8]}{SUFFIX}"


def open_cache(builder: Callable[[], Builder], group: Group, folder: Path | None) -> CacheFile:
    """Return the machine's cache of a data set, made by the first process of each machine.

    Args:
        builder: returns the builder; called in the process that makes the cache.
        group: the processes, all of which have to call this function.
        folder: folder of the cache; None for a temporary cache, which is removed with the last
            process that has it open if the system supports this, otherwise with the returned
            object or at the end of the process.

    Raises:
        DsegError: as for ``Builder``, in all processes; or a cache cannot be opened.
    """
    made: tuple[Path, Key] | DsegError | None = None
    if group.local_rank == 0:
        made = _make(builder, folder)
    temporary = isinstance(made, tuple) and folder is None
    cache: CacheFile | DsegError | None = None
    try:
        outcomes = group.gather(made)
        _raise_first(outcomes)
        mine = outcomes[group.rank - group.local_rank]
        assert isinstance(mine, tuple)
        cache = _open(*mine)
        _raise_first(group.gather(cache if isinstance(cache, DsegError) else None))
        assert isinstance(cache, CacheFile)
        return cache
    finally:
        if temporary:
            assert isinstance(made, tuple)
            _release(made[0], cache)


def _make(builder: Callable[[], Builder], folder: Path | None) -> tuple[Path, Key] | DsegError:
    try:
        made = builder()
        path = made.write_temporary() if folder is None else made.find_or_write(folder)
    except DsegError as fault:
        return fault
    return path, made.key


def _open(path: Path, key: Key) -> CacheFile | DsegError:
    try:
        return CacheFile(path, key)
    except DsegError as fault:
        return fault


def _raise_first(outcomes: list[tuple[Path, Key] | DsegError | None]) -> None:
    for outcome in outcomes:
        if isinstance(outcome, DsegError):
            raise outcome


def _release(path: Path, cache: CacheFile | DsegError | None) -> None:
    """Remove a temporary cache now, or at the end if workers have to open it by its name."""
    if sys.platform == "linux" or not isinstance(cache, CacheFile):  # workers are forked
        _remove(path)
    else:
        weakref.finalize(cache, _remove, path, cache.mapping)


def _remove(path: Path, mapping: mmap | None = None) -> None:
    with suppress(OSError, BufferError):  # Windows does not remove mapped files
        if mapping is not None:
            mapping.close()
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _stopped() -> DsegError:
    return DsegError(
        "Stopped while another process was making the cache.",
        hint="run again, with the same options.",
        exit_code=EXIT_INTERRUPTED,
    )


def count_bytes(dataset: Dataset, threads: int) -> int:
    """Return the bytes of all decoded pairs, from file headers; unreadable files count 0."""

    def measure(index: int) -> int:
        try:
            height, width = read_size(dataset.samples[index].image)
        except DsegError:
            return 0
        return 4 * height * width

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(measure, range(len(dataset))))
