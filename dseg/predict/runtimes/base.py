"""Runtime: what computes a network's logits, whichever library does it."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from dseg.errors import DsegError

RUNTIMES = ("auto", "torch", "openvino", "onnx")
TITLES = {"torch": "PyTorch", "openvino": "OpenVINO", "onnx": "ONNX Runtime"}
MAX_REASON = 200  # characters
STAY = "use --runtime torch; a file of dseg export has to be exported again."


class Runtime(Protocol):
    """Computes the logits of normalised images.

    Attributes:
        name: ``torch``, ``openvino`` or ``onnx``.
        precision: ``float32``, ``bfloat16``, ``float16`` or ``int8``.
        labels_only: whether logits only say which class is best.
    """

    @property
    def name(self) -> str: ...

    @property
    def precision(self) -> str: ...

    @property
    def labels_only(self) -> bool: ...

    def __call__(self, view: Tensor) -> Tensor:
        """Return the logits (N, K, h, w) float32 of normalised images (N, 3, H, W)."""
        ...


class RuntimeFailedError(DsegError):
    """A network that a runtime cannot prepare or compute."""


def failed(runtime: str, network: str, fault: Exception) -> RuntimeFailedError:
    """Return the error for a network that a runtime cannot prepare or compute."""
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    reason = (lines[-1] if lines else type(fault).__name__)[:MAX_REASON].rstrip(".")
    return RuntimeFailedError(f"{TITLES[runtime]} cannot compute {network}: {reason}.", hint=STAY)
