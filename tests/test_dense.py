"""Densely connected layers fill one buffer in inference, with the results of concatenation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dseg.nn import dense
from dseg.nn.backbones.densenet import DenseBlock, DenseNet
from dseg.nn.dense import DenselyConnected, map_rows
from dseg.nn.pyramid import DenseAtrousPyramid, PostNormBranch, PreNormBranch


def randomised(network: nn.Module) -> nn.Module:
    """Return a network in evaluation mode whose norms are not the identity."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean):
                assert tensor is not None
                nn.init.normal_(tensor)
    return network.eval()


def networks() -> dict[str, DenselyConnected]:
    torch.manual_seed(0)
    return {
        "block": DenseBlock(6, 4, 3, dilation=2),
        "before": DenseAtrousPyramid(
            6, (1, 2), lambda read, rate: PreNormBranch(read, 5, 4, rate, leading_norm=rate > 1), 4
        ),
        "after": DenseAtrousPyramid(
            6, (1, 2), lambda read, rate: PostNormBranch(read, 5, 4, rate), 4
        ),
    }


@pytest.mark.parametrize("band", [1, 1000, 10**9])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", list(networks()))
def test_a_buffer_holds_what_concatenation_gives(
    name: str, channels_last: bool, band: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = randomised(networks()[name])
    layout = torch.channels_last if channels_last else torch.contiguous_format
    image = torch.randn(2, 6, 9, 11).to(memory_format=layout)
    before = image.clone()
    with torch.no_grad():
        expected = network(image)
    monkeypatch.setattr(dense, "BAND_BYTES", band)
    with torch.inference_mode(), monkeypatch.context() as patch:
        patch.setattr(torch, "cat", None)  # nothing is concatenated
        found = network(image)
    assert found.is_contiguous(memory_format=layout)
    assert torch.equal(image, before)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_densenet_in_inference_is_the_one_of_training_in_evaluation_mode() -> None:
    torch.manual_seed(0)
    network = randomised(DenseNet(121, halve_last=True))
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = network(image)
    with torch.inference_mode():
        found = network(image)
        with torch.autocast("cpu", torch.bfloat16):
            half = network(image)
    assert (found - expected).abs().max() < 1e-5 * expected.std()
    assert half.dtype == torch.bfloat16
    assert (half - expected).abs().mean() < 0.1 * expected.std()


def test_an_exported_block_concatenates() -> None:
    block = randomised(networks()["block"])
    image = torch.randn(1, 6, 9, 11)
    with torch.inference_mode():
        graph = torch.export.export(block, (image,))
        calls = [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]
        torch.testing.assert_close(graph.module()(image), block(image), rtol=1e-5, atol=1e-5)
    assert sum("cat" in call for call in calls) == 3
    assert not [call for call in calls if "empty" in call or "copy" in call]


def test_rows_are_mapped_in_bands_of_limited_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "BAND_BYTES", 2 * 4 * 5 * 4)  # two rows of 5 pixels, 4 channels
    heights: list[int] = []

    def double(x: Tensor) -> Tensor:
        heights.append(x.shape[2])
        return 2 * x

    image = torch.randn(1, 4, 7, 5)
    with torch.inference_mode():
        assert torch.equal(map_rows(double, image), 2 * image)
    assert heights == [2, 2, 2, 1]
    assert torch.equal(map_rows(double, image), 2 * image)
    assert heights == [2, 2, 2, 1, 7]  # whole where gradients can be asked for
