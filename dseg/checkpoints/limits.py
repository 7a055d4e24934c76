"""Limits of a checkpoint file, far above any network's needs and far below harmful sizes."""

from __future__ import annotations

import sys
from typing import IO

TENSORS = 30_000  # in one file, with averaged weights and optimizer states
NETWORK = 10_000  # tensors of one network
STEPS = 4_000_000  # reads of a pickle; a tensor takes about 65, a scalar 2
PICKLED = 64 << 20  # bytes of a pickle that describes tensors, without their values
MADE = 256 << 20  # bytes that the calls in a pickle can allocate
EXPANDED = 1 << 27  # elements of tensors that repeat those of their storage
HEADER = 16 << 20  # bytes of the header of a safetensors file
NAME = 1 << 16  # bytes of a function's or class's name
PLAIN_KEYS = (str, bytes, bool, type(None))
PLAIN_INT = sys.hash_info.modulus  # integers from here on can have equal hashes
RARE_KEYS = 2_000  # dict keys whose hashes a file can choose to collide
KEY_ELEMENTS = 64  # elements of a tuple, with those of the tuples in it


class LimitError(Exception):
    """The file exceeds a limit that no checkpoint needs to exceed."""


class ShortError(LimitError):
    """The file is shorter than what it declares, like a truncated one."""


class Metered:
    """A file with bounded reads; each instruction of a pickle takes one or more.

    Args:
        file: open file, read from its current position.
        most: largest number of bytes to read.
    """

    def __init__(self, file: IO[bytes], most: float = PICKLED) -> None:
        self._read, self._readline = file.read, file.readline
        self._steps, self._bytes = STEPS, most

    def read(self, size: int) -> bytes:
        """Return ``size`` bytes, or fewer at the end of the file.

        Raises:
            LimitError: too many reads or bytes.
        """
        self._steps -= 1
        self._bytes -= size
        if self._steps < 0 or self._bytes < 0:
            raise _pickle_limit(self._steps)
        return self._read(size)

    def readline(self) -> bytes:
        """Return the next line, which holds a name.

        Raises:
            LimitError: too many reads or bytes.
        """
        self._steps -= 1
        line = self._readline(NAME)
        self._bytes -= len(line)
        if self._steps < 0 or self._bytes < 0:
            raise _pickle_limit(self._steps)
        if len(line) == NAME:
            raise LimitError("it contains a function name that is too long")
        return line


class Keys:
    """Counts rare dict keys: those whose hashes a file can choose to collide.

    Hashes of text are salted, and those of integers below ``PLAIN_INT`` differ; floats, larger
    integers and tuples can all have the same hash, and a dict of N such keys takes N * N
    comparisons.
    """

    def __init__(self) -> None:
        self.rare = 0

    def check(self, key: object) -> int:
        """Count a key, and return 1, if it is rare; otherwise return 0.

        Raises:
            LimitError: too many rare keys, or a tuple of too many elements.
        """
        if type(key) in PLAIN_KEYS or (type(key) is int and -PLAIN_INT < key < PLAIN_INT):
            return 0
        if type(key) is tuple and _is_large(key):
            raise LimitError(f"a key is a tuple of more than {KEY_ELEMENTS} elements")
        self.add(1)
        return 1

    def add(self, count: int) -> None:
        """Add ``count`` rare keys.

        Raises:
            LimitError: too many rare keys.
        """
        self.rare += count
        if self.rare > RARE_KEYS:
            raise LimitError(f"more than {RARE_KEYS:,} keys are neither text nor small integers")


def _is_large(key: tuple[object, ...]) -> bool:
    """Return True if a tuple has too many elements at all depths, without visiting all."""
    waiting: list[object] = [key]
    elements = 0
    while waiting:
        value = waiting.pop()
        if type(value) is tuple:
            elements += 1 + len(value)
            if elements > KEY_ELEMENTS:
                return True
            waiting += value
    return False


def _pickle_limit(steps: int) -> LimitError:
    if steps < 0:
        return LimitError(f"its pickle has more than {STEPS // 2:,} instructions")
    return LimitError(f"its pickle is longer than {PICKLED >> 20} MiB without the tensors' values")
