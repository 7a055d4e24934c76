"""Attention, compared with the authors' recorded outputs and with the papers' formulas in loops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from blocks import find_block_difference
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from dseg.models.base import KeyMap
from dseg.models.danet import DualAttention
from dseg.nn import attention
from dseg.nn.attention import (
    ChannelAttention,
    CrissCrossAttention,
    PositionAttention,
    SelfAttention,
    attend,
    multiply,
)

NAMES: KeyMap = ((r"^(query|key|value)_conv\.", r"\1."),)


class Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the largest number of elements of any tensor that an operation returns."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.elements = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[Any], args: Any = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for part in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(part, Tensor):
                self.elements = max(self.elements, part.numel())
        return out


def noise(*shape: int) -> Tensor:
    """Return float64 noise of standard deviation 1 from a fixed seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def learned(module: nn.Module) -> Any:
    """Return a module in double precision whose gamma is 0.5, in evaluation mode."""
    for name, value in module.named_parameters():
        if name.endswith("gamma"):
            nn.init.constant_(value, 0.5)
    return module.double().eval()


def weigh(query: Tensor, keys: list[Tensor], values: list[Tensor]) -> Tensor:
    """Return the output of one query: the values weighted by the softmax of products, in a loop."""
    powers = [float(torch.exp(query @ key)) for key in keys]
    total = torch.zeros_like(values[0])
    for power, value in zip(powers, values, strict=True):
        total += power / sum(powers) * value
    return total


def projections(module: SelfAttention, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return module.query(x)[0], module.key(x)[0], module.value(x)[0]


@pytest.mark.parametrize(
    ("golden", "module", "key_map"),
    [
        ("block_pam_danet", PositionAttention(64), NAMES),
        ("block_cam_danet", ChannelAttention(), ()),
        ("block_cca_ccnet", CrissCrossAttention(64), NAMES),
    ],
)
def test_the_authors_module_is_the_same(golden: str, module: nn.Module, key_map: KeyMap) -> None:
    assert find_block_difference(golden, module, key_map) < 1e-5


@pytest.mark.parametrize("block", [1, 30, 47, 1 << 25])
def test_blocks_of_queries_change_neither_sums_nor_gradients(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    query, key, value = (noise(2, *size).requires_grad_() for size in ((3, 11), (3, 7), (4, 7)))
    weights = torch.einsum("ncp,ncq->npq", 0.5 * query, key).softmax(2)
    expected = torch.einsum("npq,ndq->ndp", weights, value)
    monkeypatch.setattr(attention, "BLOCK", block)
    found = attend(query, key, value, 0.5)
    torch.testing.assert_close(found, expected)
    slope = noise(2, 4, 11)
    for ours, theirs in zip(
        torch.autograd.grad(found, (query, key, value), slope),
        torch.autograd.grad(expected, (query, key, value), slope),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


@torch.inference_mode()
def test_every_query_weighs_all_keys_by_the_exponential_of_their_product() -> None:
    query, key, value = noise(1, 3, 5), noise(1, 3, 6), noise(1, 4, 6)
    found = attend(query, key, value, 2.0)
    for place in range(5):
        keys, values = list(2 * key[0].T), list(value[0].T)
        torch.testing.assert_close(found[0, :, place], weigh(query[0, :, place], keys, values))


@torch.inference_mode()
def test_a_position_gathers_from_all_positions() -> None:
    module, x = learned(PositionAttention(16)), noise(1, 16, 3, 4)
    query, key, value = projections(module, x)
    out = module(x)
    for row in range(3):
        for column in range(4):
            keys, values = list(key.flatten(1).T), list(value.flatten(1).T)
            sums = weigh(query[:, row, column], keys, values)
            expected = x[0, :, row, column] + 0.5 * sums
            torch.testing.assert_close(out[0, :, row, column], expected)


@torch.inference_mode()
def test_a_channel_gathers_most_from_the_channels_least_like_it() -> None:
    module, x = learned(ChannelAttention()), 0.5 * noise(1, 6, 3, 4)
    out, maps = module(x), list(x[0].flatten(1))
    for channel in range(6):
        sums = weigh(-maps[channel], maps, maps).view(3, 4)
        torch.testing.assert_close(out[0, channel], x[0, channel] + 0.5 * sums)


@torch.inference_mode()
@pytest.mark.parametrize("size", [(3, 4), (5, 1), (1, 5), (1, 1)])
def test_a_position_gathers_from_its_row_and_column_and_from_itself_once(
    size: tuple[int, int],
) -> None:
    module, x = learned(CrissCrossAttention(16)), noise(1, 16, *size)
    query, key, value = projections(module, x)
    out = module(x)
    for row in range(size[0]):
        for column in range(size[1]):
            path = [(row, other) for other in range(size[1])]
            path += [(other, column) for other in range(size[0]) if other != row]
            assert len(path) == size[0] + size[1] - 1
            keys, values = ([part[:, i, j] for i, j in path] for part in (key, value))
            expected = x[0, :, row, column] + 0.5 * weigh(query[:, row, column], keys, values)
            torch.testing.assert_close(out[0, :, row, column], expected)


def test_twice_along_the_criss_cross_reads_every_position() -> None:
    once, twice = (learned(CrissCrossAttention(8, recurrence=count)) for count in (1, 2))
    twice.load_state_dict(once.state_dict())
    x = noise(1, 8, 4, 5).requires_grad_()
    torch.testing.assert_close(twice(x), once(once(x)))
    for module, count in ((once, 4 + 5 - 1), (twice, 4 * 5)):
        (slope,) = torch.autograd.grad(module(x)[0, :, 1, 2].sum(), x)
        assert int((slope[0].abs().sum(0) > 0).sum()) == count


@torch.inference_mode()
@pytest.mark.parametrize(
    "module", [PositionAttention(16), ChannelAttention(), CrissCrossAttention(16, recurrence=2)]
)
def test_a_new_module_is_the_identity_and_the_memory_format_is_kept(module: nn.Module) -> None:
    x = noise(2, 16, 5, 6)
    assert torch.equal(module.double()(x), x)
    expected, last = learned(module)(x), x.to(memory_format=torch.channels_last)
    torch.testing.assert_close(module(last), expected)
    assert module(last).is_contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
@pytest.mark.parametrize(
    ("module", "elements"),
    [
        (PositionAttention(16), 1 << 25),  # of 2 ** 30 pairs
        (CrissCrossAttention(16, recurrence=2), 128 * 256 * (128 + 256)),
        (ChannelAttention(), 128 * 256 * 16),  # the map itself
    ],
)
def test_no_tensor_holds_all_pairs_of_positions_of_a_large_image(
    module: nn.Module, elements: int
) -> None:
    with Largest() as largest:
        module.eval().to("meta")(torch.empty(1, 16, 128, 256, device="meta"))
    assert largest.elements == elements


@torch.inference_mode()
def test_no_tensor_holds_more_than_a_block_of_affinities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "BLOCK", 20_000)
    context, x = DualAttention(8, 16).eval(), torch.rand(1, 8, 24, 32)
    with Largest() as largest:
        position, channel = context(x)
    assert position.shape == channel.shape == (1, 16, 24, 32)
    assert largest.elements == 768 * (20_000 // 768)
    with Largest() as largest:
        monkeypatch.setattr(attention, "BLOCK", 1 << 25)
        context(x)
    assert largest.elements == 768 * 768


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_products_of_channels_are_not_rounded_to_16_bits(dtype: torch.dtype) -> None:
    channels = torch.full((1, 2, 70_001), 1.0)
    assert multiply(channels.to(dtype), channels.to(dtype).transpose(1, 2)).tolist() == [
        [[70_001.0] * 2] * 2
    ]
    with torch.autocast("cpu", dtype):
        assert multiply(channels, channels.transpose(1, 2)).tolist() == [[[70_001.0] * 2] * 2]
        assert ChannelAttention()(channels[..., None].to(dtype)).isfinite().all()
