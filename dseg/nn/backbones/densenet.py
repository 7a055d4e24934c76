"""DenseNet (Huang et al., CVPR 2017), dilated for a last map of stride 8 or 16.

Module names are torchvision's, so that its ImageNet files fit.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from dseg.errors import DsegError
from dseg.nn.backbones.base import Backbone
from dseg.nn.dense import DenselyConnected, map_rows

# depth: (growth, channels of the stem, layers of each block), table 1 of the paper
CONFIGS: dict[int, tuple[int, int, tuple[int, int, int, int]]] = {
    121: (32, 64, (6, 12, 24, 16)),
    161: (48, 96, (6, 12, 36, 24)),
    169: (32, 64, (6, 12, 32, 32)),
    201: (32, 64, (6, 12, 48, 32)),
}
# output stride: which of the three transitions pool, and the dilation of each block
LAYOUTS = {8: ((True, False, False), (1, 1, 2, 4)), 16: ((True, True, False), (1, 1, 1, 2))}


class DenseLayer(nn.Module):
    """Bottleneck of a dense block: norm, ReLU, 1x1 to four times the growth, norm, ReLU, 3x3."""

    def __init__(self, in_channels: int, growth: int, dilation: int):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(
            4 * growth, growth, 3, padding=dilation, dilation=dilation, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, growth, h, w)."""
        x = self.norm2(map_rows(self._reduce, x)).relu_()
        out: Tensor = self.conv2(x)
        return out

    def _reduce(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv1(self.norm1(x).relu_())
        return out


class DenseBlock(DenselyConnected):
    """Dense block: each layer reads the input and the outputs of all layers before it.

    Attributes:
        checkpoint_activations: keep only the layers' outputs, and recompute other activations in
            the backward pass (Pleiss et al., 2017): memory is linear in the depth instead of
            quadratic; outputs, gradients and running statistics are bitwise equal.
    """

    checkpoint_activations: bool = False

    def __init__(self, in_channels: int, growth: int, layers: int, dilation: int):
        super().__init__()
        for index in range(layers):
            layer = DenseLayer(in_channels + index * growth, growth, dilation)
            self.add_module(f"denselayer{index + 1}", layer)
        self.in_channels = in_channels
        self.out_channels = in_channels + layers * growth

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, out_channels, h, w)."""
        if self.checkpoint_activations and torch.is_grad_enabled():
            return self._forward_checkpointed(x)
        return super().forward(x)

    def _forward_checkpointed(self, x: Tensor) -> Tensor:
        # A list of maps, since checkpointing would keep each concatenated input.
        maps = [x]
        for layer in self.children():
            options: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False}
            if not torch.compiler.is_compiling():  # a compiled graph updates each statistic once
                options["context_fn"] = partial(_contexts, layer)
            maps.append(checkpoint(_read, layer, *maps, **options))
        return torch.cat(maps, dim=1)


class Transition(nn.Module):
    """Norm, ReLU and a 1x1 convolution to half the channels, and a 2x2 mean if it pools."""

    def __init__(self, channels: int, pool: bool):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.pool = nn.AvgPool2d(2, stride=2) if pool else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, h, w) to (N, channels / 2, h, w), or half that size."""
        out: Tensor = self.pool(map_rows(self._reduce, x))
        return out

    def _reduce(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(self.norm(x).relu_())
        return out


class DenseNet(Backbone):
    """The feature extractor of DenseNet.

    Args:
        depth: 121, 161, 169 or 201.
        output_stride: 8 or 16; blocks after a removed pooling are dilated instead.
        halve_last: add a fourth transition, which halves the channels of the last block.

    Raises:
        DsegError: unsupported depth or output stride.
    """

    KEY_MAP: tuple[tuple[str, str | None], ...] = (
        (r"^classifier\.", None),
        (r"^features\.", ""),
        (r"^(.*layer\d+)\.(norm|conv)\.(\d)\.", r"\1.\2\3."),  # norm.1 of torch 0.3
    )

    def __init__(self, depth: int, output_stride: int = 8, *, halve_last: bool = False):
        super().__init__()
        if depth not in CONFIGS or output_stride not in LAYOUTS:
            raise DsegError(
                f"DenseNet does not have depth {depth} with output stride {output_stride}.",
                hint=f"depths: {list(CONFIGS)}; output strides: {list(LAYOUTS)}.",
            )
        self.torchvision_name = f"densenet{depth}"
        if halve_last:  # the transition then normalises the last block's map
            self.KEY_MAP = ((r"^features\.norm5\.", "transition4.norm."), *DenseNet.KEY_MAP)
            self.ABSENT = ("transition4.conv.", "norm5.")
        growth, channels, blocks = CONFIGS[depth]
        pools, dilations = LAYOUTS[output_stride]
        self.conv0 = nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
        self.norm0 = nn.BatchNorm2d(channels)
        self.pool0 = nn.MaxPool2d(3, stride=2, padding=1)
        for index, (layers, dilation) in enumerate(zip(blocks, dilations, strict=True), start=1):
            block = DenseBlock(channels, growth, layers, dilation)
            self.add_module(f"denseblock{index}", block)
            channels = block.out_channels
            if index < 4 or halve_last:
                pool = index < 4 and pools[index - 1]
                self.add_module(f"transition{index}", Transition(channels, pool))
                channels //= 2
        self.norm5 = nn.BatchNorm2d(channels)
        self.out_channels = channels

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, 3, H, W) to (N, out_channels, H / stride, W / stride), after norm5, without ReLU.

        A side of n gives ceil(ceil(n / 2) / 2), then floor(/ 2) at each pooling transition.
        """
        x = self.pool0(self.norm0(self.conv0(image)).relu_())
        for part in self.children():
            if isinstance(part, DenseBlock):
                x = part.widened(x)  # so that the block's input is released before its layers run
            if isinstance(part, DenseBlock | Transition):
                x = part(x)
        out: Tensor = self.norm5(x)
        return out


def checkpoint_activations(model: nn.Module) -> int:
    """Turn activation checkpointing on in all dense blocks, and return the number of blocks.

    Call it before compiling; it can be called before or after wrapping for several processes.
    """
    blocks = [module for module in model.modules() if isinstance(module, DenseBlock)]
    for block in blocks:
        block.checkpoint_activations = True
    return len(blocks)


def _read(layer: nn.Module, *maps: Tensor) -> Tensor:
    out: Tensor = layer(maps[0] if len(maps) == 1 else torch.cat(maps, dim=1))
    return out


def _contexts(layer: nn.Module) -> tuple[AbstractContextManager[None], _Untracked]:
    """Return the contexts of the forward computation and of the recomputation of a layer."""
    return nullcontext(), _Untracked(layer)


class _Untracked(AbstractContextManager[None]):
    """Context in which batch norms update copies of their running statistics.

    Without statistics a batch norm would save other tensors than in the forward pass. It can be
    entered again, for a second backward pass through a retained graph.
    """

    def __init__(self, layer: nn.Module):
        self.norms = [module for module in layer.modules() if isinstance(module, _BatchNorm)]

    def __enter__(self) -> None:
        self.kept = [(norm, dict(norm._buffers)) for norm in self.norms if norm.training]
        for norm, buffers in self.kept:
            copies = {k: v if v is None else v.clone() for k, v in buffers.items()}
            norm._buffers.update(copies)

    def __exit__(self, *exception: object) -> None:
        for norm, buffers in self.kept:
            norm._buffers.update(buffers)
