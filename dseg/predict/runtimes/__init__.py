"""Runtimes: PyTorch, OpenVINO and ONNX Runtime compute the logits of the same networks."""

from dseg.predict.runtimes.base import RUNTIMES, TITLES, Runtime, RuntimeFailedError
from dseg.predict.runtimes.choose import choose_runtime, make_runtime
from dseg.predict.runtimes.exported import open_exported, protocol_of
from dseg.predict.runtimes.pytorch import TorchRuntime

__all__ = [
    "RUNTIMES",
    "TITLES",
    "Runtime",
    "RuntimeFailedError",
    "TorchRuntime",
    "choose_runtime",
    "make_runtime",
    "open_exported",
    "protocol_of",
]
