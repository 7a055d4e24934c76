"""dseg: street-scene semantic segmentation from the command line and from Python.

``import dseg`` is instant; torch is imported when one of the names below is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["MODELS", "DsegError", "Predictor", "build_model", "load_model"]

if TYPE_CHECKING:
    from dseg.checkpoints import load_model
    from dseg.errors import DsegError
    from dseg.models import build_model
    from dseg.predict import Predictor
    from dseg.registry import MODELS

_HOMES = {
    "MODELS": "dseg.registry",
    "DsegError": "dseg.errors",
    "Predictor": "dseg.predict",
    "build_model": "dseg.models",
    "load_model": "dseg.checkpoints",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'dseg' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
