"""Scale-adaptive convolution against ordinary ones and against bilinear sampling by loops."""

from __future__ import annotations

from collections.abc import Iterator
from math import floor

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from dseg.models.sac import SACNet
from dseg.nn.backbones.resnet import ResNet
from dseg.nn.scale_adaptive import ScaleAdaptiveConv, scale_adaptive_conv2d

SCALE_ADAPTIVE = [
    "backbone.layer4.0.conv2",
    "backbone.layer4.1.conv2",
    "backbone.layer4.2.conv2",
    "context.conv",
]


@pytest.fixture(autouse=True)
def fixed_numbers() -> Iterator[None]:
    torch.manual_seed(0)
    yield


def tensors() -> tuple[Tensor, Tensor, Tensor]:
    """Return x (2, 3, 5, 7), weight (4, 3, 3, 3) and bias (4,) in float64."""
    x, weight, bias = (torch.randn(shape) for shape in ((2, 3, 5, 7), (4, 3, 3, 3), (4,)))
    return x.double(), weight.double(), bias.double()


def even(scale: float, *, like: Tensor) -> Tensor:
    return torch.full((like.shape[0], 1, *like.shape[-2:]), scale, dtype=like.dtype)


def pixel(x: Tensor, row: int, column: int) -> Tensor:
    inside = 0 <= row < x.shape[1] and 0 <= column < x.shape[2]
    return x[:, row, column] if inside else torch.zeros(len(x), dtype=x.dtype)


def bilinear(x: Tensor, row: float, column: float) -> Tensor:
    """Return the channels of (C, h, w) between four pixels; zero outside."""
    top, left = floor(row), floor(column)
    down, right = row - top, column - left
    upper = (1 - right) * pixel(x, top, left) + right * pixel(x, top, left + 1)
    lower = (1 - right) * pixel(x, top + 1, left) + right * pixel(x, top + 1, left + 1)
    return (1 - down) * upper + down * lower


def direct(x: Tensor, weight: Tensor, bias: Tensor, scale: Tensor, dilation: int) -> Tensor:
    out = bias[None, :, None, None].repeat(len(x), 1, *x.shape[-2:])
    for image in range(len(x)):
        for row in range(x.shape[2]):
            for column in range(x.shape[3]):
                reach = dilation * float(scale[image, 0, row, column])
                for i in range(3):
                    for j in range(3):
                        place = (row + reach * (i - 1), column + reach * (j - 1))
                        out[image, :, row, column] += weight[..., i, j] @ bilinear(x[image], *place)
    return out


@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_a_new_layer_is_the_ordinary_convolution(dilation: int) -> None:
    layer = ScaleAdaptiveConv(3, 4, 3, dilation=dilation)
    plain = nn.Conv2d(3, 4, 3, padding=dilation, dilation=dilation)
    missing = layer.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert missing == ["scale.weight", "scale.bias"]
    x = torch.randn(2, 3, 9, 11)
    torch.testing.assert_close(layer(x), plain(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("scale", "dilation"), [(1, 1), (2, 1), (3, 1), (2, 2)])
def test_a_whole_scale_is_a_dilation(scale: int, dilation: int) -> None:
    x, weight, bias = tensors()
    reach = scale * dilation
    expected = F.conv2d(x, weight, bias, padding=reach, dilation=reach)
    out = scale_adaptive_conv2d(x, weight, bias, even(scale, like=x), dilation)
    torch.testing.assert_close(out, expected)


def test_a_scale_of_zero_reads_one_pixel() -> None:
    x, weight, bias = tensors()
    expected = F.conv2d(x, weight.sum((2, 3), keepdim=True), bias)
    out = scale_adaptive_conv2d(x, weight, bias, even(0, like=x))
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("dilation", [1, 2])
def test_a_scale_of_each_place_is_bilinear_interpolation(dilation: int) -> None:
    x, weight, bias = tensors()
    scale = 1 + 1.5 * torch.randn(2, 1, 5, 7, dtype=torch.float64)
    assert scale.min() < 0 and scale.max() > 3  # flipped patches, and beyond the border
    out = scale_adaptive_conv2d(x, weight, bias, scale, dilation)
    torch.testing.assert_close(out, direct(x, weight, bias, scale, dilation))


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (6, 1)], ids=str)
def test_maps_of_one_row_or_column(size: tuple[int, int]) -> None:
    _, weight, bias = tensors()
    x = torch.randn(1, 3, *size, dtype=torch.float64)
    scale = torch.rand(1, 1, *size, dtype=torch.float64) + 0.5
    out = scale_adaptive_conv2d(x, weight, bias, scale)
    torch.testing.assert_close(out, direct(x, weight, bias, scale, 1))


def test_gradients_are_those_of_small_changes() -> None:
    x, weight, bias = (tensor.requires_grad_() for tensor in tensors())
    scale = (0.6 + 0.3 * torch.rand(2, 1, 5, 7, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(scale_adaptive_conv2d, (x, weight, bias, scale), fast_mode=True)


def test_the_regression_learns_from_its_first_step() -> None:
    layer = ScaleAdaptiveConv(3, 4, 3)
    layer(torch.randn(2, 3, 9, 11)).square().sum().backward()
    for parameter in layer.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().min() > 0


def test_half_precision_keeps_its_place_in_a_wide_map() -> None:
    x = torch.randn(1, 2, 1, 600).bfloat16()
    weight = torch.zeros(1, 2, 3, 3, dtype=torch.bfloat16)
    weight[0, 1, 1, 2] = 1
    out = scale_adaptive_conv2d(x, weight, None, even(1, like=x))
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out[0, 0, 0, :-1], x[0, 1, 0, 1:], rtol=0, atol=0.02)


def test_operations_are_those_of_the_convolution_and_of_the_regression() -> None:
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        ScaleAdaptiveConv(3, 4, 3)(torch.empty(1, 3, 10, 20))
    assert counter.get_total_flops() == 2 * (4 + 1) * 3 * 9 * 10 * 20


def test_the_adaptive_layers_of_the_network_begin_at_a_scale_of_one() -> None:
    model = SACNet(3, 50)
    layers = {n: m for n, m in model.named_modules() if isinstance(m, ScaleAdaptiveConv)}
    assert list(layers) == SCALE_ADAPTIVE
    assert [layer.dilation for layer in layers.values()] == [(4, 4), (4, 4), (4, 4), (1, 1)]
    for layer in layers.values():
        assert layer.scale.bias is not None
        assert not layer.scale.weight.any()
        assert torch.equal(layer.scale.bias, torch.ones(1))


def test_files_of_imagenet_weights_lack_the_regressions_alone() -> None:
    with torch.device("meta"):
        adaptive, plain = SACNet(3, 101).backbone, ResNet(101)
    extra = adaptive.state_dict().keys() - plain.state_dict().keys()
    assert len(extra) == 6
    assert all(key.startswith(adaptive.ABSENT) for key in extra)
    shapes = {key: value.shape for key, value in adaptive.state_dict().items() if key not in extra}
    assert shapes == {key: value.shape for key, value in plain.state_dict().items()}
