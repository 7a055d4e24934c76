"""Memory that glibc keeps for commands that process many images, instead of returning it."""

from __future__ import annotations

import ctypes
import os
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of mallopt(3)
NAMED_BY_USER = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")


def keep_freed_memory() -> bool:
    """Let the main thread reuse the memory that it frees; for inference on the CPU.

    By default glibc maps every block above 32 MiB anew and unmaps it when it is freed, so that the
    kernel clears the pages of every large feature map again for each image. With this call the
    process keeps its peak until it ends; with images of many sizes the peak itself grows somewhat,
    because blocks do not fit each other (``scripts/bench_allocator.py`` measures both). It is not
    for training, which gains next to nothing by it. Commands that read many masks, in blocks of
    megabytes, save about a tenth of their time.

    It does nothing with another C library, or where the user has set glibc's environment variables
    for this (mallopt(3)).

    Returns:
        True if freed memory is kept now.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in NAMED_BY_USER):
        return False
    set_option = ctypes.CDLL(None).mallopt
    return bool(set_option(M_MMAP_MAX, 0) and set_option(M_TRIM_THRESHOLD, -1))
