"""The ESP module computes its defining equations, and both ESPNets share their encoder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dseg.checkpoints import load_backbone
from dseg.errors import DsegError
from dseg.models import build_model
from dseg.nn.esp import ESPModule


def module(**options: bool | int) -> ESPModule:
    """Return an ESP module from 12 to 12 channels in evaluation mode, its norm not the identity."""
    esp = ESPModule(12, 12, **options).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for key, value in esp.state_dict().items():
            if key.startswith("norm.norm.") and value.is_floating_point():
                value.uniform_(0.5, 1.5)
    return esp


def branches(esp: ESPModule, x: Tensor, stride: int) -> list[Tensor]:
    weights = esp.state_dict()
    y = F.conv2d(x, weights["reduce.weight"], stride=stride, padding=stride - 1)
    return [
        F.conv2d(y, weights[f"rate{rate}.weight"], padding=rate, dilation=rate)
        for rate in (1, 2, 4, 8, 16)
    ]


@torch.inference_mode()
@pytest.mark.parametrize(("stride", "residual"), [(1, True), (1, False), (2, False)])
def test_the_branches_are_summed_hierarchically(stride: int, residual: bool) -> None:
    esp = module(stride=stride, residual=residual)
    x = torch.randn(2, 12, 37, 41)
    near, *far = branches(esp, x, stride)
    sums = [far[0], far[0] + far[1], far[0] + far[1] + far[2], sum(far[1:], far[0])]
    expected = torch.cat([near, *sums], 1) + (x if residual else 0)
    assert [part.shape[1] for part in (near, *sums)] == [4, 2, 2, 2, 2]
    torch.testing.assert_close(esp(x), esp.norm(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "outputs"), [("espnet_fastseg", 19), ("espnet_q3", 20)])
@torch.inference_mode()
def test_what_the_decoder_cuts_is_what_lies_beyond_the_image(name: str, outputs: int) -> None:
    model = build_model(name).eval()
    assert model(torch.randn(1, 3, 33, 47)).main.shape == (1, outputs, 33, 47)
    assert model.logits(torch.randn(1, 3, 33, 47))[0].shape == (1, outputs, 33, 47)


@torch.inference_mode()
def test_one_decoder_reads_the_image_besides_the_stems_map_and_the_other_does_not() -> None:
    image = torch.randn(1, 3, 32, 48)
    for fuse_image, channels in ((False, 20 + 16), (True, 20 + 16 + 3)):
        model = build_model("espnet", fuse_image=fuse_image).eval()
        assert model.fuse1.conv.weight.shape == (20, channels, 3, 3)
        assert model(image).main.shape == (1, 20, 32, 48)
        assert type(model).options_for(model.state_dict()) == {
            **{"p": 2, "q": 8},
            "fuse_image": fuse_image,
        }


def test_an_espnet_c_file_fills_the_encoder_of_an_espnet(tmp_path: Path) -> None:
    first, second = build_model("espnet_c"), build_model("espnet")
    torch.save(first.state_dict(), tmp_path / "first.pth")
    report = load_backbone(second, tmp_path / "first.pth")
    ours = second.state_dict()
    assert all(torch.equal(ours[key], value) for key, value in first.state_dict().items())
    assert (report.fresh, report.dropped) == ((), ())


def test_a_decoder_needs_five_classes() -> None:
    with pytest.raises(DsegError, match="4 classes"):
        build_model("espnet", 4)
    assert build_model("espnet_c", 4).eval()(torch.zeros(1, 3, 16, 16)).main.shape[1] == 4
