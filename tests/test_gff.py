"""GFF's gates, its dense pyramid and its wide backbone, compared with their papers' formulas."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dseg.checkpoints.keys import rename_keys
from dseg.models.base import SegModel
from dseg.models.gff import GFFNet, WideGFFNet
from dseg.nn.backbones.wide_resnet import PreActivationBlock, WideResNet
from dseg.nn.gated import DenseFeaturePyramid, GatedFusion, concat_at

SIZES = ((5, 9), (3, 5), (2, 3))  # of three levels, finest first


def draw(channels: int, sizes: tuple[tuple[int, int], ...] = SIZES) -> list[Tensor]:
    generator = torch.Generator().manual_seed(7)
    return [torch.randn(2, channels, *size, generator=generator).double() for size in sizes]


def read(x: Tensor, row: float, column: float) -> Tensor:
    """Return (N, C), the map at a fractional position."""
    top, left = min(int(row), x.shape[2] - 2), min(int(column), x.shape[3] - 2)
    down, right = row - top, column - left
    upper = (1 - right) * x[:, :, top, left] + right * x[:, :, top, left + 1]
    lower = (1 - right) * x[:, :, top + 1, left] + right * x[:, :, top + 1, left + 1]
    return (1 - down) * upper + down * lower


def resize_slowly(x: Tensor, height: int, width: int) -> Tensor:
    """Resize pixel by pixel, with align_corners."""
    out = x.new_zeros(*x.shape[:2], height, width)
    for i in range(height):
        for j in range(width):
            row, column = i * (x.shape[2] - 1) / (height - 1), j * (x.shape[3] - 1) / (width - 1)
            out[:, :, i, j] = read(x, row, column)
    return out


def fuse_slowly(
    fusion: GatedFusion, maps: list[Tensor], sources: list[Tensor], *, in_sequence: bool
) -> list[Tensor]:
    """Write X'_l = (1 + G_l) X_l + (1 - G_l) sum over i != l of G_i X_i for every pixel."""
    gates = []
    for conv, source in zip(fusion.children(), sources, strict=True):
        assert isinstance(conv, nn.Conv2d)
        assert conv.bias is not None
        weights = conv.weight[:, :, 0, 0]
        scores = torch.einsum("oc,nchw->nohw", weights, source) + conv.bias[:, None, None]
        gates.append(1 / (1 + torch.exp(-scores)))
    current, fused = list(maps), []
    for level, (gate, x) in enumerate(zip(gates, maps, strict=True)):
        height, width = x.shape[2:]
        out = torch.zeros_like(x)
        passed = [
            resize_slowly(gates[other] * current[other], height, width)
            for other in range(len(maps))
            if other != level
        ]
        for i in range(height):
            for j in range(width):
                open_, own = gate[:, :, i, j], x[:, :, i, j]
                received = sum(y[:, :, i, j] for y in passed)
                out[:, :, i, j] = (1 + open_) * own + (1 - open_) * received
        fused.append(out)
        if in_sequence:
            current[level] = out
    return fused


@pytest.mark.parametrize("in_sequence", [False, True], ids=["paper", "release"])
@pytest.mark.parametrize("gate_channels", [1, 4])
def test_fusion_is_the_equation_at_every_pixel(gate_channels: int, in_sequence: bool) -> None:
    torch.manual_seed(3)
    fusion = GatedFusion((4, 4, 4), gate_channels, in_sequence=in_sequence).double()
    maps = draw(4)
    expected = fuse_slowly(fusion, maps, maps, in_sequence=in_sequence)
    for found, wanted in zip(fusion(maps), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_gates_can_be_drawn_from_other_maps_than_those_they_gate() -> None:
    torch.manual_seed(3)
    fusion = GatedFusion((6, 6, 6), 4, in_sequence=True).double()
    maps, sources = draw(4), draw(6)
    expected = fuse_slowly(fusion, maps, sources, in_sequence=True)
    for found, wanted in zip(fusion(maps, sources), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_orders_agree_on_the_finest_level_alone() -> None:
    torch.manual_seed(3)
    together, turns = GatedFusion((4, 4, 4)).double(), GatedFusion((4, 4, 4), in_sequence=True)
    turns.double().load_state_dict(together.state_dict())
    with torch.no_grad():
        pairs = list(zip(together(draw(4)), turns(draw(4)), strict=True))
    assert torch.equal(*pairs[0])
    assert all(float((a - b).abs().max()) > 0.1 for a, b in pairs[1:])


def set_gates(fusion: GatedFusion, score: float) -> GatedFusion:
    for conv in fusion.children():
        assert isinstance(conv, nn.Conv2d)
        assert conv.bias is not None
        nn.init.zeros_(conv.weight)
        nn.init.constant_(conv.bias, score)
    return fusion.double()


@pytest.mark.parametrize("in_sequence", [False, True])
def test_closed_gates_leave_the_maps_as_they_are(in_sequence: bool) -> None:
    fusion = set_gates(GatedFusion((4, 4, 4), in_sequence=in_sequence), -1000)
    for found, x in zip(fusion(draw(4)), draw(4), strict=True):
        assert torch.equal(found, x)


@pytest.mark.parametrize("in_sequence", [False, True])
def test_open_gates_double_the_maps_and_receive_nothing(in_sequence: bool) -> None:
    fusion = set_gates(GatedFusion((4, 4, 4), in_sequence=in_sequence), 1000)
    for found, x in zip(fusion(draw(4)), draw(4), strict=True):
        torch.testing.assert_close(found, 2 * x)


def test_a_closed_level_receives_fine_and_coarse_maps_at_its_own_size() -> None:
    fusion = set_gates(GatedFusion((4, 4, 4)), 1000)
    nn.init.constant_(fusion.get_parameter("level2.bias"), -1000)
    fine, middle, coarse = draw(4)
    found = fusion([fine, middle, coarse])[1]
    # of 5x9 pixels each second one lies on one of 3x5; the coarse map is between its pixels
    received = fine[:, :, ::2, ::2] + resize_slowly(coarse, 3, 5)
    torch.testing.assert_close(found, middle + received)


class Tag(nn.Module):
    """Records its input, and returns one channel filled with its number."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number

    def forward(self, x: Tensor) -> Tensor:
        self.found = x
        return torch.full_like(x[:, :1], self.number)


def test_every_level_of_the_pyramid_reads_all_coarser_outputs_then_its_map() -> None:
    tags = [Tag(3), Tag(2), Tag(1)]
    maps = [torch.full((1, 1, *size), 10.0 * level) for level, size in enumerate(SIZES, start=1)]
    start = torch.full((1, 1, 2, 3), 4.0)
    outputs = DenseFeaturePyramid(tags)(maps[::-1], start)
    assert [x[0, 0, 0, 0].item() for x in outputs] == [4, 3, 2, 1]
    assert [tuple(x.shape[2:]) for x in outputs] == [(2, 3), *SIZES[::-1]]
    found = [tag.found[0, :, 0, 0].tolist() for tag in tags]
    assert found == [[4, 30], [4, 3, 20], [4, 3, 2, 10]]


def test_the_pyramid_may_work_at_one_size_without_a_start() -> None:
    tags = [Tag(3), Tag(2), Tag(1)]
    maps = [torch.full((1, 1, *size), 10.0 * level) for level, size in enumerate(SIZES, start=1)]
    outputs = DenseFeaturePyramid(tags)(maps[::-1], like=maps[0])
    assert [tuple(x.shape[2:]) for x in outputs] == [SIZES[0]] * 3
    found = [tag.found[0, :, 0, 0].tolist() for tag in tags]
    assert found == [[30], [3, 20], [3, 2, 10]]


def test_maps_are_joined_in_order_at_the_size_of_another_one() -> None:
    fine, middle, coarse = draw(4)
    joined = concat_at([coarse, fine, middle], middle)
    torch.testing.assert_close(joined[:, :4], resize_slowly(coarse, 3, 5))
    torch.testing.assert_close(joined[:, 4:8], fine[:, :, ::2, ::2])
    assert torch.equal(joined[:, 8:], middle)


def test_the_shortcut_is_the_input_or_a_projection_of_the_activated_one() -> None:
    x = torch.randn(2, 8, 9, 7, generator=torch.Generator().manual_seed(1))
    same = PreActivationBlock(8, (8, 8)).eval()
    nn.init.zeros_(same.get_parameter("convs.conv2.weight"))
    assert torch.equal(same(x), x)
    wider = PreActivationBlock(8, (8, 12), stride=2).eval()
    nn.init.zeros_(wider.get_parameter("convs.conv2.weight"))
    assert wider.proj_conv is not None
    torch.testing.assert_close(wider(x), wider.proj_conv(wider.bn1(x)))
    assert wider(x).shape == (2, 12, 5, 4)


def test_a_block_of_three_convolutions_is_dilated_in_the_second_and_drops_maps_before_it() -> None:
    block = PreActivationBlock(4, (4, 6, 8), dilation=4, dropout=0.5)
    convs = block.convs
    assert [name for name, _ in convs.named_children()] == [
        *("conv1", "bn2", "dropout", "conv2", "bn3", "conv3")
    ]
    assert block.get_submodule("convs.conv2").dilation == (4, 4)
    assert block.get_submodule("convs.conv1").dilation == (1, 1)


def test_the_backbone_reads_imagenet_files_of_both_spellings() -> None:
    with torch.device("meta"):
        backbone = WideResNet()
    state = backbone.state_dict()
    unused = {"bn_out.0.weight": torch.ones(1), "fc.bias": torch.ones(1)}
    assert list(rename_keys(backbone.KEY_MAP, {**state, **unused})) == list(state)
    one_module = {  # the norm and its activation as one module
        key.replace(".0.", ".") if ".bn" in key else key: value for key, value in state.items()
    }
    assert "mod2.block1.bn1.weight" in one_module
    assert list(rename_keys(backbone.KEY_MAP, one_module)) == list(state)


def test_the_backbone_has_maps_at_a_half_and_two_eighths() -> None:
    with torch.device("meta"):
        backbone = WideResNet().eval()
        maps = backbone.maps(torch.empty(1, 3, 97, 193))
    assert [tuple(x.shape[1:]) for x in maps] == [(128, 49, 97), (1024, 13, 25), (4096, 13, 25)]


def shapes_read(net: SegModel, *names: str) -> dict[str, tuple[int, ...]]:
    """Return (C, h, w) of submodules' inputs for an image of 64x96, on the meta device."""
    found: dict[str, tuple[int, ...]] = {}
    for name in names:
        net.get_submodule(name).register_forward_pre_hook(
            lambda _, args, name=name: found.update({name: tuple(args[0].shape[1:])})
        )
    net.eval().logits(torch.empty(1, 3, 64, 96, device="meta"))
    return found


def test_the_papers_levels_read_the_context_and_work_at_their_own_size() -> None:
    with torch.device("meta"):
        net = GFFNet(5)
    levels = [f"pyramid.level{level}" for level in (4, 3, 2, 1)]
    assert shapes_read(net, *levels, "classifier") == {
        "pyramid.level4": (512, 8, 12),
        "pyramid.level3": (768, 8, 12),
        "pyramid.level2": (1024, 8, 12),
        "pyramid.level1": (1280, 16, 24),
        "classifier": (1280, 16, 24),
    }
    gates = [tuple(p.shape) for name, p in net.fuse.named_parameters() if "weight" in name]
    assert gates == [(1, 256, 1, 1)] * 4


def test_the_releases_levels_all_work_at_a_half_and_begin_with_the_coarsest() -> None:
    with torch.device("meta"):
        net = WideGFFNet(5)
    levels = [f"pyramid.level{level}" for level in (3, 2, 1)]
    assert shapes_read(net, *levels, "refine") == {
        "pyramid.level3": (128, 32, 48),
        "pyramid.level2": (256, 32, 48),
        "pyramid.level1": (384, 32, 48),
        "refine": (512, 32, 48),
    }
