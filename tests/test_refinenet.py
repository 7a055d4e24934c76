"""RefineNet's blocks, compared with loops over positions."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from dseg.checkpoints.keys import map_keys
from dseg.models.refinenet import RefineNet
from dseg.nn.refine import (
    ChainedResidualPooling,
    RefineBlock,
    ResidualConvUnit,
    residual_conv_units,
)


@cache
def shapes() -> RefineNet:
    """Return a network on the meta device."""
    with torch.device("meta"):
        return RefineNet(5, 50)


@pytest.fixture(autouse=True)
def same_weights() -> None:
    torch.manual_seed(0)


def convolve(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve (C, h, w) by a 3x3 in loops over positions, zeros beyond the border."""
    out = torch.zeros(len(weight), *x.shape[1:])
    for row in range(x.shape[1]):
        for column in range(x.shape[2]):
            for y in range(max(0, row - 1), min(x.shape[1], row + 2)):
                for z in range(max(0, column - 1), min(x.shape[2], column + 2)):
                    out[:, row, column] += weight[..., y - row + 1, z - column + 1] @ x[:, y, z]
    return out


def pool(x: Tensor) -> Tensor:
    """Return the largest value of each position's 5x5 window, cut off at the border."""
    out = torch.empty_like(x)
    for row in range(x.shape[1]):
        for column in range(x.shape[2]):
            window = x[:, max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]
            out[:, row, column] = window.flatten(1).max(1).values
    return out


@torch.no_grad()
def test_a_residual_unit_adds_to_its_input_as_it_came() -> None:
    unit = ResidualConvUnit(3)
    assert unit.conv2.bias is None
    assert unit.conv1.bias is not None
    x = torch.randn(1, 3, 4, 5)
    kept = x.clone()
    inner = convolve(x[0].clamp(min=0), unit.conv1.weight) + unit.conv1.bias[:, None, None]
    wanted = x[0] + convolve(inner.clamp(min=0), unit.conv2.weight)
    torch.testing.assert_close(unit(x)[0], wanted)
    assert torch.equal(x, kept)


@torch.no_grad()
def test_pooling_is_chained_and_each_link_is_added() -> None:
    block = ChainedResidualPooling(2, links=3)
    x = torch.randn(1, 2, 6, 7)
    wanted = link = x[0].clamp(min=0)
    for number in (1, 2, 3):
        link = convolve(pool(link), block.state_dict()[f"conv{number}.weight"])
        wanted = wanted + link
    torch.testing.assert_close(block(x)[0], wanted)


@torch.no_grad()
def test_a_chain_of_four_gathers_23_pixels() -> None:
    block = ChainedResidualPooling(1)
    for conv in block.children():
        assert isinstance(conv, nn.Conv2d)
        nn.init.ones_(conv.weight)
    x = torch.zeros(1, 1, 41, 41)
    x[..., 20, 20] = 1
    seen = block(x)[0, 0, 20].nonzero().flatten()
    assert (int(seen.min()), int(seen.max())) == (20 - 12, 20 + 12)
    assert len(list(block.children())) == 4


def test_units_stand_in_a_row() -> None:
    row = residual_conv_units(2, 3)
    assert [name for name, _ in row.named_children()] == ["unit1", "unit2", "unit3"]


@torch.no_grad()
def test_maps_are_adapted_then_added_then_pooled_then_refined() -> None:
    block = RefineBlock(5, 4, 2)
    assert block.join is not None
    assert block.project is not None
    x, coarse = torch.randn(1, 5, 3, 5), torch.zeros(1, 4, 2, 2)
    coarse[..., 0, 1], coarse[..., 1, 0], coarse[..., 1, 1] = 4.0, 2.0, 6.0
    raised = 2 * torch.linspace(0, 1, 3)[:, None] + 4 * torch.linspace(0, 1, 5)
    joined = block.join(block.adapt(block.reduce(x))) + raised
    torch.testing.assert_close(block(x, coarse), block.project(block.refine(block.pool(joined))))


@torch.no_grad()
def test_the_first_block_joins_nothing_and_the_last_projects_nothing() -> None:
    first, last = RefineBlock(5, 4, 2, joins=False), RefineBlock(5, 2, None)
    assert first.join is None
    assert last.project is None
    x = torch.randn(1, 5, 3, 4)
    assert first.project is not None
    wanted = first.project(first.refine(first.pool(first.adapt(first.reduce(x)))))
    torch.testing.assert_close(first(x), wanted)
    assert last(x, wanted).shape == (1, 2, 3, 4)


@pytest.mark.parametrize("size", [(17, 35), (64, 96), (97, 193)], ids=str)
def test_logits_are_at_a_quarter_of_the_image(size: tuple[int, int]) -> None:
    image = torch.empty(1, 3, *size, device="meta")
    with torch.no_grad():
        found, out = shapes().eval().logits(image), shapes()(image)
    assert [tuple(x.shape) for x in found] == [(1, 5, *(math.ceil(side / 4) for side in size))]
    assert out.main.shape == (1, 5, *size)


def test_the_coarsest_stage_is_twice_as_wide() -> None:
    widths = {
        name: block.get_parameter("adapt.unit1.conv1.bias").shape[0]
        for name, block in shapes().fuse.items()
    }
    assert widths == {"stage4": 512, "stage3": 256, "stage2": 256, "stage1": 256}


def test_our_own_keys_pass_the_key_map_unchanged() -> None:
    state = shapes().state_dict()
    assert list(map_keys(RefineNet, state)) == list(state)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("bn1.weight", "backbone.bn1.weight"),
        ("p_ims1d2_outl1_dimred.weight", "fuse.stage4.reduce.weight"),
        ("adapt_stage4_b.0.2_conv.bias", "fuse.stage1.adapt.unit2.conv1.bias"),
        ("adapt_stage2_b2_joint_varout_dimred.weight", "fuse.stage3.join.weight"),
        ("mflow_conv_g3_pool.0.4_outvar_dimred.weight", "fuse.stage2.pool.conv4.weight"),
        (
            "mflow_conv_g1_b.0.3_conv_relu_varout_dimred.weight",
            "fuse.stage4.refine.unit3.conv2.weight",
        ),
        ("mflow_conv_g1_b3_joint_varout_dimred.weight", "fuse.stage4.project.weight"),
        ("clf_conv.bias", "classifier.bias"),
    ],
)
def test_stages_are_counted_from_the_finest(theirs: str, ours: str) -> None:
    assert list(map_keys(RefineNet, {theirs: torch.zeros(1)})) == [ours]
