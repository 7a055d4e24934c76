"""Object context, alone and in its pyramids, compared with formulas in loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import dseg.nn.attention
from dseg.checkpoints.keys import rename_keys
from dseg.models.ocnet import OCNet, OCNetASP, OCNetBase, OCNetPyramid, TramacOCNetASP
from dseg.nn.object_context import (
    ObjectAtrousPyramid,
    ObjectContext,
    ObjectPyramid,
    start_closed,
)


@pytest.fixture(autouse=True)
def fixed_numbers() -> None:
    torch.manual_seed(0)


def attend_in_loops(key: Tensor, value: Tensor) -> Tensor:
    """Compute attention among the positions of a (C, h, w) key, of a (D, h, w) value."""
    scale = 1 / math.sqrt(key.shape[0])
    height, width = key.shape[1:]
    places = [(y, x) for y in range(height) for x in range(width)]
    out = torch.zeros_like(value)
    for y, x in places:
        weights = [math.exp(scale * float(key[:, y, x] @ key[:, v, u])) for v, u in places]
        for weight, (v, u) in zip(weights, places, strict=True):
            out[:, y, x] += weight / sum(weights) * value[:, v, u]
    return out


def read_by(module: nn.Module, part: str, x: Tensor) -> Tensor:
    """Return the input of a submodule when the module reads a map."""
    seen: list[Tensor] = []
    module.get_submodule(part).register_forward_hook(lambda _, args, __: seen.append(args[0]))
    module(x)
    return seen[0]


@torch.no_grad()
def test_object_context_is_scaled_attention_of_keys_to_themselves() -> None:
    context, x = ObjectContext(6, 5).eval(), torch.randn(2, 6, 3, 4)
    key, value = context.key(x), context.value(x)
    assert key.shape[1] == 3
    wanted = torch.stack([attend_in_loops(k, v) for k, v in zip(key, value, strict=True)])
    torch.testing.assert_close(context(x), context.out(wanted))


@torch.no_grad()
def test_blocks_of_queries_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    context, x = ObjectContext(6, 5).eval(), torch.randn(2, 6, 3, 4)
    whole = context(x)
    monkeypatch.setattr(dseg.nn.attention, "BLOCK", 2 * 12 * 5)
    torch.testing.assert_close(context(x), whole)


@torch.no_grad()
def test_regions_see_only_themselves_and_the_last_takes_the_rest() -> None:
    context, x = ObjectContext(6, 5, 3).eval(), torch.randn(2, 6, 5, 7)
    found = context(x)
    context.grid = 1
    for top, bottom in ((0, 1), (1, 2), (2, 5)):
        for left, right in ((0, 2), (2, 4), (4, 7)):
            alone = context(x[..., top:bottom, left:right])
            torch.testing.assert_close(found[..., top:bottom, left:right], alone)


@torch.no_grad()
def test_a_map_smaller_than_the_grid_has_regions_of_one_position() -> None:
    context, x = ObjectContext(6, 5, 6).eval(), torch.randn(1, 6, 2, 3)
    torch.testing.assert_close(context(x), context.out(context.value(x)))


@torch.no_grad()
def test_pooling_takes_the_largest_of_2x2_and_goes_back_up_between_corners() -> None:
    context, x = ObjectContext(6, 5, pool=2).eval(), torch.randn(1, 6, 5, 8)
    largest = x[..., :4, :].unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5))
    small = context.out(attend_in_loops(context.key(largest)[0], context.value(largest)[0])[None])
    wanted = F.interpolate(small, (5, 8), mode="bilinear", align_corners=True)
    torch.testing.assert_close(context(x), wanted)


@torch.no_grad()
def test_the_map_follows_its_context_or_leads_it_widened() -> None:
    x = torch.randn(1, 6, 7, 8)
    base = ObjectPyramid(6, 3, beside=True).eval()
    assert torch.equal(
        read_by(base, "project", x), torch.cat([base.get_submodule("grid1")(x), x], 1)
    )
    pyramid = ObjectPyramid(6, 6, (1, 2, 3), widened=9).eval()
    assert pyramid.widen is not None
    contexts = [pyramid.get_submodule(f"grid{grid}")(x) for grid in (1, 2, 3)]
    wanted = torch.cat([pyramid.widen(x), *contexts], 1)
    assert wanted.shape[1] == 9 + 3 * 6
    assert torch.equal(read_by(pyramid, "project", x), wanted)


@torch.no_grad()
@pytest.mark.parametrize("rates", [(1, 12, 24, 36), (12, 24, 36, 1)])
def test_atrous_branches_follow_the_context_in_the_order_of_rates(rates: tuple[int, ...]) -> None:
    pyramid, x = ObjectAtrousPyramid(6, 4, 5, rates).eval(), torch.randn(1, 6, 7, 8)
    branches = [pyramid.get_submodule(f"rate{rate}") for rate in rates]
    wanted = [pyramid.attend(pyramid.reduce(x)), *(branch(x) for branch in branches)]
    assert torch.equal(read_by(pyramid, "project", x), torch.cat(wanted, 1))
    for rate, branch in zip(rates, branches, strict=True):
        conv = branch.get_submodule("conv")
        assert isinstance(conv, nn.Conv2d)
        assert (conv.kernel_size[0], conv.dilation[0]) == ((1, 1) if rate == 1 else (3, rate))
    assert pyramid(x).shape == (1, 5, 7, 8)


@torch.no_grad()
def test_a_closed_pyramid_has_no_context() -> None:
    pyramid, x = ObjectPyramid(6, 6, (1, 2), widened=9).eval(), torch.randn(1, 6, 7, 8)
    assert read_by(pyramid, "project", x)[:, 9:].all()
    start_closed(pyramid)
    assert not read_by(pyramid, "project", x)[:, 9:].any()


def test_networks_start_closed() -> None:
    context = OCNetASP(3).get_submodule("context.objects.attend.grid1")
    assert isinstance(context, ObjectContext)
    assert not context.out.weight.any()


def test_of_the_shared_weights_those_of_the_query_are_kept() -> None:
    stage = "context.2.stages.0."
    ours = "context.objects.grid1."
    state = {
        f"{stage}f_key.0.weight": torch.zeros(1),
        f"{stage}f_query.0.weight": torch.ones(1),
        f"{stage}f_query.1.bias": torch.ones(1),
        f"{stage}W.bias": torch.ones(1),
    }
    found = rename_keys(OCNet.KEY_MAP, state)
    assert list(found) == [f"{ours}key.conv.weight", f"{ours}key.norm.bias", f"{ours}out.bias"]
    assert found[f"{ours}key.conv.weight"] == 1


def slopes_of(model: nn.Module) -> set[float]:
    return {part.negative_slope for part in model.modules() if isinstance(part, nn.LeakyReLU)}


def test_the_authors_activations_leak() -> None:
    with torch.device("meta"):
        assert slopes_of(OCNetBase(3, aux=True)) == {0.01}
        assert slopes_of(OCNetPyramid(3, aux=True)) == {0.01}
        assert slopes_of(OCNetASP(3, aux=True)) == {0.01}
        assert slopes_of(TramacOCNetASP(3, aux=True)) == set()


def test_the_pyramid_s_reduction_and_auxiliary_head_have_no_activation() -> None:
    with torch.device("meta"):
        base, pyramid = OCNetBase(3, aux=True), OCNetPyramid(3, aux=True)
    names = ("context.reduce", "aux.reduce")
    assert [len(list(base.get_submodule(name).children())) for name in names] == [3, 3]
    assert [len(list(pyramid.get_submodule(name).children())) for name in names] == [2, 2]
