"""Follow a pickle of ``torch.save`` on stand-ins first, to know what reading it would cost.

No tensor is made and no dict filled: what the pickle would make is counted, and refused beyond the
limits, before torch reads it. Whether its instructions are allowed at all is left to torch.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from dseg.checkpoints.bounded import BoundedUnpickler
from dseg.checkpoints.costs import Costs, Made, Named
from dseg.checkpoints.limits import TENSORS, LimitError, Metered, ShortError
from dseg.checkpoints.stand_ins import NAMES

NUMBER_BYTES = {  # of torch's storage classes, by what their names begin with; others 1
    "ComplexDouble": 16, "ComplexFloat": 8, "Double": 8, "Long": 8, "Float": 4, "Int": 4,
    "Half": 2, "BFloat16": 2, "Short": 2,
}  # fmt: skip
TORCHS_OWN = ("torch.", "collections.", "builtins.", "_codecs.")  # all that it allows
LEGACY_PARTS = 5  # magic number, version, system, content, names of storages
SAME = (  # instructions that the base class follows as torch does
    "BINFLOAT", "BINGET", "BININT", "BININT1", "BININT2", "BINPUT", "BINUNICODE", "EMPTY_LIST",
    "EMPTY_TUPLE", "LONG1", "LONG_BINGET", "LONG_BINPUT", "NEWFALSE", "NEWTRUE", "NONE",
    "SHORT_BINSTRING", "STOP", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
)  # fmt: skip


class Rehearsal(BoundedUnpickler):
    """Follows a pickle's instructions on stand-ins, and counts.

    Args:
        file: the pickle.
        room: bytes that its tensors may claim.
        entries: bytes of each storage by its name; None where they follow the pickle.
    """

    def __init__(self, file: Metered, room: int, entries: Mapping[str, int] | None) -> None:
        super().__init__(file)
        self.room = room
        self.entries = entries
        self.storages: set[object] = set()
        self.tensors = 0
        self.foreign = False  # a name has been met that torch refuses
        self.costs = Costs(self.keys)

    def load_proto(self) -> None:
        """Read past the protocol, of which torch judges."""
        self.read(1)

    def load_global(self) -> None:
        """Keep what two lines name."""
        module, name = self.readline()[:-1], self.readline()[:-1]
        full = f"{module.decode()}.{name.decode()}".replace("__builtin__.", "builtins.")
        self.foreign |= full not in NAMES and not full.startswith(TORCHS_OWN)
        self.append(Named(full))

    def load_new(self) -> None:
        """Stand in for an empty dict or set."""
        self.append(Made())

    def load_call(self) -> None:
        """Stand in for what a call or a new instance would be."""
        arguments, function = self.stack.pop(), self.stack.pop()
        name = function.name if isinstance(function, Named) else ""
        self.append(self.costs.call(name, arguments))

    def load_build(self) -> None:
        """Count what would be copied into an object, or the tensor that it becomes."""
        state = self.stack.pop()
        self.costs.copy(state)
        target = self.stack[-1]
        if not isinstance(target, Made) or type(state) is not tuple or len(state) < 3:
            return
        if isinstance(state[0], Made):
            target.numbers = self.costs.count_numbers(state[0], state[2])

    def load_append(self) -> None:
        """Add an item to a list."""
        self._extend([self.stack.pop()])

    def load_appends(self) -> None:
        """Add the items since the last mark to a list."""
        self._extend(self.pop_mark())

    def load_setitem(self) -> None:
        """Count one entry of a dict."""
        _, key = self.stack.pop(), self.stack.pop()
        self._enter([key])

    def load_setitems(self) -> None:
        """Count the entries since the last mark."""
        self._enter(self.pop_mark()[::2])

    def load_storage(self) -> None:
        """Count the bytes of the storage that a tensor refers to."""
        named = self.stack.pop()
        self.tensors += 1
        if self.tensors > TENSORS:
            raise LimitError(f"it holds more than {TENSORS:,} tensors")
        if type(named) is tuple and named and type(named[0]) is str and named[0] != "storage":
            raise pickle.UnpicklingError  # source code of modules, which torch does not read
        if type(named) is not tuple or not 5 <= len(named) <= 6 or named[0] != "storage":
            raise LimitError("a tensor is described in an unusual way")
        _, kind, key, _, numbers, *view = named
        for part in (key, *(view[0] if view and type(view[0]) is tuple else ())):
            self.keys.check(part)
        if type(numbers) is not int or numbers < 0 or not isinstance(kind, Named):
            raise LimitError("a tensor is described in an unusual way")
        if self.entries is not None and (type(key) is not str or key not in self.entries):
            raise ShortError("a tensor's numbers are missing in the archive")
        if key not in self.storages:
            self.storages.add(key)
            self.room -= numbers * _bytes_of(kind.name)
            if self.room < 0:
                raise ShortError("its tensors are declared larger than the whole file")
        self.append(Made(numbers))

    def _extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is list:
            self.stack[-1].extend(items)

    def _enter(self, keys: list[Any]) -> None:
        rare = sum(self.keys.check(key) for key in keys)
        if isinstance(target := self.stack[-1], Made):
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
    """Return the bytes of one number in a storage of that class."""
    name = storage.rpartition(".")[2]
    return next((size for start, size in NUMBER_BYTES.items() if name.startswith(start)), 1)


def rehearse_zip(content: bytes, entries: Mapping[str, int]) -> bool:
    """Follow the pickle of a zip archive.

    Args:
        content: the pickle.
        entries: bytes of each storage by its name.

    Returns:
        Whether its end was reached; if not, torch stops at the same place with a reason.

    Raises:
        LimitError: reading it would take far more time or memory than the file's size explains.
    """
    return _follow(Metered(io.BytesIO(content)), sum(entries.values()), entries, parts=1)


def rehearse_legacy(path: Path) -> bool:
    """Follow the pickles of a file that torch before 1.6 wrote; see ``rehearse_zip``."""
    with path.open("rb") as file:
        return _follow(Metered(file), path.stat().st_size, None, parts=LEGACY_PARTS)


def _follow(file: Metered, room: int, entries: Mapping[str, int] | None, parts: int) -> bool:
    rehearsal = Rehearsal(file, room, entries)
    try:
        for _ in range(parts):
            last = rehearsal.load()
        for key in last if parts > 1 and type(last) is list else ():
            rehearsal.keys.check(key)
    except LimitError:
        if not rehearsal.foreign:
            raise
        return False  # torch refuses the name that came before
    except MemoryError:
        raise
    except Exception:  # the base class raises many kinds on damaged pickles
        return False
    return True
