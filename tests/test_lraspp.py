"""LR-ASPP and MobileNetV3-Large are torchvision's: same files, same outputs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision_nets import picture, saved, theirs

import dseg
from dseg.checkpoints import load_backbone
from dseg.errors import DsegError
from dseg.models import SegModel, build_model
from dseg.nn.backbones.mobilenetv3 import MobileNetV3


@pytest.fixture(scope="module")
def reference() -> nn.Module:
    """Return torchvision's network, with norms that no other order of layers would reproduce."""
    torch.manual_seed(2)
    network = torchvision.models.segmentation.lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=21
    )
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            nn.init.uniform_(module.weight, 0.7, 1.2)
            nn.init.normal_(module.bias, 0.2, 0.2)
    with torch.no_grad():
        network(picture(2))
    return network.eval()


@pytest.fixture(scope="module")
def ours(reference: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> SegModel:
    """Return torchvision's file, loaded without naming the network."""
    folder = tmp_path_factory.mktemp("torchvision")
    notes: list[str] = []
    model = dseg.load_model(weights=saved(reference, folder / "lraspp.pth"), on_note=notes.append)
    assert any("lraspp_mobilenetv3_voc" in note for note in notes)
    return model


@pytest.mark.parametrize("size", [(64, 96), (97, 130), (16, 16), (17, 200), (1, 33)], ids=str)
@torch.inference_mode()
def test_logits_are_torchvisions(
    reference: nn.Module, ours: SegModel, size: tuple[int, int]
) -> None:
    image = picture(2, *size)
    padded = ours.pad(image)  # sides below 16, where torchvision's own result would be coarser
    expected: Tensor = reference(padded)["out"][..., : size[0], : size[1]]
    found = ours(image).main
    assert found.shape == (2, 21, *size)
    assert (found - expected).abs().max() < 1e-5 * expected.std()


@torch.inference_mode()
def test_every_weight_of_torchvisions_file_matters(reference: nn.Module, ours: SegModel) -> None:
    assert len(ours.state_dict()) == len(reference.state_dict())
    counts = [sum(p.numel() for p in m.parameters()) for m in (ours, reference)]
    assert counts == [3_221_538, 3_221_538]
    norms = [m for m in ours.modules() if isinstance(m, nn.BatchNorm2d)]
    settings = [(norm.eps, norm.momentum) for norm in norms]
    assert (settings.count((1e-3, 0.01)), settings.count((1e-5, 0.1))) == (46, 1)


def test_torchvisions_file_is_read_as_torchvision_reads_images(ours: SegModel) -> None:
    assert ours.card.network == "lraspp_mobilenetv3_voc"
    assert ours.card.label_space.name == "voc"
    assert ours.card.protocol.short_side == 520
    assert ours.card.mean == (0.485, 0.456, 0.406)
    assert build_model("lraspp_mobilenetv3").card.protocol.short_side is None


def test_maps_of_both_strides_are_read() -> None:
    with torch.device("meta"):
        backbone = MobileNetV3(16)
        low, high = backbone.maps(torch.empty(1, 3, 1024, 2048), ("block4", "last"))
    assert (low.shape, high.shape) == ((1, 40, 128, 256), (1, 960, 64, 128))


@torch.inference_mode()
def test_the_backbone_computes_what_torchvisions_does(tmp_path: Path) -> None:
    network = theirs("mobilenet_v3_large")
    model = build_model("lraspp_mobilenetv3")
    report = load_backbone(model, saved(network, tmp_path / "m.pth"))
    assert (report.backbone, len(report.matched), report.fresh) == ("mobilenet_v3_large", 308, ())
    assert report.dropped[0] == "classifier.0.weight"
    assert len(report.dropped) == 4
    undilated = MobileNetV3().eval()
    undilated.load_state_dict(model.get_submodule("backbone").state_dict())
    expected = network.features(picture())
    assert undilated(picture()).shape == (1, 960, 2, 3)
    assert (undilated(picture()) - expected).abs().max() < 1e-5 * expected.std()


def test_an_output_stride_that_does_not_exist_is_refused() -> None:
    with pytest.raises(DsegError, match="not have output stride 8"):
        MobileNetV3(8)
