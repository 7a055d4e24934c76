"""Import optional packages, and say what to install where they are missing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from dseg.errors import DsegError

TELEMETRY = "openvino_telemetry"
EXTRAS = {"openvino": "openvino"}  # extra of a package; all others are in the extra onnx


class ImportFailedError(DsegError):
    """An optional package that is not installed, or whose installation is broken."""


def is_installed(*packages: str) -> bool:
    """Return True if all packages can be found; none is imported."""
    return all(find_spec(package) is not None for package in packages)


def need(*packages: str) -> Any:
    """Import optional packages and return the first.

    Raises:
        ImportFailedError: one is not installed, or cannot be imported.
    """
    try:
        with _untracked():
            modules = [import_module(package) for package in packages]
        return modules[0]
    except Exception as fault:  # OpenVINO's is a RuntimeError where the user has no home
        install = f"pip install 'dseg[{EXTRAS.get(packages[0], 'onnx')}]'."
        raise ImportFailedError(
            f"{packages[0]} cannot be imported: {str(fault).rstrip('.')}.",
            hint=install if isinstance(fault, ImportError) else "use --runtime torch.",
        ) from fault


@contextmanager
def _untracked() -> Iterator[None]:
    """Hide OpenVINO's telemetry while it is imported: else it reports the import to its makers."""
    hidden = TELEMETRY not in sys.modules
    if hidden:
        sys.modules[TELEMETRY] = None  # type: ignore[assignment]  # importing it is an ImportError
    try:
        yield
    finally:
        if hidden:
            sys.modules.pop(TELEMETRY, None)


@cache
def openvino_core() -> Any:
    """Return the only ``openvino.Core`` of this process.

    Each one that compiles a network for AMX gives the thread another stack for signals, and leaves
    it a freed one if several end in another order than they began: the next signal, such as
    Ctrl-C, would end the process (OpenVINO 2026.4).

    Raises:
        DsegError: OpenVINO is not installed.
    """
    return need("openvino").Core()
