"""Execute a pickle of ``torch.save`` without making its objects, to bound the cost of reading it.

No tensor is allocated and no dict filled: memory and instructions are counted, and a pickle beyond
the limits is refused before torch reads it. torch decides which instructions are allowed at all.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from dseg.checkpoints.bounded_unpickler import BoundedUnpickler
from dseg.checkpoints.limits import TENSORS, LimitError, Metered, ShortError
from dseg.checkpoints.memory_budget import CallResult, GlobalName, MemoryBudget
from dseg.checkpoints.placeholders import NAMES

NUMBER_BYTES = {  # per element, by the first letters of torch's storage class; others 1
    "ComplexDouble": 16, "ComplexFloat": 8, "Double": 8, "Long": 8, "Float": 4, "Int": 4,
    "Half": 2, "BFloat16": 2, "Short": 2,
}  # fmt: skip
TORCHS_OWN = ("torch.", "collections.", "builtins.", "_codecs.")  # the packages that torch allows
LEGACY_PICKLES = 5  # magic number, version, system, content, names of storages
SAME = (  # instructions that the base class executes as torch does
    "BINFLOAT", "BINGET", "BININT", "BININT1", "BININT2", "BINPUT", "BINUNICODE", "EMPTY_LIST",
    "EMPTY_TUPLE", "LONG1", "LONG_BINGET", "LONG_BINPUT", "NEWFALSE", "NEWTRUE", "NONE",
    "SHORT_BINSTRING", "STOP", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
)  # fmt: skip


class DryRun(BoundedUnpickler):
    """Executes a pickle's instructions on stand-ins, and counts memory.

    Args:
        file: the pickle.
        room: largest number of bytes in all tensors.
        entries: number of bytes of each storage by its name; None if they follow the pickle.
    """

    def __init__(self, file: Metered, room: int, entries: Mapping[str, int] | None) -> None:
        super().__init__(file)
        self.room = room
        self.entries = entries
        self.storages: set[object] = set()
        self.tensors = 0
        self.foreign = False  # True after a name that torch refuses
        self.budget = MemoryBudget(self.keys)

    def load_proto(self) -> None:
        """Skip the protocol number, which torch checks."""
        self.read(1)

    def load_global(self) -> None:
        """Push the name in the next two lines."""
        module, name = self.readline()[:-1], self.readline()[:-1]
        full = f"{module.decode()}.{name.decode()}".replace("__builtin__.", "builtins.")
        self.foreign |= full not in NAMES and not full.startswith(TORCHS_OWN)
        self.append(GlobalName(full))

    def load_new(self) -> None:
        """Push a stand-in for an empty dict or set."""
        self.append(CallResult())

    def load_call(self) -> None:
        """Push a stand-in for the result of a call or a new instance."""
        arguments, function = self.stack.pop(), self.stack.pop()
        name = function.name if isinstance(function, GlobalName) else ""
        self.append(self.budget.call(name, arguments))

    def load_build(self) -> None:
        """Count the state that is copied into an object, or the tensor that it makes."""
        state = self.stack.pop()
        self.budget.copy(state)
        target = self.stack[-1]
        if not isinstance(target, CallResult) or type(state) is not tuple or len(state) < 3:
            return
        if isinstance(state[0], CallResult):
            target.numbers = self.budget.count_numbers(state[0], state[2])

    def load_append(self) -> None:
        """Add an item to a list."""
        self._extend([self.stack.pop()])

    def load_appends(self) -> None:
        """Add the items since the last mark to a list."""
        self._extend(self.pop_mark())

    def load_setitem(self) -> None:
        """Count one entry of a dict."""
        _, key = self.stack.pop(), self.stack.pop()
        self._count_keys([key])

    def load_setitems(self) -> None:
        """Count the dict entries since the last mark."""
        self._count_keys(self.pop_mark()[::2])

    def load_storage(self) -> None:
        """Count the bytes of the storage that a tensor refers to."""
        named = self.stack.pop()
        self.tensors += 1
        if self.tensors > TENSORS:
            raise LimitError(f"it holds more than {TENSORS:,} tensors")
        if type(named) is tuple and named and type(named[0]) is str and named[0] != "storage":
            raise pickle.UnpicklingError  # source code of modules, which torch does not read
        if type(named) is not tuple or not 5 <= len(named) <= 6 or named[0] != "storage":
            raise LimitError("a tensor is encoded in an unsupported way")
        _, kind, key, _, numbers, *view = named
        for part in (key, *(view[0] if view and type(view[0]) is tuple else ())):
            self.keys.check(part)
        if type(numbers) is not int or numbers < 0 or not isinstance(kind, GlobalName):
            raise LimitError("a tensor is encoded in an unsupported way")
        if self.entries is not None and (type(key) is not str or key not in self.entries):
            raise ShortError("the values of a tensor are missing in the archive")
        if key not in self.storages:
            self.storages.add(key)
            self.room -= numbers * _bytes_of(kind.name)
            if self.room < 0:
                raise ShortError("its tensors are declared larger than the whole file")
        self.append(CallResult(numbers))

    def _extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is list:
            self.stack[-1].extend(items)

    def _count_keys(self, keys: list[Any]) -> None:
        rare = sum(self.keys.check(key) for key in keys)
        if isinstance(target := self.stack[-1], CallResult):
            target.entries += len(keys)
            target.rare += rare

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **{
            getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]]
            for name in SAME
        },
        pickle.PROTO[0]: load_proto,
        pickle.GLOBAL[0]: load_global,
        pickle.MARK[0]: BoundedUnpickler.load_mark,
        pickle.EMPTY_DICT[0]: load_new,
        pickle.EMPTY_SET[0]: load_new,
        pickle.REDUCE[0]: load_call,
        pickle.NEWOBJ[0]: load_call,
        pickle.BUILD[0]: load_build,
        pickle.APPEND[0]: load_append,
        pickle.APPENDS[0]: load_appends,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.BINPERSID[0]: load_storage,
    }


def _bytes_of(storage: str) -> int:
    """Return the number of bytes per element of a storage class."""
    name = storage.rpartition(".")[2]
    return next((size for start, size in NUMBER_BYTES.items() if name.startswith(start)), 1)


def dry_run_zip(content: bytes, entries: Mapping[str, int]) -> bool:
    """Execute the pickle of a zip archive without making its objects.

    Args:
        content: the pickle.
        entries: number of bytes of each storage by its name.

    Returns:
        True if the end was reached; otherwise torch stops at the same place with an error.

    Raises:
        LimitError: reading would take far more time or memory than the file's size justifies.
    """
    return _execute(Metered(io.BytesIO(content)), sum(entries.values()), entries, pickles=1)


def dry_run_legacy(path: Path) -> bool:
    """Execute the pickles of a file written by torch before 1.6 without making its objects."""
    with path.open("rb") as file:
        return _execute(Metered(file), path.stat().st_size, None, pickles=LEGACY_PICKLES)


def _execute(file: Metered, room: int, entries: Mapping[str, int] | None, pickles: int) -> bool:
    run = DryRun(file, room, entries)
    try:
        for _ in range(pickles):
            last = run.load()
        for key in last if pickles > 1 and type(last) is list else ():
            run.keys.check(key)
    except LimitError:
        if not run.foreign:
            raise
        return False  # torch stops earlier, at a name that it refuses
    except MemoryError:
        raise
    except Exception:  # the base class raises many kinds on damaged pickles
        return False
    return True
