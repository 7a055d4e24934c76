"""Prepare a network for inference: fold blocks and norms into single convolutions.

Blocks derived from ``Foldable`` have a simpler form, such as one convolution for several parallel
ones. A norm is folded into the convolution before it, but only if forward passes show that this is
safe: only that norm reads the results of the convolution, and it reads nothing else. The passes run
on the meta device, so nothing is computed. A norm in front of a convolution (pre-activation, as in
DenseNet) does not change.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable
from itertools import chain
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from dseg.models import OwnNetwork, SegModel
from dseg.nn.reparam import Foldable
from dseg.nn.sync_norm import AllReduceBatchNorm1d, AllReduceBatchNorm2d

Layer = nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d | nn.Linear
Norm = nn.BatchNorm1d | nn.BatchNorm2d | nn.SyncBatchNorm

# Dimensions of a layer's result; with others, the channels are not in the norm's dimension.
AXES: dict[type[nn.Module], int] = {
    nn.Conv1d: 3,
    nn.Conv2d: 4,
    nn.ConvTranspose2d: 4,
    nn.Linear: 2,
}
NORMS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.SyncBatchNorm,
    AllReduceBatchNorm1d,
    AllReduceBatchNorm2d,
)
SIZES = (256, 512), (197, 389)  # input sizes to observe: even and odd sides


def prepare(model: SegModel, *, device: torch.device | str, channels_last: bool = True) -> SegModel:
    """Return a copy of a network for inference: folded, no auxiliary heads, no gradients.

    It has the results of the network in evaluation mode, up to rounding. The network itself does
    not change, nor does its mode; the two share no memory. A module of the user's is copied as it
    is, since it may use its layers in ways that folding would break.

    Args:
        model: network to copy.
        device: device of the copy.
        channels_last: use the channels_last memory format for weights.
    """
    deployed = copy.deepcopy(model).eval().requires_grad_(False)
    if isinstance(deployed, OwnNetwork):
        return deployed.to(device)
    if "aux" in deployed._modules:
        deployed._modules["aux"] = None
    fold_blocks(deployed)
    for layer, norm in find_foldable(deployed):
        _fold(layer, norm)
    deployed.to(device)
    return deployed.to(memory_format=torch.channels_last) if channels_last else deployed


def fold_blocks(model: nn.Module) -> None:
    """Replace each ``Foldable`` block of a network by its simpler form, in place."""
    folded: dict[nn.Module, nn.Module] = {}  # by block, which can have several names
    for parent in list(model.modules()):
        for name, block in parent._modules.items():
            if isinstance(block, Foldable):
                if block not in folded:
                    folded[block] = block.folded()
                parent._modules[name] = folded[block]


@torch.no_grad()
def find_foldable(model: SegModel) -> list[tuple[Layer, Norm]]:
    """Return each convolution or linear layer whose results only one norm reads, with that norm.

    Args:
        model: network in evaluation mode; without pairs if it cannot run on the meta device.
    """
    if not any(_is_norm(module) for module in model.modules()):
        return []
    tensors = chain(model.parameters(), model.buffers())
    shapes = copy.deepcopy(model, {id(tensor): tensor.to("meta") for tensor in tensors})
    dtype = next(model.parameters()).dtype
    observer = _Observer(shapes)
    try:
        for size in SIZES:
            sides = (max(side, model.min_size) for side in size)
            observer.watch(shapes, torch.empty(1, 3, *sides, dtype=dtype, device="meta"))
    except RuntimeError:  # shapes depend on values, or a tensor is on another device
        return []
    original = dict(zip(shapes.modules(), model.modules(), strict=True))
    pairs = [(original[layer], original[norm]) for layer, norm in observer.pairs()]
    return [(layer, norm) for layer, norm in pairs if _is_layer(layer) and _is_norm(norm)]


def _fold(layer: Layer, norm: Norm) -> None:
    """Fold a norm into the layer before it, and replace the norm by the identity."""
    assert norm.running_mean is not None and norm.running_var is not None
    layer.weight, layer.bias = fuse_conv_bn_weights(
        layer.weight,
        layer.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
        transpose=isinstance(layer, nn.ConvTranspose2d),
    )
    _make_identity(norm)


def _make_identity(module: nn.Module) -> None:
    """Turn a module into the identity in place, since it can have several names."""
    module._parameters.clear()
    module._buffers.clear()
    module.__class__ = nn.Identity


def _is_plain(module: nn.Module) -> bool:
    """Return True for a module without hooks, such as those of weight norm."""
    return not (module._forward_pre_hooks or module._forward_hooks)


def _is_layer(module: nn.Module) -> TypeGuard[Layer]:
    """Return True for a layer to fold; a grouped transposed one has no axis of all channels."""
    grouped = isinstance(module, nn.ConvTranspose2d) and module.groups > 1
    return type(module) in AXES and _is_plain(module) and not grouped


def _is_norm(module: nn.Module) -> TypeGuard[Norm]:
    """Return True for a norm with running statistics, which does not depend on the batch."""
    return type(module) in NORMS and _is_plain(module) and module.running_mean is not None


class _Observer(TorchFunctionMode):
    """Records which norms, layers and other calls read the results of a network's layers.

    Args:
        model: network; hooks are added and stay.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self._norms = {module for module in model.modules() if _is_norm(module)}
        self._layers = {module for module in model.modules() if _is_layer(module)}
        self._owners: defaultdict[int, set[nn.Module]] = defaultdict(set)  # by id of a weight
        # by id; the reference keeps the id unique
        self._results: dict[int, tuple[nn.Module, Tensor]] = {}
        self._readers: defaultdict[int, list[nn.Module | None]] = defaultdict(list)
        self._sources: defaultdict[nn.Module, set[nn.Module | None]] = defaultdict(set)
        self._within = False
        for module in self._norms | self._layers:
            for weight in chain(module.parameters(), module.buffers()):
                self._owners[id(weight)].add(module)
            module.register_forward_pre_hook(self._enter, with_kwargs=True)
            module.register_forward_hook(self._leave)

    def watch(self, model: nn.Module, image: Tensor) -> None:
        """Run a forward pass; its result counts as read."""
        with self:
            output = model(image)
        self._read(output)

    def pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """Return each layer with the only norm that read its results, and nothing else."""
        readers: defaultdict[nn.Module, list[list[nn.Module | None]]] = defaultdict(list)
        for key, (layer, _) in self._results.items():
            readers[layer].append(self._readers[key])
        return [
            (layer, norm)
            for layer, lists in readers.items()
            for norm in lists[0][:1]
            if norm in self._norms and all(found == [norm] for found in lists)
            if {layer, norm} <= self._norms | self._layers and self._sources[norm] == {layer}
        ]

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if not self._within:
            self._read((args, kwargs))
        return func(*args, **kwargs)

    def _enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if module in self._norms:
            layer, _ = self._results.get(id(args[0]) if args else 0, (None, None))
            self._sources[module].add(layer)
        self._read((args, kwargs), module)
        self._within = True

    def _leave(self, module: nn.Module, args: Any, result: Tensor) -> None:
        if module in self._layers:
            usual = result.dim() == AXES[type(module)]
            self._results[id(result)] = module, result
            if not usual:
                self._read(result)
        self._within = False

    def _read(self, values: object, reader: nn.Module | None = None) -> None:
        """Record that the reader, None for any call, reads these values."""
        for value in tree_leaves(values):
            if id(value) in self._results:
                self._readers[id(value)].append(reader)
            if id(value) in self._owners:  # the weight is used outside its module
                self._norms -= self._owners[id(value)]
                self._layers -= self._owners[id(value)]
