"""Which backbones of the registry start from torchvision's files, whole or in part."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from checkpoint_files import refused, write
from registry_cases import one_fast_of_each_class
from torch import Tensor, nn
from torchvision_nets import picture, saved, theirs

import dseg
from dseg.checkpoints import load_backbone
from dseg.checkpoints.backbone_reading import find_reading
from dseg.models import SegModel, build_model
from dseg.nn.backbones.base import Backbone

# keys that keep their initial values, for each class of backbones and whether its stem is deep
KEPT = {
    ("DenseNet", False): r"(transition4\.conv|norm5)\.",
    ("MobileNetV2", False): r"block1\.expand\.",
    ("MobileNetV3", False): "nothing",
    ("PyramidResNet", False): r"(layer\d\.\d\.)?bn\d\.[12]\.",
    ("ResNet", False): r"layer4\.\d\.conv2\.scale\.",
    ("ResNet", True): r"(conv1|layer1\.0\.(conv1|bn1|downsample))\.",
}
NONE = {
    "DFNet",
    "EfficientViT",
    "ESPEncoder",
    "WideResNet",
    "XceptionA",
}  # torchvision has no such network


@cache
def published(name: str) -> dict[str, Tensor]:
    """Return keys and shapes of torchvision's file."""
    with torch.device("meta"):
        return dict(torchvision.models.get_model(name, weights=None).state_dict())


@pytest.mark.parametrize("name", one_fast_of_each_class(dseg.MODELS))
def test_torchvisions_file_fits_every_backbone_that_torchvision_has(name: str) -> None:
    with torch.device("meta"):
        model = build_model(name)
        backbone: Any = getattr(model, "backbone", None)
    kind = type(backbone).__name__
    if not isinstance(backbone, Backbone) or not backbone.torchvision_name:
        assert kind in NONE or not isinstance(backbone, Backbone)
        return
    reading = find_reading(model, backbone, published(backbone.torchvision_name))
    assert reading.report.complete
    deep = isinstance(backbone.conv1, nn.Sequential) if kind == "ResNet" else False
    assert reading.other_stem == bool(backbone.stem_note) == deep
    kept = [key for key in backbone.state_dict() if key not in reading.report.matched]
    assert [key for key in kept if not re.match(KEPT[kind, deep], key)] == []
    assert not deep or len(kept) == 30


def fresh_layers(model: SegModel, before: dict[str, Tensor]) -> list[str]:
    """Return the backbone's layers whose parameters are as before."""
    after = model.get_submodule("backbone").state_dict()
    kept = [key for key, value in after.items() if torch.equal(value, before[key])]
    return sorted({k.rpartition(".")[0] for k in kept if not k.endswith("num_batches_tracked")})


@pytest.mark.parametrize(
    ("name", "depth", "loaded"),
    [("sfnet_r18", 18, 108), ("pspnet_r50", 50, 300)],
)
@torch.inference_mode()
def test_a_deep_stem_stays_as_it_is_and_the_stages_are_torchvisions(
    name: str, depth: int, loaded: int, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    network, model = theirs(f"resnet{depth}"), build_model(name).eval()
    backbone: Any = model.backbone
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    report = load_backbone(model, saved(network, tmp_path / "r.pth"))
    assert len(report.matched) == loaded
    assert fresh_layers(model, before) == [
        *("conv1.0", "conv1.1", "conv1.3", "conv1.4", "conv1.6", "conv1.7"),
        *("layer1.0.bn1", "layer1.0.conv1", "layer1.0.downsample.0", "layer1.0.downsample.1"),
    ]
    assert report.fresh[0] == "conv1.0.weight"
    assert report.dropped[:2] == ("conv1.weight", "bn1.weight")
    assert report.dropped[-2:] == ("fc.weight", "fc.bias")
    text = str(report)
    assert text == (
        f"{loaded} tensors of resnet{depth} with a deep stem loaded from {tmp_path / 'r.pth'}, "
        "from the first stage on: the stem, three 3x3 convolutions where torchvision has one 7x7, "
        "keeps its initial weights, and so do layer1.0.conv1 and layer1.0.downsample with their "
        "norms, which read its 128 channels"
    )
    x = torch.randn(1, network.layer1[0].conv1.in_channels, 16, 24)
    x = network.layer1(x)
    torch.testing.assert_close(backbone.layer2(x), network.layer2(x))


def test_a_deep_stem_of_64_channels_has_all_of_the_stages(tmp_path: Path) -> None:
    model = build_model("bisenetv1", stem_width=32)
    report = load_backbone(model, saved(theirs("resnet18"), tmp_path / "r.pth"))
    assert {key.split(".")[0] for key in report.fresh} == {"conv1"}
    assert str(report).endswith("torchvision has one 7x7, keeps its initial weights")


@torch.inference_mode()
def test_the_backbone_of_torchvisions_deeplab_gives_its_stages_too(tmp_path: Path) -> None:
    source, model = build_model("deeplabv3_r50_voc"), build_model("pspnet_r50")
    report = load_backbone(model, write(source.state_dict(), tmp_path / "deeplab.pth"))
    assert len(report.matched) == 300
    found = model.get_submodule("backbone.layer4").state_dict()
    wanted = source.get_submodule("backbone.layer4").state_dict()
    assert all(torch.equal(found[key], value) for key, value in wanted.items())


@pytest.mark.parametrize("lost", ["layer1.0.conv2.weight", "layer3.1.bn2.bias"])
def test_a_file_that_lacks_a_layer_of_the_stages_is_refused(lost: str, tmp_path: Path) -> None:
    state = {key: value for key, value in theirs("resnet18").state_dict().items() if key != lost}
    model = build_model("sfnet_lite_r18")
    fault = refused(lambda: load_backbone(model, write(state, tmp_path / "r.pth")))
    assert f"1 missing (first {lost})" in fault.problem
    assert "does not fit resnet18 with a deep stem, the backbone of sfnet_lite_r18" in fault.problem
    assert "its authors' file fits; or get resnet18-f37072fd.pth" in fault.hint


@pytest.mark.slow
def test_a_file_of_another_depth_is_named(tmp_path: Path) -> None:
    model = build_model("sfnet_r18")
    fault = refused(lambda: load_backbone(model, saved(theirs("resnet34"), tmp_path / "r.pth")))
    assert "the file fits resnet34, the backbone of swiftnet_r34" in fault.hint


def test_a_damaged_deep_stem_is_not_taken_for_torchvisions(tmp_path: Path) -> None:
    model = build_model("pspnet_r50")
    state = model.get_submodule("backbone").state_dict()
    del state["conv1.3.weight"]
    fault = refused(lambda: load_backbone(model, write(state, tmp_path / "deep.pth")))
    assert "1 missing (first conv1.3.weight)" in fault.problem


def test_the_image_reaches_the_stages_through_the_initial_stem(tmp_path: Path) -> None:
    model = build_model("sfnet_lite_r18")
    load_backbone(model, saved(theirs("resnet18"), tmp_path / "r.pth"))
    model.train()(picture(2)).main.square().mean().backward()
    stem = model.get_submodule("backbone.conv1.0")
    assert isinstance(stem, nn.Conv2d)
    assert stem.weight.grad is not None
    assert stem.weight.grad.abs().sum() > 0
