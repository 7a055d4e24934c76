"""Bound the memory that the calls in a pickle of ``torch.save`` would allocate."""

from __future__ import annotations

import math
from typing import Any

from dseg.checkpoints.limits import EXPANDED, MADE, Keys, LimitError

REBUILD = "torch._utils._rebuild_"
INDIRECT = "torch._tensor._rebuild_from_type_v2"  # calls its first argument
SMALL_CALLS = ("torch.Size", "torch.device", "torch.serialization._get_layout")
ENCODINGS = ("latin1", "latin-1", "ascii", "utf-8", "utf8")


class GlobalName:
    """The name of a function or class in a pickle."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class CallResult:
    """The result of a call that is not made: number of elements, or of dict entries."""

    __slots__ = ("entries", "numbers", "rare")

    def __init__(self, numbers: int = 0, entries: int = 0, rare: int = 0) -> None:
        self.numbers, self.entries, self.rare = numbers, entries, rare


class MemoryBudget:
    """Counts the memory that calls would allocate.

    Args:
        keys: counter of the rare keys in the same pickle.
    """

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self.expanded = 0
        self.left = MADE

    def _spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise LimitError(f"its calls allocate more than {MADE >> 20} MiB beside the tensors")

    def call(self, name: str, arguments: object) -> CallResult | tuple[Any, ...]:
        """Count the memory of a call, and return a stand-in for its result.

        Raises:
            LimitError: too much memory, or a call that ``torch.save`` does not write.
        """
        if type(arguments) is not tuple:
            raise LimitError("it contains an unsupported call")
        if name == INDIRECT:
            target = arguments[0] if len(arguments) >= 3 else None
            if not isinstance(target, GlobalName) or target.name == name:
                raise LimitError("it contains an unsupported call")
            return self.call(target.name, arguments[2])
        if name.startswith(REBUILD):
            return self._rebuild(name.removeprefix(REBUILD), arguments)
        if name == "torch.Size" and len(arguments) == 1 and isinstance(arguments[0], list | tuple):
            self.copy(arguments[0])
            return tuple(arguments[0])
        if name == "_codecs.encode" and arguments[1:] and arguments[1] not in ENCODINGS:
            raise LimitError("it contains text in an unsupported encoding")
        made = CallResult()
        for part in arguments:
            copied = self.copy(part)
            made.entries += copied.entries
            made.rare += copied.rare
            if not name.startswith("torch."):  # such a call would make an object of each number
                self._spend(256 * copied.numbers)
        if name == "builtins.bytearray" or (name.startswith("torch.") and name not in SMALL_CALLS):
            if any(type(part) in (list, tuple) for part in arguments):
                raise LimitError(f"it calls {name[:60]} with a list of values")
            sizes = [part for part in arguments if type(part) is int]
            self._spend(8 * math.prod(max(1, size) for size in sizes) if sizes else 0)
        return made

    def _rebuild(self, kind: str, arguments: tuple[Any, ...]) -> CallResult:
        """Count a tensor that is rebuilt from a storage or from another tensor."""
        source = (
            arguments[0] if arguments and isinstance(arguments[0], CallResult) else CallResult()
        )
        numbers = source.numbers
        if kind.startswith(("tensor", "qtensor")) and len(arguments) > 2:
            numbers = self.count_numbers(source, arguments[2])
        if kind.startswith(("qtensor", "device_tensor")):
            self._spend(8 * numbers)
        if kind == "sparse_tensor" and len(arguments) > 1 and type(arguments[1]) is tuple:
            self._spend(sum(part.numbers for part in arguments[1] if isinstance(part, CallResult)))
        for part in arguments[1:]:
            self.copy(part)
        return CallResult(numbers)

    def count_numbers(self, storage: CallResult, size: object) -> int:
        """Return the number of elements of a tensor; bound those that its storage lacks.

        Raises:
            LimitError: too many elements repeat.
        """
        if not isinstance(size, tuple | list):
            raise LimitError("a tensor is encoded in an unsupported way")
        numbers = math.prod(side for side in size if type(side) is int)
        if numbers > storage.numbers:
            self.expanded += numbers
            if self.expanded > EXPANDED:
                raise LimitError(f"its tensors repeat their values more than {EXPANDED:,} times")
        return numbers

    def copy(self, value: object) -> CallResult:
        """Count the bytes, entries and rare keys that a call copies from an argument.

        Raises:
            LimitError: there are too many.
        """
        if isinstance(value, CallResult):
            self._spend(64 * value.entries)
            self.keys.add(value.rare)
            return value
        if isinstance(value, str | bytes):
            self._spend(len(value))
        if not isinstance(value, list | tuple):
            return CallResult()
        self._spend(64 * len(value))
        keys = [item[0] if type(item) is list and item else item for item in value]
        hashable = [key for key in keys if type(key) in (int, float, tuple)]
        return CallResult(entries=len(value), rare=sum(self.keys.check(key) for key in hashable))
