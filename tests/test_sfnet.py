"""Flow alignment, and SFNet's files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from checkpoint_files import write
from golden.fill import fill_state_dict
from goldens import FOLDER, read_contract
from stand_ins import StandIn
from torch import Tensor
from torch.nn import functional as F

from dseg.checkpoints import load_model
from dseg.graphs import GraphFacts, trace
from dseg.models import build_model
from dseg.nn.flow import FlowAlignment, GatedFlowAlignment, warp
from dseg.predict.runtimes.onnx import OnnxRuntime
from dseg.predict.runtimes.openvino import OpenVinoRuntime


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(13, 22), (1, 5), (4, 1), (1, 1)], ids=str)
def test_without_a_flow_a_map_is_resized_with_aligned_corners(size: tuple[int, int]) -> None:
    x = noise(2, 3, 4, 7)
    resized = F.interpolate(x, size, mode="bilinear", align_corners=True)
    torch.testing.assert_close(warp(x, torch.zeros(2, 2, *size)), resized)


def test_a_flow_moves_columns_and_rows_by_its_fraction_of_half_the_map() -> None:
    x = torch.arange(15.0).view(1, 1, 3, 5)
    flow = torch.zeros(1, 2, 3, 5)
    flow[:, 0] = 5 / 2  # half of 5 columns is the way of two steps from one to the next
    right = warp(x, flow)
    assert right[0, 0].tolist() == [[1, 2, 3, 4, 0], [6, 7, 8, 9, 0], [11, 12, 13, 14, 0]]
    down = warp(x, 3 * F.pad(torch.ones(1, 1, 3, 5), (0, 0, 0, 0, 1, 0)))
    assert down[0, 0].tolist() == [[5, 6, 7, 8, 9], [10, 11, 12, 13, 14], [0] * 5]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_positions_on_a_large_map_are_exact_in_half_precision(dtype: torch.dtype) -> None:
    columns = torch.arange(2048).remainder(2).to(dtype)  # a neighbour is another value
    x = columns.expand(1, 1, 2, 2048)
    with torch.autocast("cpu", dtype):
        found = warp(x, torch.zeros(1, 2, 2, 2048, dtype=dtype))
    assert found.dtype == dtype
    assert (found - x).abs().max() < 0.01


@pytest.mark.parametrize("name", ["sfnet_r18", "sfnet_lite_r18"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.inference_mode()
def test_half_precision_labels_like_float32(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model, image = build_model(name).eval(), noise(1, 3, 64, 128)
    exact = model.logits(image)[0]
    with torch.autocast("cpu", dtype):
        rough = model.logits(image)[0].float()
    assert (rough - exact).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.parametrize("kind", [FlowAlignment, GatedFlowAlignment])
@pytest.mark.parametrize("runtime", [OpenVinoRuntime, OnnxRuntime])
@torch.inference_mode()
def test_alignment_is_exported_for_any_size(kind: type[FlowAlignment], runtime: type) -> None:
    class Net(StandIn):
        def __init__(self) -> None:
            super().__init__()
            self.align = kind(3, 4)

        def logits(self, image: Tensor) -> list[Tensor]:
            return [self.align(self.conv(image), F.avg_pool2d(image, 2))]

    model = Net().eval()
    model.align.flow.weight *= 30  # flows of several pixels, some beyond the border
    run = runtime(trace(model).SerializeToString(), model.card, GraphFacts(), "float32", 1)
    for size in ((64, 96), (197, 389), (33, 16)):
        image = noise(1, 3, *size)
        found, expected = run(image), model.logits(image)[0]
        assert found.shape == expected.shape
        assert (found - expected).abs().max() < 1e-3 * expected.std()


@pytest.mark.parametrize("head", ["head.dsn.", "head.fpn_in.2."])
def test_layers_of_lites_files_without_effect_are_left_out(head: str, tmp_path: Path) -> None:
    contract = read_contract(FOLDER, "sfnet_lite_r18_lxtgh")
    filled = fill_state_dict(contract["state_dict"], contract["gain"])
    state = {f"module.{key}": torch.from_numpy(value) for key, value in filled.items()}
    notes: list[str] = []
    whole = load_model(weights=write({"state_dict": state}, tmp_path / "whole.pth"))
    rest = {key: value for key, value in state.items() if f".{head}" not in f".{key}"[7:]}
    assert len(rest) < len(state)
    model = load_model(
        weights=write({"state_dict": rest}, tmp_path / "rest.pth"), on_note=notes.append
    )
    assert whole.card.network == model.card.network == "sfnet_lite_r18"
    ours = model.state_dict()
    assert all(torch.equal(value, ours[key]) for key, value in whole.state_dict().items())


def test_strides_are_kept_where_second_convolutions_are_dilated() -> None:
    with torch.device("meta"):
        backbone = build_model("sfnet_r18").get_submodule("backbone")
    found = {
        name: (module.stride, module.dilation)
        for name, module in backbone.named_modules()
        if name in ("layer3.0.conv1", "layer3.1.conv2", "layer4.0.conv1", "layer4.0.conv2")
    }
    assert found == {
        "layer3.0.conv1": ((2, 2), (1, 1)),
        "layer3.1.conv2": ((1, 1), (2, 2)),
        "layer4.0.conv1": ((2, 2), (1, 1)),
        "layer4.0.conv2": ((1, 1), (4, 4)),
    }
