"""Runner: the measured network, from decoded images to labels."""

from __future__ import annotations

import copy
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dseg.bench.config import DTYPES, BenchConfig
from dseg.checkpoints import load_model
from dseg.device import describe_precision, find_amp
from dseg.folding import prepare
from dseg.graphs.facts import GRAPH_SUFFIXES
from dseg.images import Pixels
from dseg.models import Normaliser, SegModel, build_model
from dseg.predict.runtimes import Runtime, TorchRuntime, make_runtime, open_exported


class Runner:
    """A network on the measured device and in the measured precision.

    Args:
        name: key of ``MODELS``.
        config: device, precision, whether to fold norms and compile.
        weights: checkpoint file; by default random weights, which take as long.

    Attributes:
        runtime: ``torch``, ``openvino`` or ``onnx``.
        dtype_name: key of ``DTYPES`` of the precision that is computed.
        precision: of weights and activations, in words.

    Raises:
        DsegError: the network is unknown, or the checkpoint is of another network.
    """

    def __init__(self, name: str, config: BenchConfig, weights: Path | None = None):
        self.device = config.torch_device
        if weights is not None and weights.suffix in GRAPH_SUFFIXES:
            self.model, runtime, _ = open_exported(
                weights, config.runtime, config.dtype, device=self.device
            )
            self._use(runtime)
        elif config.runtime_used == "torch":
            self.model = _ready(_build(name, weights), config)
            amp = find_amp(config.dtype, self.device)
            torch_runtime = TorchRuntime(self.model, amp, self.device)
            if config.compiled:
                torch_runtime.compile()
            self._use(torch_runtime)
            self.precision = _describe_precision(torch_runtime)
        else:
            self.model, runtime = make_runtime(
                _build(name, weights), config.runtime, config.dtype, device=self.device
            )
            self._use(runtime)
        self._normalise = Normaliser(self.model.card, self.device)

    def _use(self, runtime: Runtime) -> None:
        self._compute, self.runtime, self.precision = runtime, runtime.name, runtime.precision
        names = {str(dtype).removeprefix("torch."): name for name, dtype in DTYPES.items()}
        self.dtype_name = names[runtime.precision]

    def view(self, images: list[Pixels]) -> Tensor:
        """Return N images of one size as normalised input (N, 3, h, w), padded for the network."""
        pixels = torch.from_numpy(np.stack(images)).to(self.device)
        view = self._normalise(pixels.permute(0, 3, 1, 2))
        return self.model.pad(view).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def forward(self, view: Tensor) -> Tensor:
        """Return the main logits at the network's output resolution."""
        return self._compute(view)

    @torch.inference_mode()
    def label(self, view: Tensor, height: int, width: int) -> Tensor:
        """Return the train ids, (N, H, W) uint8, on the device."""
        scores = self.model.resize(self.forward(view), *view.shape[-2:])
        return scores[..., :height, :width].max(1).indices.to(torch.uint8)

    def synchronise(self) -> None:
        """Wait until the device has finished."""
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)


def _describe_precision(runtime: TorchRuntime) -> str:
    if runtime.amp is None:
        return describe_precision(runtime.precision, runtime.device)
    return f"{runtime.precision} by autocast"


def _build(name: str, weights: Path | None) -> SegModel:
    """Load a network, or build it with the same random weights each time."""
    return load_model(name, weights) if weights is not None else copy.deepcopy(_make_random(name))


@lru_cache(maxsize=1)  # a network is measured in several runtimes and precisions in a row
def _make_random(name: str) -> SegModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_model(name).eval()


def _ready(model: SegModel, config: BenchConfig) -> SegModel:
    """Return a network for inference, with norms folded if configured."""
    if config.deploy:
        return prepare(model, device=config.torch_device)
    model = model.eval().requires_grad_(False).to(config.torch_device)
    return model.to(memory_format=torch.channels_last)
