"""The global reasoning unit, compared with the authors' and with its formula."""

from __future__ import annotations

import pytest
import torch
from blocks import find_block_difference
from torch import Tensor

from dseg.models.base import KeyMap
from dseg.nn.glore import GlobalReasoning

RELEASE: KeyMap = (
    (r"^conv_state\.", "state."),
    (r"^conv_proj\.", "assign."),
    (r"^gcn\.conv1\.", "mix_nodes."),
    (r"^gcn\.conv2\.", "mix_states."),
    (r"^conv_extend\.", "extend."),
    (r"^blocker\.", "norm."),
)


def unit(*, normalize: bool = True) -> GlobalReasoning:
    """Return a unit of 4 channels, 3 nodes and 2 states, with random weights of its norm."""
    torch.manual_seed(0)
    built = GlobalReasoning(4, 3, 2, normalize=normalize).double().eval()
    torch.nn.init.uniform_(built.norm.weight, 0.5, 1.5)
    return built


def reason_slowly(unit: GlobalReasoning, x: Tensor) -> Tensor:
    """Compute the unit on one image (4, h, w), node by node."""
    assert unit.mix_nodes.bias is not None
    positions = x.flatten(1).T
    states = [unit.state.weight[:, :, 0, 0] @ p + unit.state.bias for p in positions]
    shares = [unit.assign.weight[:, :, 0, 0] @ p + unit.assign.bias for p in positions]
    pooled = [sum(b[i] * s for s, b in zip(states, shares, strict=True)) for i in range(3)]
    nodes = [node / len(positions) if unit.normalize else node for node in pooled]
    reasoned = []
    for i, node in enumerate(nodes):
        adjacent = unit.mix_nodes.weight[i, :, 0]
        heard = sum(weight * other for weight, other in zip(adjacent, nodes, strict=True))
        received = torch.relu(node + heard + unit.mix_nodes.bias[i])
        reasoned.append(unit.mix_states.weight[:, :, 0] @ received)
    spread = [sum(b[i] * reasoned[i] for i in range(3)) for b in shares]
    added = torch.stack([unit.extend.weight[:, :, 0, 0] @ z for z in spread], 1)
    scale = unit.norm.weight / (1 + 1e-4) ** 0.5
    branch: Tensor = (scale[:, None] * added).view_as(x)
    return x + branch


@pytest.mark.parametrize(("golden", "normalize"), [("norm", True), ("nonorm", False)])
def test_the_unit_is_the_authors_own(golden: str, normalize: bool) -> None:
    ours = GlobalReasoning(32, 16, normalize=normalize)
    assert find_block_difference(f"block_glore_{golden}", ours, RELEASE) < 1e-5


@pytest.mark.parametrize("normalize", [True, False])
def test_the_unit_is_the_formula(normalize: bool) -> None:
    built = unit(normalize=normalize)
    with torch.inference_mode():
        x = torch.randn(2, 4, 3, 5).double()
        expected = torch.stack([reason_slowly(built, image) for image in x])
        torch.testing.assert_close(built(x), expected)


def test_a_normalised_unit_does_not_tell_an_image_from_its_enlargement() -> None:
    x = torch.randn(1, 4, 3, 5).double()
    twice = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    with torch.inference_mode():
        torch.testing.assert_close(unit()(twice)[..., ::2, ::2], unit()(x))
        other = unit(normalize=False)
        assert not torch.allclose(other(twice)[..., ::2, ::2], other(x))


@pytest.mark.parametrize("training", [True, False])
def test_a_new_unit_returns_its_input(training: bool) -> None:
    x = torch.randn(2, 8, 4, 4)
    with torch.inference_mode():
        assert torch.equal(GlobalReasoning(8, 4).train(training)(x), x)


def test_nodes_have_twice_as_many_states_as_there_are_nodes_unless_received() -> None:
    assert GlobalReasoning(8, 4).state.out_channels == 8
    assert GlobalReasoning(8, 4, 5).state.out_channels == 5
