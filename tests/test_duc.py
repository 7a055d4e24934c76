"""Dense upsampling and hybrid dilated convolution, compared with the paper's description."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dseg.models.duc import DUCHDC
from dseg.nn.duc import DenseUpsampling


@pytest.fixture(autouse=True)
def fixed_numbers() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


class EveryPixel(DUCHDC):
    cell = 1


def shapes(cls: type[DUCHDC], depth: int = 101) -> DUCHDC:
    with torch.device("meta"):
        return cls(7, depth).eval()


def rates_of(model: DUCHDC, stage: str) -> list[int]:
    convs = [
        block.get_submodule("conv2") for block in model.backbone.get_submodule(stage).children()
    ]
    return [conv.dilation[0] for conv in convs if isinstance(conv, nn.Conv2d)]


def picture(*channels_and_sides: int) -> Tensor:
    return torch.rand(1, *channels_and_sides)


def by_hand(weights: Tensor) -> DenseUpsampling:
    """Build an upsampling of 2 classes whose logits are filtered channels of the feature.

    Args:
        weights: (r, r, 3, 3), the filter of each position in a cell.
    """
    factor = len(weights)
    layer = DenseUpsampling(2, 2, factor, (1,))
    (conv,) = layer.children()
    assert isinstance(conv, nn.Conv2d) and conv.bias is not None
    conv.bias.zero_()
    conv.weight.zero_()
    for index in range(2):
        conv.weight.view(2, factor**2, 2, 3, 3)[index, :, index] = weights.flatten(0, 1)
    return layer


def test_a_place_of_a_cell_is_a_channel_of_its_class() -> None:
    layer = DenseUpsampling(3, 2, 4, (1,))
    (conv,) = layer.children()
    x = picture(3, 2, 5)
    channels, logits = conv(x), layer(x)
    assert channels.shape == (1, 32, 2, 5)
    assert logits.shape == (1, 2, 8, 20)
    for index in range(2):
        for row in range(8):
            for column in range(20):
                channel = 16 * index + 4 * (row % 4) + column % 4
                expected = channels[0, channel, row // 4, column // 4]
                assert logits[0, index, row, column] == expected


def test_the_convolutions_of_all_rates_are_summed() -> None:
    layer = DenseUpsampling(3, 2, 2, (1, 2, 6))
    assert [name for name, _ in layer.named_children()] == ["rate1", "rate2", "rate6"]
    x = picture(3, 7, 9)
    total = torch.zeros(1, 8, 7, 9)
    for rate, conv in zip((1, 2, 6), layer.children(), strict=True):
        assert isinstance(conv, nn.Conv2d)
        total += F.conv2d(x, conv.weight, conv.bias, padding=rate, dilation=rate)
    torch.testing.assert_close(layer(x), F.pixel_shuffle(total, 2))


def test_it_can_repeat_values() -> None:
    weights = torch.zeros(4, 4, 3, 3)
    weights[:, :, 1, 1] = 1
    x = picture(2, 3, 5)
    assert torch.equal(by_hand(weights)(x), F.interpolate(x, scale_factor=4, mode="nearest"))


def test_it_can_interpolate_bilinearly() -> None:
    weights = torch.zeros(4, 4, 3, 3)
    for row in range(4):
        for column in range(4):
            down, right = (row + 0.5) / 4 - 0.5, (column + 0.5) / 4 - 0.5
            for i in range(3):
                for j in range(3):
                    near = max(0, 1 - abs(i - 1 - down)) * max(0, 1 - abs(j - 1 - right))
                    weights[row, column, i, j] = near
    x = picture(2, 5, 6)
    expected = F.interpolate(x, scale_factor=4, mode="bilinear", align_corners=False)
    # the convolution is padded by zeros, interpolation by the border
    torch.testing.assert_close(by_hand(weights)(x)[..., 4:-4, 4:-4], expected[..., 4:-4, 4:-4])


def test_the_rates_of_the_paper() -> None:
    model = shapes(DUCHDC)
    assert rates_of(model, "layer1") == [1, 1, 1]
    assert rates_of(model, "layer2") == [1, 1, 1, 1]
    groups = [1, 2, 5, 9, 1, 2, 5, 9, 1, 2, 5, 9, 1, 2, 5, 9, 1, 2, 5, 9]
    assert rates_of(model, "layer3") == [*groups, 1, 2, 5]
    assert rates_of(model, "layer4") == [5, 9, 17]
    pyramid = [name for name, _ in model.classifier.named_children()]
    assert pyramid == ["rate6", "rate12", "rate18", "rate24", "rate30", "rate36"]


def test_shallower_networks_begin_the_same_rates() -> None:
    assert rates_of(shapes(DUCHDC, 50), "layer3") == [1, 2, 5, 9, 1, 2]


@pytest.mark.parametrize(("cls", "channels"), [(DUCHDC, 16), (EveryPixel, 64)])
def test_channels_of_a_class(cls: type[DUCHDC], channels: int) -> None:
    weight = shapes(cls).classifier.get_submodule("rate6").weight
    assert weight.shape == (7 * channels, 2048, 3, 3)


@pytest.mark.parametrize(
    ("cls", "size", "expected"),
    [
        (DUCHDC, (64, 96), (32, 48)),
        (DUCHDC, (97, 193), (49, 97)),
        (EveryPixel, (64, 96), (64, 96)),
        (EveryPixel, (97, 193), (97, 193)),
    ],
)
def test_cells_beyond_the_image_are_cut_off(
    cls: type[DUCHDC], size: tuple[int, int], expected: tuple[int, int]
) -> None:
    (logits,) = shapes(cls, 50).logits(torch.empty(1, 3, *size, device="meta"))
    assert logits.shape == (1, 7, *expected)


def test_a_prediction_lies_in_the_middle_of_its_cell() -> None:
    logits = torch.tensor([0.0, 4.0, 8.0]).expand(1, 1, 3, 3)
    row = shapes(DUCHDC).resize(logits, 6, 6)[0, 0, 0]
    torch.testing.assert_close(row, torch.tensor([0.0, 1, 3, 5, 7, 8]))
