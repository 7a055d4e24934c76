"""MSFNet: its fusion against the definition, and the supervision of its two streams."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision_nets import picture

from dseg.models import build_model
from dseg.models.msfnet import STRIDES, MultiFeaturesFusion, spatial_aware_pooling


def average_by_hand(x: Tensor, stride: int) -> Tensor:
    """Return the means of windows of 2 s + 1 around every s-th position, cell by cell."""
    height, width = x.shape[-2:]
    rows = []
    for y in range(0, height, stride):
        near = x[..., max(0, y - stride) : y + stride + 1, :]
        cells = [
            near[..., max(0, left - stride) : left + stride + 1].mean((2, 3))
            for left in range(0, width, stride)
        ]
        rows.append(torch.stack(cells, -1))
    return torch.stack(rows, -2)


def test_pooling_averages_overlapping_windows_within_the_map() -> None:
    x = torch.randn(2, 3, 19, 37)
    first, *averages = spatial_aware_pooling(x)
    assert torch.equal(first, x)
    for stride, average in zip(STRIDES, averages, strict=True):
        torch.testing.assert_close(average, average_by_hand(x, stride))


def test_maps_of_a_stride_are_concatenated_and_reduced() -> None:
    torch.manual_seed(0)
    channels = (2, 3, 5, 7)
    fusion = MultiFeaturesFusion(channels, 4).eval()
    sides = [(27, 41), (14, 21), (7, 11), (4, 6)]  # of stages of strides 4, 8, 16 and 32
    maps = [torch.randn(1, count, *size) for count, size in zip(channels, sides, strict=True)]
    fused = fusion(maps)
    assert len(fused) == 7
    for place, ours in enumerate(fused, start=1):
        parts = []
        for stage, x in enumerate(maps):
            if stage == place:
                parts.append(x)
            elif 2 ** (place - stage) in STRIDES:
                parts.append(average_by_hand(x, 2 ** (place - stage)))
        weight = fusion.reduce[place - 1].get_parameter("conv.weight")[:, :, 0, 0]
        summed = torch.einsum("kc,nchw->nkhw", weight, torch.cat(parts, 1))
        torch.testing.assert_close(ours, (summed / (1 + 1e-5) ** 0.5).relu())


def test_the_published_width_reads_every_stage() -> None:
    model = build_model("msfnet")
    read = [
        reduce.get_parameter("conv.weight").shape[1]
        for reduce in model.get_submodule("context.reduce").children()
    ]
    assert read == [192, 448, 960, 960, 896, 768, 512]


def test_boundary_supervision_teaches_one_stream_alone() -> None:
    model = build_model("msfnet", 5, aux=True)
    main, border = model.logits(picture(2))
    assert main.shape == border.shape == (2, 5, 8, 12)
    border.square().mean().backward(retain_graph=True)
    assert all(p.grad is None for p in model.get_submodule("segment").parameters())
    assert all(p.grad is not None for p in model.get_submodule("border").parameters())
    assert all(p.grad is not None for p in model.get_submodule("backbone").parameters())
    main.square().mean().backward()
    assert all(p.grad is not None for p in model.get_submodule("segment").parameters())
    assert len(model.eval().logits(picture(2))) == 1
