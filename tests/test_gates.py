"""Gates, gated fusion and the blocks of the bilateral networks against their formulas."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dseg.nn.bilateral import ContextEmbedding, GatherExpansion, GuidedAggregation
from dseg.nn.fuse import FeatureFusion, resize_like
from dseg.nn.gates import AttentionRefinement, channel_gate


@pytest.fixture(autouse=True)
def fixed_numbers() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.inference_mode():
        yield


def picture(channels: int, height: int, width: int) -> Tensor:
    return torch.randn(2, channels, height, width)


def settled(module: nn.Module) -> nn.Module:
    """Give every norm its own statistics and weights, as after training."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None:
            assert norm.running_var is not None
            for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias):
                tensor.uniform_(0.5, 1.5)
    return module.eval()


def multiply(weight: Tensor, vectors: Tensor) -> Tensor:
    """Apply a 1x1 convolution without bias to one vector per image."""
    return vectors @ weight[:, :, 0, 0].T


def test_a_gate_with_a_norm() -> None:
    gate, x = settled(channel_gate(5)), picture(5, 3, 4)
    scores = multiply(gate.get_parameter("conv.weight"), x.mean((2, 3)))
    expected = gate.get_submodule("norm")(scores[:, :, None, None]).sigmoid()
    torch.testing.assert_close(gate(x), expected)


def test_a_gate_of_two_convolutions() -> None:
    gate, x = channel_gate(5, 2), picture(5, 3, 4)
    squeezed = multiply(gate.get_parameter("conv1.weight"), x.mean((2, 3))).relu()
    expected = multiply(gate.get_parameter("conv2.weight"), squeezed).sigmoid()
    torch.testing.assert_close(gate(x), expected[:, :, None, None])


def test_attention_refinement_multiplies_by_its_gate() -> None:
    attend, x = AttentionRefinement(3, 5).eval(), picture(3, 4, 6)
    reduced = attend.reduce(x)
    torch.testing.assert_close(attend(x), reduced * attend.gate(reduced))
    assert attend(x).shape == (2, 5, 4, 6)


def test_feature_fusion_adds_what_its_gate_lets_through() -> None:
    fuse, first, second = FeatureFusion(7, 4, 2).eval(), picture(3, 4, 6), picture(4, 4, 6)
    reduced = fuse.reduce(torch.cat([first, second], 1))
    torch.testing.assert_close(fuse(first, second), reduced * (1 + fuse.gate(reduced)))


@pytest.mark.parametrize("factor", [2, 4])
def test_resizing_repeats_the_nearest_value(factor: int) -> None:
    x = picture(2, 3, 5)
    expected = x.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    assert torch.equal(resize_like(x, expected), expected)


def test_resizing_with_aligned_corners_keeps_them() -> None:
    x, like = picture(2, 3, 5), picture(1, 8, 9)
    resized = resize_like(x, like, align_corners=True)
    assert resized.shape == (2, 2, 8, 9)
    torch.testing.assert_close(resized[..., ::7, ::8], x[..., ::2, ::4])


@pytest.mark.parametrize(("channels", "stride"), [(4, 1), (6, 2)])
def test_gather_and_expansion_starts_as_its_shortcut(channels: int, stride: int) -> None:
    layer, x = GatherExpansion(4, channels, stride).eval(), picture(4, 5, 7)
    torch.testing.assert_close(layer(x), layer.shortcut(x).relu())
    layer.project.get_parameter("norm.weight").fill_(1)
    expected = layer.shortcut(x) + layer.project(layer.expand(layer.gather(x)))
    torch.testing.assert_close(layer(x), expected.relu())


def test_context_embedding_adds_the_mean_of_the_map() -> None:
    embed, x = ContextEmbedding(4), picture(4, 3, 5)
    settled(embed)
    mean = x.mean((2, 3), keepdim=True)
    torch.testing.assert_close(embed(x), embed.smooth(x + embed.mean[2](embed.mean[1](mean))))


def test_guided_aggregation_gates_at_both_sizes() -> None:
    fuse, detail, semantic = GuidedAggregation(4).eval(), picture(4, 8, 12), picture(4, 2, 3)
    fine = fuse.detail_fine(detail) * F.interpolate(fuse.semantic_fine(semantic), (8, 12)).sigmoid()
    coarse = fuse.detail_coarse(detail) * fuse.semantic_coarse(semantic).sigmoid()
    expected = fuse.smooth(fine + F.interpolate(coarse, scale_factor=4))
    torch.testing.assert_close(fuse(detail, semantic), expected)
