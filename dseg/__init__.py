"""dseg: street-scene semantic segmentation from the command line and from Python.

``import dseg`` is instant; torch is imported when a name that needs it is first used.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# ONNX Runtime reports its use to its maker otherwise, and writes an id of the machine into the
# cache folder; it reads this variable when it is first imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# Operations that PyTorch lacks on MPS are computed on the CPU; read when torch is first imported.
os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")

__version__ = "0.1.0"
__all__ = [
    "LABEL_SPACES",
    "MODELS",
    "DsegError",
    "Prediction",
    "Predictor",
    "Protocol",
    "build_model",
    "evaluate",
    "load",
    "load_dataset",
    "load_model",
    "read_image",
    "save_model",
    "train",
]

if TYPE_CHECKING:
    from dseg.api.evaluating import evaluate
    from dseg.api.loading import load
    from dseg.api.training import train
    from dseg.checkpoints import load_model, save_model
    from dseg.datasets import load_dataset
    from dseg.errors import DsegError
    from dseg.images import read_image
    from dseg.labels import LABEL_SPACES
    from dseg.models import build_model
    from dseg.predict import Prediction, Predictor
    from dseg.protocol import Protocol
    from dseg.registry import MODELS

_MODULES = {
    "LABEL_SPACES": "dseg.labels",
    "MODELS": "dseg.registry",
    "DsegError": "dseg.errors",
    "Prediction": "dseg.predict",
    "Predictor": "dseg.predict",
    "Protocol": "dseg.protocol",
    "build_model": "dseg.models",
    "evaluate": "dseg.api.evaluating",
    "load": "dseg.api.loading",
    "load_dataset": "dseg.datasets",
    "load_model": "dseg.checkpoints",
    "read_image": "dseg.images",
    "save_model": "dseg.checkpoints",
    "train": "dseg.api.training",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module 'dseg' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
