"""Find free memory, recognise the out-of-memory errors of libraries, and report them."""

from __future__ import annotations

import errno
from pathlib import Path

from dseg.errors import EXIT_FAILED_INPUTS, DsegError
from dseg.parallel import CGROUPS, MEMBERSHIP, find_cgroups, read_text

# in messages of torch, CUDA, Metal, cuDNN, cuBLAS, oneDNN, safetensors, C++, workers and Windows
SIGNS = (
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
    "paging file is too small",
)
CLASSES = ("MemoryError", "OutOfMemoryError")
MEMINFO = Path("/proc/meminfo")


def is_out_of_memory(fault: BaseException) -> bool:
    """Return True if an error of a library or of the system means that memory ran out.

    A ``DsegError`` does not count: it is reported as it is.
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
    """Return the error for a lack of memory.

    Args:
        when: what was being done, as a clause that follows "Memory ran out".
        hint: options that need less memory.
        exit_code: exit code of the command.
    """
    return DsegError(f"Memory ran out {when}.", hint=hint, exit_code=exit_code)


def find_free_memory(
    meminfo: Path = MEMINFO, root: Path = CGROUPS, membership: Path = MEMBERSHIP
) -> int:
    """Return the bytes that this process can allocate without swapping; 0 if unknown.

    This is the available memory of the system, limited by the cgroups of the process.

    Args:
        meminfo: file of lines such as ``MemAvailable: N kB``.
        root: mount point of cgroups, version 2 or 1.
        membership: file of this process's cgroups, lines ``id:controllers:path``.
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
