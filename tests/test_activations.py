"""Activation checkpointing: bitwise equal results in less memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision_nets import LITTLE, picture

from dseg.models import build_model
from dseg.nn.backbones.densenet import DenseBlock, DenseNet, checkpoint_activations
from dseg.nn.sync_norm import AllReduceBatchNorm2d, synchronise_norms

Step = tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]


def tiny() -> nn.Sequential:
    torch.manual_seed(6)
    blocks = DenseBlock(8, 8, 5, dilation=1), DenseBlock(48, 8, 3, dilation=2)
    return nn.Sequential(nn.Conv2d(3, 8, 3), *blocks, nn.BatchNorm2d(72))


def learn(network: nn.Module, *, amp: bool = False, times: int = 1, steps: int = 2) -> Step:
    """Run some training steps, and return the last output, all gradients and the state dict."""
    for step in range(steps):
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            out = network(picture(2, 32 + 16 * step, 48))
        for _ in range(times):
            out.square().mean().backward(retain_graph=times > 1)
    gradients = {k: p.grad for k, p in network.named_parameters() if p.grad is not None}
    return out.detach(), gradients, dict(network.state_dict())


def assert_same_step(one: Step, other: Step) -> None:
    assert torch.equal(one[0], other[0])
    for ours, reference in zip(one[1:], other[1:], strict=True):
        assert list(ours) == list(reference)
        assert ours
        assert [key for key in ours if not torch.equal(ours[key], reference[key])] == []


def test_a_whole_densenet_that_computes_twice_changes_no_bit() -> None:
    networks = []
    for _ in range(2):
        torch.manual_seed(6)
        networks.append(DenseNet(121, halve_last=True))
    checkpoint_activations(networks[1])
    assert_same_step(*map(learn, networks))


@pytest.fixture
def alone() -> Iterator[None]:
    """A group of one process."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize(
    "how", ["training", "amp", "two backward passes", "eval", "frozen", "cumulative"]
)
def test_activations_computed_twice_change_no_bit(how: str) -> None:
    networks = [tiny(), tiny()]
    assert checkpoint_activations(networks[1]) == 2
    for network in networks:
        network.train(how != "eval")
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d) and how == "cumulative":
                module.momentum = None
        if how == "frozen":
            network[0].requires_grad_(False)
    plain, twice = (
        learn(network, amp=how == "amp", times=2 if how == "two backward passes" else 1)
        for network in networks
    )
    assert_same_step(plain, twice)
    counted = plain[2]["1.denselayer1.norm2.num_batches_tracked"]
    assert counted == (0 if how == "eval" else 2)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, AllReduceBatchNorm2d])
def test_activations_computed_twice_change_no_bit_among_processes(
    alone: None, norm: type[nn.BatchNorm2d]
) -> None:
    networks = [tiny(), tiny()]
    checkpoint_activations(networks[1])
    if norm is AllReduceBatchNorm2d:
        networks = [synchronise_norms(network, "cpu") for network in networks]  # type: ignore[misc]
    assert type(networks[1][3]) is norm
    assert_same_step(*(learn(DistributedDataParallel(network)) for network in networks))


def test_nothing_is_computed_twice_without_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object, **options: object) -> Tensor:
        raise AssertionError("a checkpoint without gradients")

    monkeypatch.setattr("dseg.nn.backbones.densenet.checkpoint", never)
    plain, twice = tiny(), tiny()
    checkpoint_activations(twice)
    with torch.no_grad():
        assert torch.equal(plain(picture()), twice(picture()))
    with torch.inference_mode():
        twice.eval()(picture())
    with pytest.raises(AssertionError, match="without gradients"):
        twice(picture())


class Held(TorchDispatchMode):
    """Tracks the bytes of all tensors created in this mode that are still referenced."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                self.sizes[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        return made

    def total(self) -> int:
        return sum(size for held, size in self.sizes.values() if not held.expired())


def test_activations_computed_twice_are_not_held() -> None:
    held = []
    for twice in (False, True):
        network = DenseNet(121)
        if twice:
            checkpoint_activations(network)
        with Held() as mode:
            out = network(picture(1, 64, 128))
            held.append(mode.total())
        out.sum().backward()
    assert held[0] > 6.5 * held[1]


def test_a_network_without_dense_blocks_has_nothing_to_compute_twice() -> None:
    assert checkpoint_activations(build_model("dabnet")) == 0
    assert checkpoint_activations(build_model(LITTLE)) == 0
    assert checkpoint_activations(build_model("denseaspp121")) == 4
