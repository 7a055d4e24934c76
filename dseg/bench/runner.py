"""Runner: a network as it is measured, from decoded images to labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dseg.bench.config import BenchConfig
from dseg.checkpoints import load_model
from dseg.deploy import prepare
from dseg.images import Pixels
from dseg.models import Normaliser, SegModel, build_model


class Runner:
    """A network on its device and in its precision.

    Without a checkpoint its weights are random, which does not change how long it takes.

    Args:
        name: of the table.
        plan: what is measured.
        weights: a checkpoint file.

    Raises:
        DsegError: no such network, or the checkpoint is not its own.
    """

    def __init__(self, name: str, plan: BenchConfig, weights: Path | None = None):
        self.device, self.dtype = plan.torch_device, plan.torch_dtype
        self.model = _ready(
            build_model(name) if weights is None else load_model(name, weights), plan
        )
        cast(self.model, self.dtype)
        self._normalise = Normaliser(self.model.card, self.device)
        self._logits = self.model.logits
        if plan.compiled:
            self._logits = torch.compile(self.model.logits, dynamic=False)

    def view(self, images: list[Pixels]) -> Tensor:
        """Return (N, 3, h, w) of N decoded images of one size, padded to what the network reads."""
        pixels = torch.from_numpy(np.stack(images)).to(self.device)
        view = self._normalise(pixels.permute(0, 3, 1, 2))
        return self.model.pad(view).to(self.dtype).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def forward(self, view: Tensor) -> Tensor:
        """Return the main logits, as small as the network gives them."""
        return self._logits(view)[0]

    @torch.inference_mode()
    def label(self, view: Tensor, height: int, width: int) -> Tensor:
        """Return the train ids, (N, H, W) uint8, on the device."""
        scores = self.model.resize(self.forward(view).float(), *view.shape[-2:])
        return scores[..., :height, :width].max(1).indices.to(torch.uint8)

    def synchronise(self) -> None:
        """Wait until the device has done all that it was given."""
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)


def cast(model: nn.Module, dtype: torch.dtype) -> None:
    """Give a network's weights another type; batch norms keep float32, as autocast keeps them."""
    for module in model.modules():
        if not isinstance(module, _BatchNorm):
            for tensors in (module._parameters, module._buffers):
                for value in tensors.values():
                    if value is not None and value.is_floating_point():
                        value.data = value.data.to(dtype)


def _ready(model: SegModel, plan: BenchConfig) -> SegModel:
    """Return a network for inference, with norms folded if the plan says so."""
    if plan.deploy:
        return prepare(model, device=plan.torch_device)
    model = model.eval().requires_grad_(False).to(plan.torch_device)
    return model.to(memory_format=torch.channels_last)
