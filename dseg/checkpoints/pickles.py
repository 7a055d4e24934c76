"""Read pickles of numeric arrays without importing or calling anything that they name.

The pickle's own instructions build lists, dicts and text. Calls are recorded as descriptions
(``_Global``, ``_DType``, ``Array``), from which arrays are made afterwards.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dseg.checkpoints.bounded_unpickler import BoundedUnpickler
from dseg.checkpoints.limits import TENSORS, LimitError, Metered

NUMBERS = re.compile(r"b1|[iu][1248]|f[248]")
DIMENSIONS = 8
KEYS = (str, bytes, int, float, bool, type(None))  # never a nested tuple, whose hash recurses
CORES = ("numpy.core", "numpy._core")
KNOWN = {
    "builtins.bytes": "bytes",
    "builtins.tuple": "tuple",
    "collections.OrderedDict": "dict",
    "numpy.dtype": "dtype",
    "numpy.ndarray": "ndarray",
    "_codecs.encode": "encode",
    **{f"{core}.multiarray._reconstruct": "array" for core in CORES},
    **{f"{core}.multiarray.scalar": "scalar" for core in CORES},
    **{f"{core}.numeric._frombuffer": "buffer" for core in CORES},
}
INSTRUCTIONS = (  # executed by the pickle module; they build plain data only
    "APPEND", "APPENDS", "BINBYTES", "BINBYTES8", "BINFLOAT", "BINGET", "BININT", "BININT1",
    "BININT2", "BINPUT", "BINSTRING", "BINUNICODE", "BINUNICODE8", "EMPTY_DICT", "EMPTY_LIST",
    "EMPTY_TUPLE", "LONG1", "LONG4", "LONG_BINGET", "LONG_BINPUT",
    "MEMOIZE", "NEWFALSE", "NEWTRUE", "NONE", "PROTO", "READONLY_BUFFER", "SHORT_BINBYTES",
    "SHORT_BINSTRING", "SHORT_BINUNICODE", "STACK_GLOBAL", "STOP", "TUPLE", "TUPLE1", "TUPLE2",
    "TUPLE3",
)  # fmt: skip


class CodeError(Exception):
    """The pickle names or calls something that is not plain data."""


class ContentError(Exception):
    """The pickle holds non-numeric or incomplete arrays."""


class _Global:
    """A function or class that the pickle names; it is never imported."""

    __slots__ = ("kind", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.kind = KNOWN[name]


class _Text:
    """Bytes that were pickled as Latin-1 text; encoded only when needed."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


class _DType:
    """Description of a numeric dtype."""

    __slots__ = ("code", "complete", "order")

    def __init__(self, code: object) -> None:
        if not isinstance(code, str) or not NUMBERS.fullmatch(code):
            named = repr(code[:20]) if isinstance(code, str) else type(code).__name__
            raise ContentError(f"an array of {named}, not of numbers")
        self.code = code
        self.order = "<"
        self.complete = False

    def set_order(self, state: object) -> None:
        """Read the byte order from the state of a pickled dtype."""
        if self.complete or not isinstance(state, tuple) or len(state) < 5:
            raise ContentError("a damaged dtype")
        if any(part is not None for part in state[2:5]):
            raise ContentError("an array of records, not of numbers")
        self.order = ">" if state[1] == ">" else "<"
        self.complete = True


class Array:
    """Description of an array: shape, dtype, memory order and bytes, set once."""

    __slots__ = ("axes", "dtype", "order", "raw", "scalar", "shape")

    def __init__(self, *, scalar: bool = False) -> None:
        self.scalar = scalar
        self.dtype: _DType | None = None

    def fill(
        self, shape: object, dtype: object, order: str, raw: object, axes: tuple[int, ...] = ()
    ) -> int:
        """Check and set the description; return the number of bytes."""
        if self.dtype is not None or not isinstance(dtype, _DType):
            raise ContentError("an array that is filled twice or without a dtype")
        if not isinstance(shape, tuple) or len(shape) > DIMENSIONS:
            raise ContentError("an array of an impossible shape")
        size = int(dtype.code[1:])
        for side in shape:
            if type(side) is not int or not 0 <= side < 1 << 40:
                raise ContentError("an array of an impossible shape")
            size *= side
        text = raw.text if isinstance(raw, _Text) else raw
        if not isinstance(text, bytes | str) or len(text) != size:
            raise ContentError(f"an array of shape {list(shape)} whose bytes are missing")
        self.shape, self.dtype, self.order, self.raw, self.axes = shape, dtype, order, text, axes
        return size

    def numpy(self) -> NDArray[Any]:
        """Return the array in the machine's byte order."""
        if self.dtype is None:
            raise ContentError("an array without its values")
        raw = self.raw.encode("latin1") if isinstance(self.raw, str) else self.raw
        array = np.frombuffer(raw, self.dtype.order + self.dtype.code).reshape(self.shape)
        if self.order == "F":
            array = array.reshape(self.shape[::-1]).T
        elif self.axes:
            array = array.transpose(self.axes)
        return np.array(array, dtype=self.dtype.code, order="C")


class ArrayUnpickler(BoundedUnpickler):
    """Executes a pickle without importing, calling or setting attributes of anything.

    The ``load_`` methods replace those of the base class.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(Metered(io.BytesIO(content), math.inf))
        self.size = len(content)
        self.arrays = 0
        self.claimed = 0  # bytes of all arrays so far; at most the size of the file

    def find_class(self, module: str, name: str) -> Any:
        """Describe a function or class if it is one of the few known; refuse any other."""
        full = f"{module.replace('__builtin__', 'builtins')}.{name}"
        if full not in KNOWN:
            raise CodeError(full)
        return _Global(full)

    def load_reduce(self) -> None:
        """Describe the result of a known call; refuse any other."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Global) or type(arguments) is not tuple:
            raise CodeError("a call")
        self.append(self._describe(function, arguments))

    def load_newobj(self) -> None:
        """Accept a new tuple; refuse instances of any other class."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Global) or function.kind != "tuple":
            raise CodeError(getattr(function, "name", "a call"))
        self.append(self._describe(function, arguments))

    def load_build(self) -> None:
        """Fill a described array or dtype; refuse to set attributes of anything else."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, _DType):
            target.set_order(state)
        elif isinstance(target, Array) and isinstance(state, tuple) and len(state) == 5:
            self._fill(target, state[1], state[2], "F" if state[3] else "C", state[4])
        else:
            raise CodeError(f"attributes set on {type(target).__name__.strip('_').lower()}")

    def load_setitems(self) -> None:
        """Add the entries since the last mark to a dict."""
        self._set(self.pop_mark())

    def load_setitem(self) -> None:
        """Add one entry to a dict."""
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def load_frame(self) -> None:
        """Skip a frame's size, so that the reads of its content are counted."""
        self.read(8)

    def load_bytearray8(self) -> None:
        """Read bytes, at most as many as the file has."""
        size = int.from_bytes(self.read(8), "little")
        self.append(self.read(size))  # as bytes, which no instruction can change

    def load_global(self) -> None:
        """Describe the function or class named in the next two lines."""
        self.append(self.find_class(self._read_line(), self._read_line()))

    def load_inst(self) -> None:
        """Refuse to make an instance."""
        raise CodeError(f"{self._read_line()}.{self._read_line()}")

    def load_obj(self) -> None:
        """Refuse to make an instance."""
        named = [value.name for value in self.pop_mark() if isinstance(value, _Global)]
        raise CodeError(named[0] if named else "a call")

    def load_persid(self) -> None:
        """Refuse a reference to an object outside the file."""
        raise ContentError("a reference to an object outside the file")

    def load_other(self) -> None:
        """Refuse any other call."""
        raise CodeError("a call")

    def _read_line(self) -> str:
        line = self.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        return str(line[:-1], errors="replace")

    def _set(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(pairs) % 2:
            raise ContentError("entries of an object other than a dict")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if type(key) not in KEYS:
                raise ContentError(f"a dict with keys of type {type(key).__name__}")
            self.keys.check(key)
            target[key] = value

    def _fill(self, array: Array, *description: Any) -> Array:
        self.arrays += not array.scalar
        if self.arrays > TENSORS:
            raise LimitError(f"it holds more than {TENSORS:,} arrays")
        self.claimed += array.fill(*description)
        if self.claimed > self.size:
            raise ContentError("arrays with more bytes than the file")
        return array

    def _describe(self, function: _Global, arguments: tuple[Any, ...]) -> object:
        """Return the description of a known call's result."""
        match function.kind, arguments:
            case "bytes", ():
                return b""
            case "dict", ():
                return {}
            case "tuple", (tuple() as same,):
                return same
            case "encode", (str() as text, "latin1" | "latin-1"):
                return _Text(text)
            case "dtype", (code, *_):
                return _DType(code)
            case "array", (_Global(kind="ndarray"), *_):
                return Array()
            case "scalar", (dtype, raw):
                return self._fill(Array(scalar=True), (), dtype, "C", raw)
            case "buffer", (raw, dtype, shape, "C" | "F" as order):
                return self._fill(Array(), shape, dtype, order, raw)
            case "buffer", (raw, dtype, shape, "K", tuple() as axes):
                return self._fill(Array(), shape, dtype, "C", raw, axes)
        raise CodeError(function.name)

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **{
            getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]]
            for name in INSTRUCTIONS
        },
        pickle.REDUCE[0]: load_reduce,
        pickle.NEWOBJ[0]: load_newobj,
        pickle.NEWOBJ_EX[0]: load_other,
        pickle.BUILD[0]: load_build,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.MARK[0]: BoundedUnpickler.load_mark,
        pickle.FRAME[0]: load_frame,
        pickle.BYTEARRAY8[0]: load_bytearray8,
        pickle.GLOBAL[0]: load_global,
        pickle.INST[0]: load_inst,
        pickle.OBJ[0]: load_obj,
        pickle.PERSID[0]: load_persid,
        pickle.BINPERSID[0]: load_persid,
        pickle.EXT1[0]: load_other,
        pickle.EXT2[0]: load_other,
        pickle.EXT4[0]: load_other,
    }
