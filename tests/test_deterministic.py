"""The substitutes of operations that have no deterministic backward pass on CUDA."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dseg.nn.bicubic import resize_by_matrices
from dseg.nn.deterministic import pool_by_matrices, sample_by_gather


def gradients_agree(ours: Tensor, theirs: Tensor, *inputs: Tensor) -> bool:
    weight = torch.randn_like(ours)
    mine = torch.autograd.grad((ours * weight).sum(), inputs)
    others = torch.autograd.grad((theirs * weight).sum(), inputs)
    return all(torch.allclose(a, b, atol=1e-10) for a, b in zip(mine, others, strict=True))


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (6, 6), (8, 16), (13, 11)])
def test_pooling_by_matrices_is_adaptive_pooling(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 13, 11, dtype=torch.float64, requires_grad=True)
    ours, theirs = pool_by_matrices(x, size), F.adaptive_avg_pool2d(x, size)
    assert ours.shape == (2, 3, *size)
    assert torch.allclose(ours, theirs, atol=1e-12)
    assert gradients_agree(ours, theirs, x)


def test_pooling_by_matrices_keeps_the_type_and_accumulates_in_float32() -> None:
    x = torch.full((1, 1, 600, 600), 1.0, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        pooled = pool_by_matrices(x, (1, 1))
    assert pooled.dtype == torch.bfloat16
    assert pooled.item() == 1.0


@pytest.mark.parametrize("corners", [False, True])
def test_sampling_by_gather_is_grid_sampling_also_beyond_the_border(corners: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 5, 7, dtype=torch.float64, requires_grad=True)
    grid = 1.5 * torch.rand(2, 9, 4, 2, dtype=torch.float64) * 2 - 1.5
    grid.requires_grad_()
    ours = sample_by_gather(x, grid, corners)
    theirs = F.grid_sample(x, grid, align_corners=corners)
    assert torch.allclose(ours, theirs, atol=1e-12)
    assert gradients_agree(ours, theirs, x, grid)


def test_sampling_at_nan_gives_nan() -> None:
    x = torch.ones(1, 1, 3, 3)
    grid = torch.tensor([[[[float("nan"), 0.0], [0.0, 0.0]]]])
    assert sample_by_gather(x, grid).isnan().tolist() == [[[[True, False]]]]


@pytest.mark.parametrize("size", [(28, 40), (30, 41), (3, 4), (7, 10), (1, 1)])
def test_resizing_by_matrices_is_bicubic_interpolation(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 7, 10, dtype=torch.float64, requires_grad=True)
    ours = resize_by_matrices(x, size)
    theirs = F.interpolate(x, size, mode="bicubic", align_corners=False)
    assert ours.shape == (2, 3, *size)
    assert torch.allclose(ours, theirs, atol=1e-5)  # its weights are float32
    weight = torch.randn_like(ours)
    gradients = [torch.autograd.grad((y * weight).sum(), x)[0] for y in (ours, theirs)]
    assert torch.allclose(*gradients, atol=1e-4)


def test_resizing_by_matrices_is_in_float32_under_autocast() -> None:
    x = torch.randn(1, 2, 4, 5, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        found = resize_by_matrices(x, (32, 40))
    expected = F.interpolate(x.float(), (32, 40), mode="bicubic", align_corners=False)
    assert found.dtype == torch.bfloat16
    assert torch.allclose(found.float(), expected, rtol=2**-8)
