"""Memory: how much is free, how libraries tell of a shortage, and how it is told to the user."""

from __future__ import annotations

import errno
from pathlib import Path

from dseg.errors import EXIT_FAILED_INPUTS, DsegError
from dseg.parallel import CGROUPS, MEMBERSHIP, find_cgroups, read_text

SIGNS = (  # as torch, CUDA, Metal, cuDNN, cuBLAS, oneDNN, safetensors, C++ and the loader say it
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "unable to allocate",
    "failed to allocate",
    "insufficient memory",
    "out of memory",
    "outofmemory",
    "alloc_failed",
    "bad_alloc",
    "could not create a primitive",
    "could not create a memory",
    "can't start new thread",
    "failed to map segment",
)
CLASSES = ("MemoryError", "OutOfMemoryError")
MEMINFO = Path("/proc/meminfo")


def is_out_of_memory(fault: BaseException) -> bool:
    """Return True if an error of a library or the system means that memory ran out.

    A ``DsegError`` never does: it has its own words.
    """
    if isinstance(fault, DsegError) or not isinstance(fault, Exception):
        return False
    if isinstance(fault, MemoryError) or getattr(fault, "errno", None) == errno.ENOMEM:
        return True
    if any(kind.__name__ in CLASSES for kind in type(fault).__mro__):
        return True
    text = str(fault).lower()
    return any(sign in text for sign in SIGNS)


def memory_error(when: str, hint: str, exit_code: int = EXIT_FAILED_INPUTS) -> DsegError:
    """Return the error of a shortage.

    Args:
        when: what was being done, to follow "Memory ran out".
        hint: the options that take less.
        exit_code: the status that the process ends with.
    """
    return DsegError(f"Memory ran out {when}.", hint=hint, exit_code=exit_code)


def find_free_memory(
    meminfo: Path = MEMINFO, root: Path = CGROUPS, membership: Path = MEMBERSHIP
) -> int:
    """Return the bytes that this process may still take without swapping; 0 if nobody says.

    Those that the system has, and no more than its cgroups allow.

    Args:
        meminfo: lines of ``MemAvailable: N kB`` and the like.
        root: where cgroups are mounted, of version 2 or 1.
        membership: the lines ``id:controllers:path`` of this process.
    """
    words = read_text(meminfo).partition("MemAvailable:")[2].split()
    free = 1024 * int(words[0]) if words and words[0].isdecimal() else 0
    for folder in find_cgroups(root, membership, "memory"):
        for limit, usage in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            numbers = [read_text(folder / name).strip() for name in (limit, usage)]
            if all(number.isdecimal() for number in numbers):
                cached = read_text(folder / "memory.stat").partition("inactive_file ")[2].split()
                reclaimable = int(cached[0]) if cached and cached[0].isdecimal() else 0
                free = min(free, max(0, int(numbers[0]) - int(numbers[1]) + reclaimable))
    return free
