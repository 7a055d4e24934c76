"""The pooling pyramid, compared with the formula of its paper."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dseg.nn.pooling import PoolingPyramid, pooling_context


def ramp() -> Tensor:
    """Return (1, 2, 4, 6) with 0, 1, 2, ... row by row, then the same plus 100."""
    first = torch.arange(24.0).reshape(1, 1, 4, 6)
    return torch.cat([first, first + 100], 1)


def pass_on(pyramid: PoolingPyramid, sign: float = 1) -> PoolingPyramid:
    """Make every level return the two channels' averages, times a sign."""
    for module in pyramid.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.dirac_(module.weight)
            module.weight.data *= sign
        elif isinstance(module, nn.BatchNorm2d):
            module.eps = 0.0
    return pyramid.eval()


def test_a_level_is_the_average_of_each_cell_interpolated_between_corners() -> None:
    out = pass_on(PoolingPyramid(2, 2, (1, 2)))(ramp())
    assert torch.equal(out[:, :2], ramp())
    assert torch.equal(out[0, 2], torch.full((4, 6), 11.5))
    assert torch.equal(out[0, 3], torch.full((4, 6), 111.5))
    # cells of 2x3 pixels average 4, 7 in the upper half and 16, 19 in the lower one
    row, column = torch.linspace(0, 1, 4)[:, None], torch.linspace(0, 1, 6)
    torch.testing.assert_close(out[0, 4], 4 + 12 * row + 3 * column)


@pytest.mark.parametrize(("relu", "level"), [(True, 0.0), (False, -11.5)])
def test_relu_is_left_out_on_request(relu: bool, level: float) -> None:
    out = pass_on(PoolingPyramid(2, 2, (1,), relu=relu), sign=-1)(ramp())
    assert torch.equal(out[0, 2], torch.full((4, 6), level))


def test_the_feature_stands_first_or_last() -> None:
    first, last = (
        pass_on(PoolingPyramid(2, 2, (1, 3), input_last=place))(ramp()) for place in (False, True)
    )
    assert torch.equal(first[:, :2], ramp())
    assert torch.equal(last[:, 4:], ramp())
    assert torch.equal(first[:, 2:], last[:, :4])


def test_the_paper_has_four_levels_that_double_the_channels() -> None:
    pyramid = PoolingPyramid(2048, 512)
    assert pyramid.out_channels == 4096
    assert [name for name, _ in pyramid.named_children()] == ["size1", "size2", "size3", "size6"]


def test_cells_may_be_finer_than_the_feature() -> None:
    out = PoolingPyramid(4, 3).eval()(torch.rand(1, 4, 2, 3))
    assert out.shape == (1, 16, 2, 3)


def test_padding_of_the_reduction_frames_the_map() -> None:
    context = pooling_context(PoolingPyramid(4, 1), 5, 1, padding=1, dropout=0.1).eval()
    assert context(torch.rand(1, 4, 6, 7)).shape == (1, 5, 8, 9)
    assert [name for name, _ in context.named_children()] == ["pyramid", "reduce", "dropout"]
