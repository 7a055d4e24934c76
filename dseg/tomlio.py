"""Reading TOML files."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from dseg.errors import DsegError


def parse_toml(text: str) -> dict[str, Any]:
    """Return the fields of TOML text.

    Raises:
        ValueError: the text is not TOML.
        DsegError: this Python has no parser.
    """
    for name in ("tomllib", "tomli"):  # Python has tomllib since version 3.11
        try:
            fields: dict[str, Any] = import_module(name).loads(text)
        except ModuleNotFoundError:
            continue
        return fields
    raise DsegError(
        "Python 3.10 has no TOML parser.", hint="pip install tomli, or write the file as JSON."
    )


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Return the fields of a TOML file.

    Args:
        path: the file.
        what: what it is, for messages, such as "recipe".

    Raises:
        DsegError: the file is missing, unreadable or not TOML.
    """
    try:
        return parse_toml(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise DsegError(f"{path} is not UTF-8 text.", hint="save it as UTF-8.") from None
    except OSError as fault:
        raise DsegError(
            f"The {what} {path} cannot be read: {fault.strerror}.", hint="check its path."
        ) from None
    except (ValueError, RecursionError) as fault:
        raise DsegError(f"{path} is not valid TOML: {fault}.", hint="correct that line.") from None
