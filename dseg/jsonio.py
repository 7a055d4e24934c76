"""Strict JSON: read with limits on size and depth, checked field by field, and written."""

from __future__ import annotations

import json
import math
import re
from dataclasses import MISSING, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

MOST_BYTES = 16_000_000
MOST_DEPTH = 64
MOST_DIGITS = 19  # of a 64-bit integer
SHOWN = 60  # largest number of characters of a wrong value in a message
_MARKS = re.compile(r'\\.|["\[\]{}]', re.DOTALL)


def read_object(path: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Raises:
        OSError: the file cannot be read.
        ValueError: its content is invalid; see ``parse_object``.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is not a regular file")
    with path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    return parse_object(data)


def parse_object(text: str | bytes) -> dict[str, Any]:
    """Parse a text that holds one JSON object.

    Raises:
        ValueError: the value is not an object, or as for ``parse_json``.
    """
    value = parse_json(text)
    if not isinstance(value, dict):
        raise ValueError(f"expected an object, found {show(value)}")
    return value


def parse_json(text: str | bytes) -> Any:
    """Parse a JSON text; bytes are UTF-8, with or without a byte order mark.

    Raises:
        ValueError: the text is not JSON, is too large or nested too deeply, has a key twice, or
            holds a number that is not finite or has too many digits. The message says which, for
            use after a colon ("it is empty").
    """
    if len(text) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES // 1_000_000} MB")
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as fault:
            raise ValueError(f"it is not UTF-8 text (byte {fault.start})") from None
    if not text.strip():
        raise ValueError("it is empty")
    _refuse_depth(text)
    try:
        return json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_int=_whole,
            parse_float=_finite,
        )
    except json.JSONDecodeError as fault:
        at = f"line {fault.lineno}, column {fault.colno}"
        raise ValueError(f"it is not valid JSON ({at}: {fault.msg})") from None


def _refuse_depth(text: str) -> None:
    """Refuse nesting that could exhaust the parser, whatever Python's recursion limit is."""
    depth, quoted = 0, False
    for match in _MARKS.finditer(text):
        mark = match.group()
        if mark == '"':
            quoted = not quoted
        elif not quoted and mark in "[{":
            depth += 1
            if depth > MOST_DEPTH:
                raise ValueError(f"it is nested more than {MOST_DEPTH} levels deep")
        elif not quoted and mark in "]}":
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {show(key)} occurs twice")
        found[key] = value
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"expected a finite number, found {name}")


def _whole(digits: str) -> int:
    if len(digits.lstrip("-")) > MOST_DIGITS:
        raise ValueError(f"an integer has {len(digits.lstrip('-'))} digits")
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"expected a finite number, found {show(digits)}")
    return number


def strict(value: Any) -> Any:
    """Return a copy of a JSON value in which NaN and infinity are None, and tuples are lists."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(item) for item in value]
    return value


def dumps(value: object, *, indent: int | None = 2, ensure_ascii: bool = True) -> str:
    """Return a value as strict JSON, with a newline at the end.

    Raises:
        ValueError: it holds NaN or infinity; see ``strict``.
    """
    text = json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=ensure_ascii)
    return f"{text}\n"


def take_fields(kind: type[Any], data: Any, what: str) -> dict[str, Any]:
    """Return the arguments of a dataclass from a JSON object, after checking their types.

    Args:
        kind: the dataclass; its fields are plain values, literals, optional, or tuples of these.
        data: the object; a list becomes a tuple where the field is a tuple.
        what: name of the object in messages.

    Raises:
        ValueError: the value is not an object, or a field is missing, unknown or of another type.
    """
    if not isinstance(data, dict):
        raise ValueError(f"{what} is {show(data)}, not an object")
    types = get_type_hints(kind)
    known = {field.name: field for field in fields(kind)}
    for name in data:
        if name not in known:
            raise ValueError(f"{what} has an unknown field {show(name)}")
    for name, field in known.items():
        if name not in data and field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{what} has no {name}")
    return {name: take(types[name], value, name) for name, value in data.items()}


def take(kind: Any, value: Any, name: str) -> Any:
    """Return a JSON value converted to a type, or raise a ValueError that gives its name."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        plain = next(other for other in inner if other is not NoneType)
        return None if value is None else take(plain, value, name)
    if origin is tuple and isinstance(value, list):
        if inner[1:] == (...,):
            return tuple(take(inner[0], item, name) for item in value)
        if len(value) == len(inner):
            return tuple(take(of, item, name) for of, item in zip(inner, value, strict=True))
    elif origin is Literal:
        if isinstance(value, str) and value in inner:
            return value
    elif kind is float:
        if is_number(value):
            return value
    elif isinstance(kind, type) and type(value) is kind:
        return value
    raise ValueError(f"{name} cannot be {show(value)}")


def is_number(value: object) -> bool:
    """Return True if a value is a finite float or a 64-bit integer, and not a bool."""
    if type(value) is float:
        return math.isfinite(value)
    return type(value) is int and abs(value) < 2**63


def is_count(value: object) -> bool:
    """Return True if a value is a 64-bit integer of at least 0, and not a bool."""
    return type(value) is int and 0 <= value < 2**63


def show(value: object) -> str:
    """Return a value as text for a message, at most ``SHOWN`` characters long."""
    if isinstance(value, (dict, list, tuple)):
        named = {dict: "an object", list: "a list", tuple: "a list"}[type(value)]
        return named if value else f"an empty {named.partition(' ')[2]}"
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
