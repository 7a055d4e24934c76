"""U-Net and FPN against formulas written out here, their backbones, and what only U-Net keeps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision_nets import picture, saved, theirs

from dseg.checkpoints import load_backbone
from dseg.errors import DsegError
from dseg.models import SegModel, build_model
from dseg.nn.backbones.base import Backbone
from dseg.nn.backbones.mobilenet import MobileNetV2
from dseg.nn.backbones.named import WITH_PYRAMID, build_pyramid_backbone

BACKBONES = ("resnet18", "resnet50", "mobilenet_v2")
CHANNELS = {
    "resnet18": (64, 64, 128, 256, 512),
    "resnet50": (64, 256, 512, 1024, 2048),
    "mobilenet_v2": (16, 24, 32, 96, 320),
}


def backbone_of(model: SegModel) -> Backbone:
    backbone = model.get_submodule("backbone")
    assert isinstance(backbone, Backbone)
    return backbone


def with_statistics(name: str, **options: object) -> SegModel:
    """Return a network whose norms have other values than 0 and 1, in evaluation mode."""
    torch.manual_seed(2)
    model = build_model(name, 5, **options)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    with torch.no_grad():
        for _ in range(3):
            model(picture(2))
    return model.eval()


@pytest.mark.parametrize("name", ["unet_r18", "unet_mobilenetv2"])
@torch.inference_mode()
def test_a_unet_concatenates_each_map_with_the_doubled_coarser_one(name: str) -> None:
    model = with_statistics(name)
    state = model.state_dict()

    def two(x: Tensor, step: int) -> Tensor:
        for index in range(2):
            key = f"up.steps.{step}.{index}"
            x = F.conv2d(x, state[f"{key}.conv.weight"], padding=1)
            statistics = (state[f"{key}.norm.running_{part}"] for part in ("mean", "var"))
            affine = (state[f"{key}.norm.{part}"] for part in ("weight", "bias"))
            x = F.batch_norm(x, *statistics, *affine).relu()
        return x

    c1, c2, c3, c4, x = backbone_of(model).pyramid(picture())
    for step, skip in enumerate((c4, c3, c2, c1)):
        x = two(torch.cat([x.repeat_interleave(2, 2).repeat_interleave(2, 3), skip], 1), step)
        assert x.shape[1] == (256, 128, 64, 32)[step]
    x = two(x.repeat_interleave(2, 2).repeat_interleave(2, 3), 4)
    expected = F.conv2d(x, state["classifier.weight"], state["classifier.bias"])
    (logits,) = model.logits(picture())
    assert logits.shape == (1, 5, 64, 96)
    assert (logits - expected).abs().max() < 1e-4 * expected.std()


@pytest.mark.parametrize(("name", "width"), [("fpn_r18", 128), ("fpn_r50", 256)])
@torch.inference_mode()
def test_an_fpn_adds_up_four_levels_at_a_quarter_of_the_size(name: str, width: int) -> None:
    model = with_statistics(name)
    state = model.state_dict()

    def conv(x: Tensor, key: str) -> Tensor:
        weight = state[f"{key}.weight"]
        return F.conv2d(x, weight, state.get(f"{key}.bias"), padding=weight.shape[-1] // 2)

    def part(x: Tensor, key: str) -> Tensor:
        weight, bias = (state[f"{key}.norm.{name}"] for name in ("weight", "bias"))
        return F.group_norm(conv(x, f"{key}.conv"), 32, weight, bias).relu()

    def double(x: Tensor, mode: str = "bilinear") -> Tensor:
        return F.interpolate(x, scale_factor=2.0, mode=mode)

    _, *maps = backbone_of(model).pyramid(picture())
    m2, m3, m4, m5 = (conv(x, f"pyramid.lateral.{level}") for level, x in enumerate(maps))
    m4 = m4 + double(m5, "nearest")
    m3 = m3 + double(m4, "nearest")
    m2 = m2 + double(m3, "nearest")
    p2, p3, p4, p5 = (conv(x, f"pyramid.smooth.{n}") for n, x in enumerate((m2, m3, m4, m5)))
    assert p5.shape == (1, width, 2, 3)
    x = part(p2, "branch.levels.0.0") + double(part(p3, "branch.levels.1.0"))
    x = x + double(part(double(part(p4, "branch.levels.2.0")), "branch.levels.2.1"))
    for step in range(3):
        p5 = double(part(p5, f"branch.levels.3.{step}"))
    expected = conv(x + p5, "classifier")
    (logits,) = model.logits(picture())
    assert logits.shape == (1, 5, 16, 24)
    assert (logits - expected).abs().max() < 1e-4 * expected.std()


@pytest.mark.parametrize("name", BACKBONES)
@torch.inference_mode()
def test_the_pyramid_is_that_of_torchvisions_network_with_its_own_file(
    name: str, tmp_path: Path
) -> None:
    network = theirs(name)
    model = build_model("unet_r34", 5, backbone=name).eval()
    report = load_backbone(model, saved(network, tmp_path / "imagenet.pth"))
    assert report.backbone == name
    absent = {key.rpartition(".")[0] for key in report.fresh}
    assert absent == ({"block1.expand.conv", "block1.expand.norm"} if "mobile" in name else set())
    assert all(key.startswith(("fc.", "classifier.", "features.18.")) for key in report.dropped)
    image = 2 * picture()
    maps = backbone_of(model).pyramid(image)
    if name == "mobilenet_v2":
        expected = [network.features[:end](image) for end in (2, 4, 7, 14, 18)]
    else:
        expected = [network.relu(network.bn1(network.conv1(image)))]
        x = network.maxpool(expected[0])
        for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
            expected.append(x := stage(x))
    assert backbone_of(model).pyramid_channels == CHANNELS[name]
    for ours, reference, channels in zip(maps, expected, CHANNELS[name], strict=True):
        assert ours.shape == reference.shape and ours.shape[1] == channels
        assert (ours - reference).abs().max() < 1e-4 * reference.std()


@pytest.mark.parametrize("name", BACKBONES)
def test_a_pyramid_of_odd_sides_rounds_up(name: str) -> None:
    with torch.device("meta"):
        backbone = build_pyramid_backbone(name)
        maps = backbone.pyramid(torch.empty(1, 3, 97, 193))
    sizes = [tuple(x.shape[-2:]) for x in maps]
    assert sizes == [(49, 97), (25, 49), (13, 25), (7, 13), (4, 7)]


def test_a_dilated_mobilenet_has_fewer_maps() -> None:
    with torch.device("meta"):
        backbone = MobileNetV2(8)
        sizes = [x.shape[-1] for x in backbone.pyramid(torch.empty(1, 3, 64, 96))]
    assert sizes == [48, 24, 12]
    assert backbone.pyramid_channels == (16, 24, 320)


def test_a_backbone_without_pyramid_is_told_those_with_one() -> None:
    with pytest.raises(DsegError) as caught:
        build_model("unet_r34", backbone="densenet121")
    assert caught.value.problem == "There is no backbone 'densenet121' with five maps."
    assert caught.value.hint == f"backbones: {', '.join(WITH_PYRAMID)}."


def draw_wires(seed: int) -> tuple[Tensor, Tensor]:
    """Return two noisy images of straight wires one pixel wide, and their masks, (2, 64, 64)."""
    chance = torch.Generator().manual_seed(seed)
    mask = torch.zeros(2, 64, 64, dtype=torch.long)
    for picture_mask in mask:
        picture_mask[torch.randperm(64, generator=chance)[:5]] = 1
        picture_mask[:, torch.randperm(64, generator=chance)[:5]] = 1
    noise = torch.randn(2, 3, 64, 64, generator=chance)
    return 0.3 * noise + mask.unsqueeze(1), mask


def wire_iou(scores: Tensor, mask: Tensor) -> float:
    found = scores.argmax(1) == 1
    return float((found & (mask == 1)).sum() / (found | (mask == 1)).sum())


def test_a_unet_finds_lines_that_no_logits_at_an_eighth_can_represent() -> None:
    image, mask = draw_wires(100)
    free = nn.Parameter(torch.zeros(2, 2, 8, 8))  # the best that a network at stride 8 can learn
    optimizer = torch.optim.Adam([free], 0.3)
    for _ in range(100):
        scores = F.interpolate(free, (64, 64), mode="bilinear")
        optimizer.zero_grad()
        F.cross_entropy(scores, mask).backward()
        optimizer.step()
    assert wire_iou(scores, mask) < 0.2
    torch.manual_seed(0)
    model = build_model("unet_r18", 2)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for step in range(20):  # each with other wires
        images, masks = draw_wires(step)
        optimizer.zero_grad()
        F.cross_entropy(model(images).main, masks).backward()
        optimizer.step()
    with torch.no_grad():
        assert wire_iou(model(image).main, mask) > 0.9
