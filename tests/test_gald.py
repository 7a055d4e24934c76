"""GALD-Net's block, compared with its authors' modules and with formulas in loops."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from blocks import find_block_difference
from torch import Tensor, nn
from torch.nn import functional as F

from dseg.models.gald import GALDNet
from dseg.nn.gald import GALD_KEYS, CompactNonLocal, GALDBlock, LocalDistribution


@pytest.mark.parametrize(
    ("golden", "module"),
    [
        ("block_cgnl_gald", CompactNonLocal(32, 16)),
        ("block_localatten_gald", LocalDistribution(16)),
        ("block_galdblock_gald", GALDBlock(32, 16)),
    ],
)
def test_modules_compute_what_their_authors_compute(golden: str, module: nn.Module) -> None:
    assert find_block_difference(golden, module, GALD_KEYS) < 1e-5


def drawn(module: nn.Module) -> nn.Module:
    """Give every parameter and statistic of a module random values."""
    torch.manual_seed(0)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if "var" in name else tensor.normal_()
    return module.double().eval().requires_grad_(False)


def points(weight: Tensor, x: Tensor) -> Tensor:
    """Return a 1x1 convolution without bias."""
    return torch.einsum("oc,nchw->nohw", weight[:, :, 0, 0], x)


def compact_non_local(module: CompactNonLocal, x: Tensor) -> Tensor:
    """Compute the aggregation group by group, affinities between all values included."""
    theta, phi, g = (points(p.weight, x) for p in (module.theta, module.phi, module.g))
    width, wide = theta.shape[1] // module.groups, x.shape[1] // module.groups
    out = torch.zeros_like(x)
    for image, group in product(range(len(x)), range(module.groups)):
        part = slice(group * width, (group + 1) * width)
        affinity = torch.outer(theta[image, part].flatten(), phi[image, part].flatten())
        attended = (affinity @ g[image, part].flatten()).reshape(1, width, *x.shape[2:])
        rows = slice(group * wide, (group + 1) * wide)
        z = points(module.expand.weight[rows], attended)[0]
        z = (z - z.mean()) / (z.var(unbiased=False) + 1e-5).sqrt()
        weight, bias = module.norm.weight[rows], module.norm.bias[rows]
        out[image, rows] = z * weight[:, None, None] + bias[:, None, None]
    return x + out


def test_a_groups_values_all_attend_to_each_other() -> None:
    module = drawn(CompactNonLocal(12, 6, groups=3))
    assert isinstance(module, CompactNonLocal)
    x = torch.rand(2, 12, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(module(x), compact_non_local(module, x))


def test_the_norm_leaves_only_the_sign_of_a_groups_factor() -> None:
    module = drawn(CompactNonLocal(12, 6, groups=3))
    assert isinstance(module, CompactNonLocal)
    x = torch.rand(1, 12, 4, 5, dtype=torch.float64)
    attended = module(x) - x
    module.phi.weight.data *= 3
    torch.testing.assert_close(module(x) - x, attended, rtol=1e-3, atol=1e-5)
    module.phi.weight.data *= -1
    module.norm.weight.data *= -1
    torch.testing.assert_close(module(x) - x, attended, rtol=1e-3, atol=1e-5)


def halved(part: nn.Module, x: Tensor) -> Tensor:
    """Compute a depth-wise 3x3 of stride 2 without padding, norm and ReLU, position by position."""
    conv, norm = part.get_submodule("conv"), part.get_submodule("norm")
    assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    assert conv.bias is not None and norm.running_mean is not None and norm.running_var is not None
    height, width = ((side - 1) // 2 for side in x.shape[2:])
    out = torch.empty(*x.shape[:2], height, width, dtype=x.dtype)
    for row, column in product(range(height), range(width)):
        seen = x[:, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
        out[:, :, row, column] = (seen * conv.weight[:, 0]).sum((2, 3)) + conv.bias
    scale = norm.weight / (norm.running_var + 1e-5).sqrt()
    shift = norm.bias - norm.running_mean * scale
    return (out * scale[:, None, None] + shift[:, None, None]).clamp(min=0)


def masked(module: LocalDistribution, x: Tensor) -> Tensor:
    """Compute the distribution: three times down, up with align_corners, mask."""
    coarse = x
    for part in module.mask:
        coarse = halved(part, coarse)
    up = F.interpolate(coarse, x.shape[2:], mode="bilinear", align_corners=True)
    return x * (1 + 1 / (1 + torch.exp(-up)))


def test_a_map_is_distributed_by_a_mask_of_its_coarse_copy() -> None:
    module = drawn(LocalDistribution(3))
    assert isinstance(module, LocalDistribution)
    x = torch.rand(2, 3, 31, 24, dtype=torch.float64)
    assert module.mask(x).shape == (2, 3, 3, 2)
    torch.testing.assert_close(module(x), masked(module, x))


def test_the_block_adds_the_distribution_to_the_context_of_a_halved_map() -> None:
    module = drawn(GALDBlock(8, 8))
    assert isinstance(module, GALDBlock)
    x = torch.rand(2, 8, 16, 19, dtype=torch.float64)
    context = compact_non_local(module.aggregate, halved(module.down, x))
    context = F.interpolate(context, (16, 19), mode="bilinear", align_corners=True)
    torch.testing.assert_close(module(x), context + masked(module.distribute, context))


def test_fifteen_rows_and_columns_are_the_fewest() -> None:
    block = GALDBlock(8, 8).eval()
    assert block(torch.rand(1, 8, 15, 15)).shape == (1, 8, 15, 15)
    with pytest.raises(RuntimeError):
        block(torch.rand(1, 8, 15, 14))


def test_the_network_reads_no_side_below_its_least() -> None:
    with torch.device("meta"):
        model = GALDNet(19).eval()
    assert model.logits(torch.empty(1, 3, 111, 111, device="meta"))[0].shape == (1, 19, 15, 15)
    with pytest.raises(RuntimeError):
        model.logits(torch.empty(1, 3, 111, 110, device="meta"))
    assert model(torch.empty(1, 3, 16, 110, device="meta")).main.shape == (1, 19, 16, 110)


def test_the_auxiliary_head_rectifies() -> None:
    with torch.device("meta"):
        head = GALDNet(19, aux=True).aux
    assert isinstance(head, nn.Sequential)
    assert isinstance(head.get_submodule("reduce.act"), nn.ReLU)
