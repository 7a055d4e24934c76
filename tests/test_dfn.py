"""DFN's blocks, compared with the formulas of its paper."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from dseg.checkpoints.keys import map_keys
from dseg.models.dfn import DFN
from dseg.nn.dfn import (
    AuxiliaryHeads,
    BorderStage,
    ChannelAttentionBlock,
    RefinementResidualBlock,
    SmoothStage,
    refined_head,
)


@cache
def shapes(aux: bool) -> DFN:
    """Return a network on the meta device, in training mode."""
    with torch.device("meta"):
        return DFN(5, 50, aux=aux)


@pytest.fixture(autouse=True)
def same_weights() -> None:
    torch.manual_seed(0)


def settle(module: nn.Module) -> nn.Module:
    """Give a module's norms random statistics and put it in evaluation mode."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias):
                assert tensor is not None
                nn.init.uniform_(tensor, 0.5, 1.5)
    return module.eval()


def convolve(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve (C, h, w) by loops over positions, zeros beyond the border."""
    reach = weight.shape[-1] // 2
    out = torch.zeros(len(weight), *x.shape[1:], dtype=x.dtype)
    for row in range(x.shape[1]):
        for column in range(x.shape[2]):
            for down in range(-reach, reach + 1):
                for right in range(-reach, reach + 1):
                    y, z = row + down, column + right
                    if 0 <= y < x.shape[1] and 0 <= z < x.shape[2]:
                        tap = weight[:, :, down + reach, right + reach]
                        out[:, row, column] += tap @ x[:, y, z]
    return out


def refine(block: RefinementResidualBlock, x: Tensor) -> Tensor:
    """Compute a refinement residual block without its last ReLU, position by position."""
    state = block.state_dict()
    x = convolve(x, state["project.weight"])
    inner = convolve(x, state["branch.inner.conv.weight"])
    mean, var, weight, bias = (
        state[f"branch.inner.norm.{name}"][:, None, None]
        for name in ("running_mean", "running_var", "weight", "bias")
    )
    inner = (weight * (inner - mean) / (var + 1e-5).sqrt() + bias).clamp(min=0)
    return x + convolve(inner, state["branch.outer.weight"])


@pytest.mark.parametrize("relu", [True, False])
@torch.no_grad()
def test_refinement_adds_two_convolutions_to_the_projection(relu: bool) -> None:
    block = RefinementResidualBlock(3, 4, relu=relu)
    settle(block)
    x = torch.randn(1, 3, 4, 5)
    wanted = refine(block, x[0])
    assert wanted.min() < 0
    torch.testing.assert_close(block(x)[0], wanted.clamp(min=0) if relu else wanted)


@torch.no_grad()
def test_attention_weighs_the_fine_channels_and_adds_the_coarse_map() -> None:
    block = ChannelAttentionBlock(2)
    fine, coarse = torch.randn(1, 2, 3, 4), torch.randn(1, 2, 3, 4)
    means = [float(x[0, c].mean()) for x in (fine, coarse) for c in range(2)]
    state = {key: value.tolist() for key, value in block.state_dict().items()}
    hidden = [
        max(0.0, sum(w * m for w, m in zip(row, means, strict=True)) + bias)
        for row, bias in zip(state["gate.fc1.weight"], state["gate.fc1.bias"], strict=True)
    ]
    for channel in range(2):
        row, bias = state["gate.fc2.weight"][channel], state["gate.fc2.bias"][channel]
        score = sum(w * h for w, h in zip(row, hidden, strict=True)) + bias
        factor = 1 / (1 + math.exp(-score))
        wanted = factor * fine[0, channel] + coarse[0, channel]
        torch.testing.assert_close(block(fine, coarse)[0, channel], wanted)


def test_attention_is_as_wide_within_as_its_reduction_says() -> None:
    def width(block: ChannelAttentionBlock) -> int:
        return len(block.state_dict()["gate.fc1.bias"])

    assert width(ChannelAttentionBlock(8)) == 8
    assert width(ChannelAttentionBlock(8, reduction=4)) == 2


@torch.no_grad()
def test_a_smooth_stage_interpolates_the_coarse_map_between_corners() -> None:
    stage = SmoothStage(3, 4)
    settle(stage)
    x, coarse = torch.randn(1, 3, 3, 5), torch.zeros(1, 4, 2, 2)
    coarse[..., 0, 1], coarse[..., 1, 0], coarse[..., 1, 1] = 4.0, 2.0, 6.0
    raised = 2 * torch.linspace(0, 1, 3)[:, None] + 4 * torch.linspace(0, 1, 5)
    attended = stage.attend(stage.before(x), raised.expand(1, 4, 3, 5))
    torch.testing.assert_close(stage(x, coarse), stage.after(attended))


@torch.no_grad()
def test_the_mean_of_the_image_reaches_every_place_alike() -> None:
    stage = SmoothStage(3, 4)
    settle(stage)
    x, mean = torch.randn(1, 3, 3, 5), torch.randn(1, 4, 1, 1)
    attended = stage.attend(stage.before(x), mean.expand(1, 4, 3, 5))
    torch.testing.assert_close(stage(x, mean), stage.after(attended))


@torch.no_grad()
def test_borders_are_summed_from_fine_to_coarse_at_the_finest_size() -> None:
    heads = AuxiliaryHeads((3, 5), 4, 2, 7)
    settle(heads)
    first, second = heads.border
    assert isinstance(first, BorderStage)
    assert isinstance(second, BorderStage)
    assert first.after is None
    assert second.after is not None
    fine, coarse = torch.randn(1, 3, 5, 7), torch.randn(1, 5, 3, 4)
    stage = torch.randn(1, 4, 3, 4)
    scores = heads([fine, coarse], [stage])
    assert [tuple(x.shape) for x in scores] == [(1, 7, 3, 4), (1, 1, 5, 7), (1, 1, 5, 7)]
    torch.testing.assert_close(scores[0], heads.smooth[0](stage))
    total = first.before(fine)
    torch.testing.assert_close(scores[1], first.head(total))
    raised = nn.functional.interpolate(
        second.before(coarse), (5, 7), mode="bilinear", align_corners=True
    )
    torch.testing.assert_close(scores[2], second.head(second.after(total + raised)))


@torch.no_grad()
def test_a_head_has_nine_channels_a_class_and_no_relu_before_the_classifier() -> None:
    head = refined_head(3, 2)
    settle(head)
    x = torch.randn(1, 3, 4, 5)
    inner = head.get_submodule("refine")
    assert isinstance(inner, RefinementResidualBlock)
    wanted = refine(inner, x[0])
    assert len(wanted) == 18
    assert wanted.min() < 0
    torch.testing.assert_close(head(x), head.get_submodule("classifier")(wanted[None]))


@pytest.mark.parametrize(
    ("size", "finest"), [((17, 35), (5, 9)), ((64, 96), (16, 24)), ((97, 193), (25, 49))]
)
def test_each_head_speaks_at_the_size_of_its_map(
    size: tuple[int, int], finest: tuple[int, int]
) -> None:
    image = torch.empty(2, 3, *size, device="meta")
    with torch.no_grad():
        main, *more = shapes(aux=True).logits(image)
        out = shapes(aux=True)(image)
    assert main.shape == (2, 5, *finest)
    coarser = [tuple(math.ceil(side / stride) for side in size) for stride in (32, 16, 8)]
    assert [tuple(x.shape) for x in more[:3]] == [(2, 5, *found) for found in coarser]
    assert [tuple(x.shape) for x in more[3:]] == [(2, 1, *finest)] * 4
    assert [len(part) for part in (out.aux, out.edges)] == [3, 4]
    assert {tuple(x.shape) for x in out.edges} == {(2, 1, *size)}


@pytest.mark.parametrize("aux", [True, False])
def test_our_own_keys_pass_the_key_map_unchanged(aux: bool) -> None:
    state = shapes(aux=aux).state_dict()
    assert list(map_keys(DFN, state)) == list(state)


def test_the_block_that_the_release_does_not_read_is_dropped() -> None:
    keys = ("border_aft_rrbs.0.cbr.conv.weight", "border_aft_rrbs.1.cbr.conv.weight")
    found = map_keys(DFN, {key: torch.zeros(1) for key in keys})
    assert list(found) == ["aux.border.1.after.branch.inner.conv.weight"]
