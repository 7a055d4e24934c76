"""How much a checkpoint file may ask for: far more than any network needs, far less than harms."""

from __future__ import annotations

import sys
from typing import IO

TENSORS = 30_000  # of all networks, averages and optimizer states in one file
NETWORK = 10_000  # tensors of one network
STEPS = 4_000_000  # reads of a pickle; a tensor takes about 65, a number 2
PICKLED = 64 << 20  # bytes of a pickle that describes tensors; their numbers lie outside it
MADE = 256 << 20  # bytes that its calls make of what it holds
EXPANDED = 1 << 27  # numbers in tensors that repeat those of their storage
HEADER = 16 << 20  # bytes that list the tensors of a safetensors file
NAME = 1 << 16  # bytes of a function's or class's name
PLAIN_KEYS = (str, bytes, bool, type(None))
PLAIN_INT = sys.hash_info.modulus  # from here on, integers may share a hash
RARE_KEYS = 2_000  # keys of dicts whose hashes a file can choose to be alike
KEY_PARTS = 64  # of a tuple within tuples


class LimitError(Exception):
    """The file asks for more than any checkpoint needs."""


class ShortError(LimitError):
    """The file is shorter than what it declares, as one that is cut short is."""


class Metered:
    """A file whose reads are counted, as a pickle's instructions cost one or more.

    Args:
        file: read from where it stands.
        most: bytes that may be read.
    """

    def __init__(self, file: IO[bytes], most: float = PICKLED) -> None:
        self._read, self._readline = file.read, file.readline
        self._steps, self._bytes = STEPS, most

    def read(self, size: int) -> bytes:
        """Return so many bytes, or those up to the file's end.

        Raises:
            LimitError: too many reads, or bytes.
        """
        self._steps -= 1
        self._bytes -= size
        if self._steps < 0 or self._bytes < 0:
            raise _pickle_limit(self._steps)
        return self._read(size)

    def readline(self) -> bytes:
        """Return a line of a name.

        Raises:
            LimitError: too many reads, or bytes.
        """
        self._steps -= 1
        line = self._readline(NAME)
        self._bytes -= len(line)
        if self._steps < 0 or self._bytes < 0:
            raise _pickle_limit(self._steps)
        if len(line) == NAME:
            raise LimitError("it names a function of very many letters")
        return line


class Keys:
    """Counts keys of dicts whose hashes a file can choose, so that they collide.

    Hashes of text are salted, and integers below ``PLAIN_INT`` differ in theirs; floats, larger
    integers and tuples may all have one, and a dict of N such keys takes N * N comparisons.
    """

    def __init__(self) -> None:
        self.rare = 0

    def check(self, key: object) -> int:
        """Count a key if it is rare; return 1 if so, else 0.

        Raises:
            LimitError: too many of them, or a tuple of very many parts.
        """
        if type(key) in PLAIN_KEYS or (type(key) is int and -PLAIN_INT < key < PLAIN_INT):
            return 0
        if type(key) is tuple and _is_large(key):
            raise LimitError(f"a key is a tuple of more than {KEY_PARTS} parts")
        self.add(1)
        return 1

    def add(self, count: int) -> None:
        """Count rare keys that are copied.

        Raises:
            LimitError: too many of them.
        """
        self.rare += count
        if self.rare > RARE_KEYS:
            raise LimitError(f"more than {RARE_KEYS:,} keys are neither text nor small integers")


def _is_large(key: tuple[object, ...]) -> bool:
    """Return True if a tuple has many parts at all its depths, without following all of them."""
    waiting: list[object] = [key]
    parts = 0
    while waiting:
        part = waiting.pop()
        if type(part) is tuple:
            parts += 1 + len(part)
            if parts > KEY_PARTS:
                return True
            waiting += part
    return False


def _pickle_limit(steps: int) -> LimitError:
    if steps < 0:
        return LimitError(f"its pickle has more than {STEPS // 2:,} instructions")
    return LimitError(f"its pickle is longer than {PICKLED >> 20} MiB without the tensors' numbers")
