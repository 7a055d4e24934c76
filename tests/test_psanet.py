"""Point-wise spatial attention, compared with loops over pairs of positions."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from dseg.nn.pointwise import PointwiseSpatialAttention, collect, distribute

# maps (h, w) that a mask of 5x5 covers, or that exceed it in height, width or both
SIZES = [(3, 3), (2, 3), (1, 1), (1, 6), (5, 2), (4, 7), (7, 4)]
Flow = Callable[..., Tensor]
FLOWS = [pytest.param(flow, id=flow.__name__) for flow in (collect, distribute)]


@pytest.fixture(autouse=True)
def fixed_numbers() -> None:
    torch.manual_seed(0)


def draw(height: int, width: int, size: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Return two images' values of 3 channels, hidden maps of 4, and a kernel."""
    value, hidden = torch.randn(2, 3, height, width), torch.randn(2, 4, height, width)
    return value.double(), hidden.double(), torch.randn(size, size, 4).double()


def places(height: int, width: int) -> Iterator[tuple[int, int]]:
    return ((row, column) for row in range(height) for column in range(width))


def predict(hidden: Tensor, kernel: Tensor) -> Tensor:
    """Return (N, h, w, h, w): the affinity that each position predicts for each other one."""
    count, _, height, width = hidden.shape
    half = kernel.shape[0] // 2
    affinity = torch.zeros(count, height, width, height, width, dtype=hidden.dtype)
    for i, j in places(height, width):
        for k, m in places(height, width):
            if abs(k - i) <= half and abs(m - j) <= half:
                weight = kernel[k - i + half, m - j + half]
                affinity[:, i, j, k, m] = hidden[:, :, i, j] @ weight
    return affinity


def flow_slowly(flow: Flow, value: Tensor, hidden: Tensor, kernel: Tensor) -> Tensor:
    """Return the weighted sums, position by position."""
    affinity = predict(hidden, kernel)
    out = torch.zeros_like(value)
    for i, j in places(*value.shape[2:]):
        # collect uses what (i, j) predicts, distribute what all positions predict for it
        scores = affinity[:, i, j] if flow is collect else affinity[..., i, j]
        weights = scores.flatten(1).softmax(1)
        out[:, :, i, j] = (value.flatten(2) * weights[:, None]).sum(2)
    return out


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("flow", FLOWS)
def test_a_flow_is_the_loop_over_pairs(flow: Flow, size: tuple[int, int]) -> None:
    parts = draw(*size)
    torch.testing.assert_close(flow(*parts), flow_slowly(flow, *parts))


@pytest.mark.parametrize("rows", [1, 2, 4])
@pytest.mark.parametrize("flow", FLOWS)
def test_blocks_of_rows_change_nothing(flow: Flow, rows: int) -> None:
    parts = draw(5, 4)  # two images of 5 rows of 4 * 20 affinities
    torch.testing.assert_close(flow(*parts, block=rows * 160), flow(*parts, block=5 * 160))


@pytest.mark.parametrize("flow", FLOWS)
def test_beyond_the_mask_affinities_are_0_and_take_part(flow: Flow) -> None:
    value = torch.tensor([1.0, 0, 0, 0]).reshape(1, 1, 1, 4)
    hidden, kernel = torch.ones(1, 1, 1, 4), torch.full((1, 1, 1), 2.0)
    # each position has exp(2) for itself and exp(0) for the three others
    own = torch.tensor(2.0).exp() / (torch.tensor(2.0).exp() + 3)
    expected = torch.stack([own, *3 * [(1 - own) / 3]]).reshape(1, 1, 1, 4)
    torch.testing.assert_close(flow(value, hidden, kernel), expected)


def test_distribute_is_the_transpose_of_collect() -> None:
    _, hidden, kernel = draw(3, 4)
    units = torch.eye(12, dtype=torch.double).reshape(12, 12, 1).expand(-1, -1, 2)
    value = units.permute(2, 0, 1).reshape(2, 12, 3, 4)  # channel p is 1 at position p
    affinity = predict(hidden, kernel).reshape(2, 12, 12)  # predictor, other
    collected = collect(value, hidden, kernel).flatten(2)  # from p, at q
    distributed = distribute(value, hidden, kernel).flatten(2)
    torch.testing.assert_close(collected, affinity.transpose(1, 2).softmax(1))
    torch.testing.assert_close(distributed, affinity.softmax(1))


@pytest.mark.parametrize("flow", FLOWS)
def test_gradients_pass_through_all_blocks(flow: Flow) -> None:
    def grads(run: Flow) -> list[Tensor]:
        leaves = [part.clone().requires_grad_() for part in parts]
        run(*leaves).square().sum().backward()
        return [leaf.grad for leaf in leaves if leaf.grad is not None]

    parts = draw(4, 3)
    found = grads(lambda value, hidden, kernel: flow(value, hidden, kernel, block=1))
    slow = grads(lambda value, hidden, kernel: flow_slowly(flow, value, hidden, kernel))
    torch.testing.assert_close(found, slow)


@pytest.mark.parametrize("scale", [-1e4, 1e4])
@pytest.mark.parametrize("flow", FLOWS)
def test_large_affinities_do_not_overflow(flow: Flow, scale: float) -> None:
    value, hidden, kernel = draw(4, 4, 7)
    parts = (value, scale * hidden.abs(), kernel.abs())
    torch.testing.assert_close(flow(*parts, block=1), flow_slowly(flow, *parts))


def test_the_context_stands_beside_the_feature_at_any_size() -> None:
    attention = PointwiseSpatialAttention(8, 3, mask_size=5).eval()
    with torch.inference_mode():
        for size in ((1, 1), (2, 3), (9, 9), (16, 13)):
            feature = torch.rand(2, 8, *size)
            out = attention(feature)
            assert out.shape == (2, attention.out_channels, *size)
            assert torch.equal(out[:, :8], feature)


@pytest.mark.parametrize(("side", "small"), [(1, 1), (8, 4), (9, 5), (89, 45)])
def test_the_attention_works_on_half_the_sides(side: int, small: int) -> None:
    branches = PointwiseSpatialAttention(2, 1, mask_size=3).eval().branches
    with torch.inference_mode():
        for branch in branches.values():
            assert branch(torch.rand(1, 2, side, 4)).shape == (1, 1, small, 2)
