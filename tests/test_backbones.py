"""Backbones compute what torchvision's networks compute with the same weights."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from checkpoint_files import write
from torch import Tensor, nn
from torchvision_nets import LITTLE, OnResNet, picture, saved, theirs

from dseg.checkpoints import load_backbone
from dseg.errors import DsegError
from dseg.models import build_model
from dseg.nn.backbones.resnet import ResNet


def assert_same(ours: Tensor, reference: Tensor, tolerance: float = 1e-5) -> None:
    """Compare two maps; the tolerance is in standard deviations."""
    assert ours.shape == reference.shape
    assert reference.std((2, 3)).mean() > 0.2 * reference.std()  # it depends on the image
    assert (ours - reference).abs().max() < tolerance * reference.std()


def dilate(part: nn.Module, first: int, rest: int) -> None:
    """Replace the stride of a stage of torchvision's network by dilation."""
    convs = [m for m in part.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    for index, conv in enumerate(convs):
        rate = rest if index else first
        conv.stride, conv.dilation, conv.padding = (1, 1), (rate, rate), (rate, rate)


def dilated_densenet(depth: int) -> Any:
    network = theirs(f"densenet{depth}")
    network.features.transition2.pool = network.features.transition3.pool = nn.Identity()
    dilate(network.features.denseblock3, 2, 2)
    dilate(network.features.denseblock4, 4, 4)
    return network


@torch.inference_mode()
def test_a_densenet_computes_what_torchvisions_does(tmp_path: Path) -> None:
    network = dilated_densenet(121)
    model = build_model("denseaspp_densenet121_voc").eval()
    report = load_backbone(model, saved(network, tmp_path / "d.pth"))
    assert_same(model.get_submodule("backbone")(picture()), network.features(picture()))
    assert (report.backbone, len(report.matched), report.fresh) == ("densenet121", 725, ())
    assert report.dropped == ("classifier.weight", "classifier.bias")
    assert str(report) == (
        f"725 tensors of densenet121 loaded from {tmp_path / 'd.pth'}, "
        "2 left out (first classifier.weight)"
    )


@torch.inference_mode()
def test_the_last_norm_is_that_of_the_fourth_transition_where_there_is_one(tmp_path: Path) -> None:
    network = dilated_densenet(161)
    model = build_model("denseaspp161").eval()
    before = copy.deepcopy(model.state_dict())
    report = load_backbone(model, saved(network, tmp_path / "d.pth"))
    maps: list[Tensor] = []
    norm = model.get_submodule("backbone.transition4.norm")
    norm.register_forward_hook(lambda module, args, out: maps.append(out.clone()))
    model.get_submodule("backbone")(picture())
    assert_same(maps[0], network.features(picture()))
    assert report.fresh == (
        "transition4.conv.weight",
        *(f"norm5.{part}" for part in ("weight", "bias", "running_mean", "running_var")),
    )
    assert str(report).endswith("5 newly initialised (first backbone.transition4.conv.weight)")
    untouched = [
        key for key, value in model.state_dict().items() if torch.equal(value, before[key])
    ]
    assert {f"backbone.{key}" for key in report.fresh} <= set(untouched)
    assert all(key in untouched for key in before if not key.startswith("backbone."))
    assert not any(f"backbone.{key}" in untouched for key in report.matched if "num" not in key)


@torch.inference_mode()
def test_the_dotted_names_of_an_old_densenet_fit(tmp_path: Path) -> None:
    network = theirs("densenet121")
    old = {
        re.sub(r"(layer\d+\.\w+)(\d)\.", r"\1.\2.", key): value
        for key, value in network.state_dict().items()
        if "num_batches" not in key  # which torch 0.3 did not have
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    new, ancient = (build_model("denseaspp_densenet121_citys").eval() for _ in range(2))
    load_backbone(new, saved(network, tmp_path / "new.pth"))
    report = load_backbone(ancient, write({"state_dict": old}, tmp_path / "old.pth"))
    assert len(report.matched) == 604
    maps = [model.get_submodule("backbone")(picture()) for model in (new, ancient)]
    assert torch.equal(maps[0], maps[1])


@torch.inference_mode()
def test_mobilenet_computes_what_torchvisions_does(tmp_path: Path) -> None:
    network = theirs("mobilenet_v2")
    for index in range(7, 18):
        dilate(network.features[index], 2, 2)
    model = build_model(LITTLE).eval()
    file = write({"module." + k: v for k, v in network.state_dict().items()}, tmp_path / "m.pth")
    report = load_backbone(model, file)
    image = 6 * picture()  # so that the stem reaches 6, the limit of ReLU6
    assert network.features[0](image).max() == 6
    # Our first expansion divides and multiplies by a deviation, each with its own rounding.
    assert_same(model.get_submodule("backbone")(image), network.features[:18](image), 1e-4)
    assert {key.rpartition(".")[0] for key in report.fresh} == {
        "block1.expand.conv",
        "block1.expand.norm",
    }
    assert report.dropped[0] == "features.18.0.weight"
    assert len(report.dropped) == 7


def test_mobilenets_first_expansion_passes_on_in_training_too(tmp_path: Path) -> None:
    network = theirs("mobilenet_v2")
    model = build_model(LITTLE)
    load_backbone(model, saved(network, tmp_path / "m.pth"))
    stem, expand = (model.get_submodule(f"backbone.{n}") for n in ("stem", "block1.expand"))
    with torch.no_grad():
        x = stem(picture(4, 128, 128))
        error = (expand(x) - x).abs()
    assert x.mean() > 0.4
    assert error.mean() < 0.01  # 0.2 for a norm of scale 1 and shift 0


@pytest.mark.parametrize(
    ("depth", "output_stride", "options"),
    [
        (18, 32, {}),
        (34, 32, {}),
        (50, 32, {}),
        (50, 16, {"replace_stride_with_dilation": [False, False, True]}),
        (50, 8, {"replace_stride_with_dilation": [False, True, True]}),
    ],
)
@torch.inference_mode()
def test_a_resnet_computes_what_torchvisions_does(
    tmp_path: Path, depth: int, output_stride: int, options: dict[str, Any]
) -> None:
    network = theirs(f"resnet{depth}", **options)
    model = OnResNet(depth, output_stride).eval()
    report = load_backbone(model, saved(network, tmp_path / "r.pth"))
    assert report.dropped == ("fc.weight", "fc.bias")
    assert report.fresh == ()
    maps = model.backbone.maps(picture())
    x = network.maxpool(network.relu(network.bn1(network.conv1(picture()))))
    stages = (network.layer1, network.layer2, network.layer3, network.layer4)
    for ours, stage, channels in zip(maps, stages, model.backbone.stage_channels, strict=True):
        x = stage(x)
        assert_same(ours, x)
        assert ours.shape[1] == channels
    assert torch.equal(model.backbone(picture()), maps[-1])
    assert model.backbone.out_channels == maps[-1].shape[1] == (2048 if depth == 50 else 512)
    strides = tuple(64 // ours.shape[2] for ours in maps)
    assert model.backbone.stage_strides == strides
    assert strides[-1] == output_stride


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("output_stride", [8, 16])
@torch.inference_mode()
def test_a_dilated_resnet_computes_the_strided_one_in_between(
    depth: int, output_stride: int
) -> None:
    strided, dilated = ResNet(depth).eval(), ResNet(depth, output_stride).eval()
    dilated.load_state_dict(strided.state_dict())
    step = 32 // output_stride
    assert_same(dilated(picture())[:, :, ::step, ::step], strided(picture()))


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_every_resnet_has_torchvisions_keys_and_shapes(depth: int) -> None:
    with torch.device("meta"):
        network, ours = torchvision.models.get_model(f"resnet{depth}"), ResNet(depth)
    expected = {k: v.shape for k, v in network.state_dict().items() if not k.startswith("fc.")}
    assert {k: v.shape for k, v in ours.state_dict().items()} == expected


@pytest.mark.parametrize(("depth", "stride"), [(20, 32), (50, 4)])
def test_a_resnet_that_does_not_exist_is_told(depth: int, stride: int) -> None:
    with pytest.raises(DsegError, match=r"not have depth (20|50) with output stride (32|4)"):
        ResNet(depth, stride)
