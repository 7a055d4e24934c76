"""TorchRuntime: PyTorch, eager or compiled, on any device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dseg.device import lacks_reported
from dseg.memory import is_out_of_memory
from dseg.models import SegModel
from dseg.predict.prediction import compile_error


class TorchRuntime:
    """Computes logits by PyTorch.

    Args:
        model: network prepared for inference, on its device.
        amp: reduced precision, by autocast; None for float32.
        device: device of the network.
    """

    name = "torch"
    labels_only = False

    def __init__(self, model: SegModel, amp: torch.dtype | None, device: torch.device):
        self.model, self.amp, self.device = model, amp, device
        self.precision = str(amp or torch.float32).removeprefix("torch.")
        self._forward = model.logits
        self._compiled = False
        self._compiled_shapes: set[torch.Size] = set()

    def compile(self) -> None:
        """Compile the network on first use, once for each size of input.

        On the CPU its weights are constants of the compiled code: converted to the precision and
        packed for the kernels once. That needs their memory twice.
        """
        frozen: dict[str, Any] | None = {"freezing": True} if self.device.type == "cpu" else None
        self._forward = torch.compile(self.model.logits, dynamic=False, options=frozen)
        self._compiled = True

    def __call__(self, view: Tensor) -> Tensor:
        """Return the logits (N, K, h, w) float32 of normalised images (N, 3, H, W).

        Raises:
            CompileError: the network cannot be compiled.
            DsegError: MPS lacks an operation of the network.
        """
        enabled = self.amp is not None
        with (
            lacks_reported(self.model.card.network, self.device),
            torch.autocast(self.device.type, dtype=self.amp, enabled=enabled),
        ):
            return self._logits(view).float()

    def _logits(self, view: Tensor) -> Tensor:
        if not self._compiled or view.shape in self._compiled_shapes:
            return self._forward(view)[0]
        try:
            found = self._forward(view)[0]
            self._compiled_shapes.add(view.shape)
            return found
        except Exception as fault:  # the compiler and what it calls raise many kinds
            if is_out_of_memory(fault):
                raise
            raise compile_error(self.model.card.network, fault) from fault
