"""Torchvision's networks with random weights, and a network on a backbone, for the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torchvision
from checkpoint_files import write
from torch import Tensor, nn

from dseg.labels import unnamed_label_space
from dseg.models import ModelCard, SegModel
from dseg.nn.backbones.resnet import ResNet

LITTLE = "mobilenetdenseaspp"


class OnResNet(SegModel):
    """A network with a ResNet backbone for ``load_backbone``, without a head."""

    def __init__(self, depth: int, output_stride: int = 32):
        super().__init__()
        self.backbone = ResNet(depth, output_stride)
        space = unnamed_label_space(2)
        self.card = ModelCard(
            network="on-resnet", kwargs={}, label_space=space, mean=(0, 0, 0), std=(1, 1, 1)
        )


@torch.no_grad()
def theirs(name: str, **options: Any) -> Any:
    """Build a network of torchvision with random weights and norm statistics of a random image.

    With random statistics its feature maps would hardly depend on the input.
    """
    torch.manual_seed(3)
    network = torchvision.models.get_model(name, weights=None, **options)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            nn.init.uniform_(module.weight, 0.7, 1.2)
            nn.init.normal_(module.bias, 0.2, 0.2)
    network(picture(2))
    return network.eval()


def saved(network: nn.Module, path: Path) -> Path:
    return write(network.state_dict(), path)


def picture(batch: int = 1, height: int = 64, width: int = 96) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1))
