"""SwiftNet: the maps that it reads, its grids, and files of its releases and of torchvision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from checkpoint_files import write
from goldens import FOLDER, read_contract, save_as_the_authors_do
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision_nets import picture, saved, theirs

import dseg
from dseg.checkpoints import load_backbone
from dseg.checkpoints.keys import LoadReport
from dseg.errors import DsegError
from dseg.models import build_model
from dseg.nn.backbones.pyramid_resnet import PyramidResNet
from dseg.nn.ladder import SpatialPyramidPooling


def inputs_of(model: nn.Module, *names: str) -> list[Tensor]:
    """Return a list to which each named submodule will append its input."""
    read: list[Tensor] = []
    for name in names:
        part = model.get_submodule(name)
        part.register_forward_pre_hook(lambda _, args: read.append(args[0].clone()))
    return read


def stages_of_torchvision(network: nn.Module, image: Tensor) -> list[Tensor]:
    x = image
    for name in ("conv1", "bn1", "relu", "maxpool"):
        x = network.get_submodule(name)(x)
    maps = []
    for index in range(1, 5):
        x = network.get_submodule(f"layer{index}")(x)
        maps.append(x)
    return maps


@torch.inference_mode()
def test_the_pyramids_levels_are_resnets_on_smaller_images(tmp_path: Path) -> None:
    network = theirs("resnet18")
    model = build_model("swiftnet_pyramid_r18").eval()
    report = load_backbone(model, saved(network, tmp_path / "r.pth"))
    assert report.backbone == "resnet18"
    assert report.fresh[0] == "bn1.1.weight"
    assert len(report.fresh) == 17 * 2 * 4  # norms, levels, tensors
    assert {key.split(".")[0] for key in report.dropped} == {"fc"}
    image = picture()
    levels = model.get_submodule("backbone")(image)
    assert len(levels) == 3
    for index, maps in enumerate(levels):
        smaller = F.interpolate(image, scale_factor=0.5**index, mode="bicubic")
        for ours, reference in zip(maps, stages_of_torchvision(network, smaller), strict=True):
            assert (ours.relu() - reference).abs().max() < 1e-5 * reference.std()


def test_a_level_keeps_its_own_norms() -> None:
    backbone = PyramidResNet(18)
    norms = backbone.get_submodule("layer1.0.bn2")
    assert len({id(norm) for norm in norms.children()}) == 3
    backbone(picture(2))
    means = [norm.get_buffer("running_mean") for norm in norms.children()]
    assert not torch.equal(means[0], means[1])
    assert not torch.equal(means[1], means[2])


def test_a_bottleneck_has_no_pyramid() -> None:
    with pytest.raises(DsegError, match="pyramid ResNet does not have depth 50"):
        PyramidResNet(50)


@pytest.mark.parametrize("size", [(16, 16), (17, 35), (97, 193), (70, 101)], ids=str)
def test_the_pyramid_reads_any_size_though_maps_of_a_stride_differ(size: tuple[int, int]) -> None:
    with torch.device("meta"):
        levels = PyramidResNet(18).eval()(torch.empty(1, 3, *size))
        scores = build_model("swiftnet_pyramid_r18").eval().logits(torch.empty(1, 3, *size))
    for level, maps in enumerate(levels):
        sides = [side // 2**level for side in size]
        for stage, x in enumerate(maps):
            assert x.shape[-2:] == tuple(-(-side // (4 * 2**stage)) for side in sides)
    assert scores[0].shape == (1, 19, *(-(-side // 4) for side in size))


@torch.inference_mode()
def test_only_the_pyramid_reads_maps_before_their_relu() -> None:
    single, pyramid = (build_model(f"swiftnet_{n}").eval() for n in ("r18", "pyramid_r18"))
    activated = inputs_of(single, *(f"fuse.steps.{i}.lateral" for i in range(3)), "fuse.context")
    before = inputs_of(pyramid, *(f"lateral.{i}" for i in range(4)))
    single(picture())
    pyramid(picture())
    assert len(activated) == 4
    assert all(x.min() == 0 for x in activated)
    assert len(before) == 12
    assert all(x.min() < 0 for x in before)


@pytest.mark.parametrize(
    ("height", "width", "grids"),
    [
        (32, 64, [(8, 16), (4, 8), (2, 4)]),
        (10, 25, [(8, 20), (4, 10), (2, 5)]),
        (4, 5, [(8, 10), (4, 5), (2, 2)]),  # 2.5 columns: half to even
        (30, 2, [(8, 1), (4, 1), (2, 1)]),  # 0.27 columns
    ],
)
def test_the_cells_of_a_grid_are_nearly_square(
    height: int, width: int, grids: list[tuple[int, int]]
) -> None:
    pooling = SpatialPyramidPooling(4, 6, align_corners=False).eval()
    read = inputs_of(pooling, *(f"levels.{i}" for i in range(3)))
    assert pooling(torch.randn(1, 4, height, width)).shape == (1, 6, height, width)
    assert [tuple(x.shape[-2:]) for x in read] == grids


@pytest.mark.parametrize("name", ["swiftnet_rn18_single_orsic", "swiftnet_rn18_pyramid_orsic"])
def test_the_normalisation_within_the_release_is_read_from_its_file(
    name: str, tmp_path: Path
) -> None:
    save_as_the_authors_do(read_contract(FOLDER, name), tmp_path / "bare.pth")
    state = torch.load(tmp_path / "bare.pth", weights_only=True)
    network = "swiftnet_pyramid_r18" if "pyramid" in name else "swiftnet_r18"
    model = dseg.load_model(network, weights=tmp_path / "bare.pth")
    assert [round(255 * mean, 2) for mean in model.card.mean] == [73.15, 82.9, 72.3]
    state["backbone.img_mean"] = torch.tensor([10.0, 20.0, 30.0]).view(1, 3, 1, 1)
    state["backbone.img_std"] = torch.tensor([40.0, 50.0, 60.0]).view(1, 3, 1, 1)
    file = write(state, tmp_path / "model_best.pt")
    card = dseg.load_model(network, weights=file).card
    assert [round(255 * mean, 3) for mean in card.mean] == [10, 20, 30]
    assert [round(255 * std, 3) for std in card.std] == [40, 50, 60]
    state["backbone.img_scale"] = torch.tensor([255.0]).view(1, 1, 1, 1)  # of images in 0..1
    card = dseg.load_model(network, weights=write(state, file)).card
    assert [round(mean, 3) for mean in card.mean] == [10, 20, 30]


def test_a_narrow_ladder_is_reset_for_other_classes(tmp_path: Path) -> None:
    old = build_model("swiftnet_fastseg", 5, aux=True)
    reports: list[LoadReport] = []
    model = dseg.load_model(
        "swiftnet_fastseg",
        weights=write(old.state_dict(), tmp_path / "five.pth"),
        num_classes=2,  # a third of which is 0 channels
        reset_head=True,
        on_report=reports.append,
    )
    ours, theirs = model.state_dict(), old.state_dict()
    assert set(reports[0].reset) == {k for k in ours if ours[k].shape != theirs[k].shape}
    assert all(torch.equal(ours[key], theirs[key]) for key in ours if key.startswith("backbone."))
    assert model(picture()).main.shape == (1, 2, 64, 96)
