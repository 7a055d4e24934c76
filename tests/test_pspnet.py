"""PSPNet and DeepLabV3 where several versions differ, and torchvision's own DeepLabV3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import segmentation

import dseg
from dseg.models import SegModel, build_model
from dseg.nn.backbones.resnet import Bottleneck


@pytest.fixture(autouse=True)
def no_gradients() -> Any:
    with torch.inference_mode():
        yield


def shapes_of(name: str) -> SegModel:
    with torch.device("meta"):
        return build_model(name).eval()


def dilations(name: str, stage: int) -> list[int]:
    stages = shapes_of(name).backbone
    assert isinstance(stages, nn.Module)
    blocks = stages.get_submodule(f"layer{stage}").children()
    return [block.conv2.dilation[0] for block in blocks if isinstance(block, Bottleneck)]


@pytest.mark.parametrize(
    ("name", "third", "fourth"),
    [
        ("pspnet_r50", [2] * 6, [4] * 3),
        ("pspnet_r101", [2] * 23, [4] * 3),
        ("pspnet_r50_tramac", [1] + [2] * 5, [2, 4, 4]),
        ("deeplabv3_r50", [1] + [2] * 5, [2, 4, 4]),
        ("deeplabv3plus_r50", [2] * 6, [4] * 3),
        ("gald_r50", [2] * 6, [4, 8, 16]),
        ("danet_r101", [1] + [2] * 22, [4, 8, 16]),
        ("emanet_r50", [1] + [2] * 5, [2, 8, 16]),
    ],
)
def test_dilations_of_the_last_two_stages(name: str, third: list[int], fourth: list[int]) -> None:
    assert dilations(name, 3) == third
    assert dilations(name, 4) == fourth
    assert set(dilations(name, 1) + dilations(name, 2)) == {1}


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("pspnet_r50", 128),  # ceil(H / 8)
        ("pspnet_r50_gald", 129),  # the stem's pooling rounds up
        ("pspnet_r50_tramac", 128),
        ("deeplabv3_r50", 128),
        ("deeplabv3plus_r50", 256),  # at 1/4
    ],
)
def test_rows_of_the_logits_of_a_cityscapes_image(name: str, side: int) -> None:
    scores = shapes_of(name).logits(torch.empty(1, 3, 1024, 2048, device="meta"))
    assert [tuple(s.shape[:3]) for s in scores] == [(1, 19, side)]


@pytest.mark.parametrize("depth", [50, 101])
def test_torchvisions_files_load_and_give_its_logits(depth: int, tmp_path: Path) -> None:
    torch.manual_seed(depth)
    build = {50: segmentation.deeplabv3_resnet50, 101: segmentation.deeplabv3_resnet101}[depth]
    theirs = build(weights=None, weights_backbone=None, num_classes=21, aux_loss=True).eval()
    for module in theirs.modules():  # fresh statistics would hide a missing norm
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.8, 1.2)
    file = tmp_path / "deeplabv3.pth"
    torch.save(theirs.state_dict(), file)
    ours = dseg.load_model(f"deeplabv3_r{depth}_voc", file)
    image = torch.randn(1, 3, 65, 98)
    wanted: dict[str, Tensor] = theirs(image)
    scale = float(wanted["out"].std())
    assert float((ours(image).main - wanted["out"]).abs().max()) < 1e-4 * scale
    assert ours.card.label_space.name == "voc"
    ours.training = True  # not its submodules: only enables the auxiliary head
    found = ours(image).aux[0]
    assert float((found - wanted["aux"]).abs().max()) < 1e-4 * float(wanted["aux"].std())
