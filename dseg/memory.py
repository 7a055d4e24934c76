"""Shortage of memory: how libraries tell of it, and how it is told to the user."""

from __future__ import annotations

import errno

from dseg.errors import EXIT_FAILED_INPUTS, DsegError

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


def is_out_of_memory(fault: BaseException) -> bool:
    """Tell whether an error of a library or the system means that memory ran out.

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
