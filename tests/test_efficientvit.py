"""EfficientViT-Seg: its attention, its norms, its backbone's files, and bicubic logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from checkpoint_files import write
from cli_runs import run
from goldens import FOLDER, fill_state_dict, read_contract
from stand_ins import draw
from torch import Tensor, nn

from dseg.checkpoints import load_backbone
from dseg.graphs import read_graph
from dseg.graphs.trace import quiet
from dseg.models import build_model
from dseg.nn.linear_attention import LinearAttention, attend
from dseg.predict import Predictor


def by_pairs(qkv: Tensor, dim: int) -> Tensor:
    """Compute the attention of every position to every other, head by head."""
    heads = qkv.flatten(2).split(3 * dim, 1)
    outs = []
    for head in heads:
        query, key, value = head.split(dim, 1)
        weights = query.relu().transpose(1, 2) @ key.relu()  # N, positions that read, all
        total = weights.sum(2, keepdim=True)
        mean = weights / torch.where(total > 0, total, 1)
        outs.append(value @ mean.transpose(1, 2))
    return torch.cat(outs, 1).view(len(qkv), -1, *qkv.shape[2:])


@pytest.mark.parametrize("size", [(7, 9), (1, 3)], ids=str)
def test_attention_is_the_weighted_mean_over_all_positions(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    qkv = torch.randn(2, 2 * 3 * 4, *size, dtype=torch.float64)
    qkv[:, :4, 0, 0] = -1  # queries of a head that are 0 after ReLU
    found = attend(qkv, 4)
    assert found.shape == (2, 8, *size)
    assert (found[:, :4, 0, 0] == 0).all()
    torch.testing.assert_close(found, by_pairs(qkv, 4), rtol=1e-12, atol=1e-12)


class Attend(nn.Module):
    def forward(self, qkv: Tensor) -> Tensor:
        return attend(qkv, 4)


def test_a_graph_too_gives_0_where_all_weights_are_0(tmp_path: Path) -> None:
    torch.manual_seed(0)
    qkv, file = torch.randn(1, 24, 5, 6), tmp_path / "attend.onnx"
    qkv[:, :4, 2, 3] = -1
    with quiet():
        torch.onnx.export(Attend(), (qkv,), file, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: qkv.numpy()})
    assert (found[0, :4, 2, 3] == 0).all()
    np.testing.assert_allclose(found, by_pairs(qkv.double(), 4).numpy(), rtol=1e-5, atol=1e-6)


def test_sums_over_a_large_map_keep_the_precision_of_float32() -> None:
    torch.manual_seed(0)
    qkv = torch.randn(1, 2 * 3 * 16, 128, 256) + 0.5
    exact = attend(qkv.double(), 16)
    assert (attend(qkv, 16) - exact).abs().max() < 1e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_attention_is_in_float32_under_autocast(dtype: torch.dtype) -> None:
    qkv = torch.ones(1, 3 * 16, 70, 1000, dtype=dtype)  # sums of 70,000: infinite in float16
    qkv[:, 32:] = torch.linspace(-1, 1, 1000, dtype=torch.float32).add(0.25).to(dtype)
    with torch.autocast("cpu", dtype):
        found = attend(qkv, 16)
    assert found.dtype == dtype
    mean = qkv[:, 32:].double().mean()
    assert (found.double() - mean).abs().max() < 1e-3


def test_gradients_flow_through_all_layers_of_the_attention() -> None:
    torch.manual_seed(0)
    layer = LinearAttention(32, 16)
    layer(torch.randn(2, 32, 5, 6)).square().sum().backward()
    assert [name for name, p in layer.named_parameters() if p.grad is None] == []
    assert all(p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize(
    ("name", "eps", "act"),
    [("efficientvit_b2", 1e-5, nn.Hardswish), ("efficientvit_l1", 1e-7, nn.GELU)],
)
def test_norms_and_activations_of_both_series(name: str, eps: float, act: type[nn.Module]) -> None:
    with torch.device("meta"):
        modules = list(build_model(name).modules())
    assert {module.eps for module in modules if isinstance(module, nn.BatchNorm2d)} == {eps}
    acts = [module for module in modules if isinstance(module, (nn.Hardswish, nn.GELU))]
    assert {type(module) for module in acts} == {act}
    assert {getattr(module, "approximate", "tanh") for module in acts} == {"tanh"}


def imagenet_file(size: str, path: Path, wrap: bool) -> dict[str, Tensor]:
    """Save a classification network as its authors do; return the entries of its backbone."""
    contract = read_contract(FOLDER, f"efficientvit_seg_{size}_mithanlab")
    filled = fill_state_dict(contract["state_dict"], contract["gain"])
    backbone = {k: torch.from_numpy(v) for k, v in filled.items() if k.startswith("backbone.")}
    state: dict[str, Any] = {**backbone, "head.op_list.0.conv.weight": torch.ones(1024, 128, 1, 1)}
    write({"state_dict": state} if wrap else state, path)
    return backbone


@pytest.mark.parametrize("size", ["b0", pytest.param("l1", marks=pytest.mark.slow)])
@pytest.mark.parametrize("wrap", [True, False])
def test_the_authors_imagenet_file_fits_the_backbone(size: str, wrap: bool, tmp_path: Path) -> None:
    theirs = imagenet_file(size, tmp_path / "imagenet.pt", wrap)
    model = build_model(f"efficientvit_{size}", 5)
    report = load_backbone(model, tmp_path / "imagenet.pt")
    assert len(report.matched) == len(theirs)
    assert (report.fresh, report.dropped) == ((), ("head.op_list.0.conv.weight",))
    loaded = model.backbone.state_dict()
    key = (
        "stages.3.op_list.0.main.depth_conv.conv.weight"
        if size == "b0"
        else ("stages.4.op_list.0.main.depth_conv.conv.weight")
    )
    assert torch.equal(loaded["stage4.0.depthwise.conv.weight"], theirs[f"backbone.{key}"])


@pytest.mark.parametrize("kind", [pytest.param("logits", marks=pytest.mark.slow), "labels"])
def test_an_exported_file_gives_pytorchs_mask(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_model("efficientvit_b0").eval()
    weights = write(model.state_dict(), tmp_path / "w.pth")
    image, file = draw(72, 100), tmp_path / "net.onnx"
    words = ("--size", "72x100", "--output", kind, "--no-check")
    result = run("export", weights, "-o", file, *words)
    assert result.exit_code == 0, result.output
    assert read_graph(file)[2].upsampling == "bicubic"
    expected = Predictor(model, device="cpu").predict(image).train_ids
    found = Predictor.load(weights=file).predict(image).train_ids
    assert len(np.unique(expected)) > 2
    assert (found == expected).mean() > 0.999
