"""DFANet's attention and aggregation compute their defining equations."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from dseg.models import build_model
from dseg.nn.backbones.xception import SqueezeAttention, XceptionBlock, XceptionEncoder


def settle(network: nn.Module) -> None:
    """Give the norms statistics other than 0 and 1, as training does."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            state = module.state_dict()  # the tensors themselves
            nn.init.uniform_(state["running_mean"], -0.1, 0.1)
            nn.init.uniform_(state["running_var"], 0.5, 1.5)


@torch.inference_mode()
def test_attention_multiplies_each_channel_by_a_function_of_all_means() -> None:
    attention = SqueezeAttention(6).eval()
    settle(attention)
    x = torch.randn(2, 6, 5, 7)
    hidden = x.mean((2, 3)) @ attention.fc.weight.T + attention.fc.bias
    of = attention.project.state_dict()
    projected = hidden @ of["conv.weight"][:, :, 0, 0].T
    factors = (projected - of["norm.running_mean"]) / (of["norm.running_var"] + 1e-5).sqrt()
    factors = factors.clamp(min=0)  # the norm's scale and shift are 1 and 0
    assert 0 < (factors > 0).sum() < factors.numel()
    torch.testing.assert_close(attention(x), x * factors[:, :, None, None], rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_an_encoder_reads_the_equal_stages_of_the_one_before_it() -> None:
    encoder = XceptionEncoder(8, (3, 5)).eval()
    settle(encoder)
    x, third, fourth = (
        torch.randn(1, 8, 32, 48),
        torch.randn(1, 3, 16, 24),
        torch.randn(1, 5, 8, 12),
    )
    maps = encoder(x, (third, fourth))
    assert [tuple(m.shape[1:]) for m in maps] == [
        *((48, 16, 24), (96, 8, 12), (192, 4, 6), (192, 4, 6)),
    ]
    assert torch.equal(maps[1], encoder.enc3(torch.cat([third, maps[0]], 1)))
    assert torch.equal(maps[2], encoder.enc4(torch.cat([fourth, maps[1]], 1)))
    assert torch.equal(maps[3], encoder.attention(maps[2]))


@torch.inference_mode()
def test_a_side_of_any_length_is_read() -> None:
    model = build_model("dfanet", aux=True)
    main, *aux = model.logits(torch.randn(2, 3, 97, 193))
    assert [tuple(s.shape) for s in (main, *aux)] == [
        *((2, 19, 25, 49), (2, 19, 25, 49), (2, 19, 13, 25)),
    ]


@torch.inference_mode()
def test_the_decoder_adds_what_it_has_resized() -> None:
    model = build_model("dfanet").eval()
    fuse = model.get_submodule("fuse")
    sizes = (16, 8, 4)
    details = [torch.randn(1, 48, size, size) for size in sizes]
    depths = [torch.randn(1, 192, size // 4, size // 4) for size in sizes]

    def total(layers: nn.Module, maps: list[torch.Tensor]) -> torch.Tensor:
        pairs = zip(layers.children(), maps, strict=True)
        parts = [
            F.interpolate(layer(x), (16, 16), mode="bilinear", align_corners=True)
            for layer, x in pairs
        ]
        return torch.stack(parts).sum(0)

    detail, depth = fuse.get_submodule("detail"), fuse.get_submodule("depth")
    expected = fuse.get_submodule("merge")(total(detail, details)) + total(depth, depths)
    torch.testing.assert_close(fuse(details, depths), expected)


def test_a_block_of_few_channels_learns_in_channels_last() -> None:
    block = XceptionBlock(8, 48, 2).to(memory_format=torch.channels_last)
    image = torch.randn(2, 8, 64, 80).contiguous(memory_format=torch.channels_last)
    block(image).square().sum().backward()
    shortcut = block.get_parameter("shortcut.conv.weight")
    assert shortcut.grad is not None and shortcut.grad.isfinite().all()
