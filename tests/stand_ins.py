"""Small networks and images for the tests of the predictor, and reference formulas."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from dseg.images import Pixels
from dseg.labels import unnamed_label_space
from dseg.models import ModelCard, SegModel
from dseg.predict import Prediction, Predictor, Protocol

MEAN, STD = (0.290101, 0.328081, 0.286964), (0.182954, 0.186566, 0.184475)


def draw(height: int, width: int, seed: int = 0) -> Pixels:
    """Return a smooth random image."""
    small = np.random.default_rng(seed).integers(0, 256, (7, 11, 3), dtype=np.uint8)
    return np.array(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


class Sizes(list[tuple[int, int]]):
    """A list that a network shares with its copies."""

    def __deepcopy__(self, memo: object) -> Sizes:
        return self


class StandIn(SegModel):
    """Three classes whose scores are a strided convolution of the image, upsampled fourfold.

    Attributes:
        sizes: (height, width) of every input of this network or a copy of it.
    """

    def __init__(self, classes: int = 3, stride: int = 4):
        super().__init__()
        torch.manual_seed(5)
        self.conv = nn.Conv2d(3, classes, stride, stride=stride)
        self.sizes = Sizes()
        space = unnamed_label_space(classes)
        self.card = ModelCard(network="stand-in", kwargs={}, label_space=space, mean=MEAN, std=STD)

    def logits(self, image: Tensor) -> list[Tensor]:
        self.sizes.append((image.shape[2], image.shape[3]))
        return [4 * self.conv(image)]


class Constant(StandIn):
    """Returns the score k / 2 for class k everywhere."""

    def logits(self, image: Tensor) -> list[Tensor]:
        self.sizes.append((image.shape[2], image.shape[3]))
        scores = torch.arange(3.0).view(1, 3, 1, 1) / 2
        return [scores.expand(1, 3, *image.shape[-2:]).clone()]


class Hungry(StandIn):
    """Runs out of memory above ``most`` pixels."""

    def __init__(self, most: int, fault: Callable[[], Exception]):
        super().__init__()
        self.most, self.fault = most, fault

    def logits(self, image: Tensor) -> list[Tensor]:
        scores = super().logits(image)
        if image.shape[2] * image.shape[3] > self.most:
            raise self.fault()
        return scores


def predictor(model: SegModel, **protocol: object) -> Predictor:
    return Predictor(model, protocol=Protocol(**protocol), device="cpu")


def normalise(image: Pixels) -> Tensor:
    scaled = torch.from_numpy(image.astype(np.float64) / 255)
    view = (scaled - torch.tensor(MEAN).double()) / torch.tensor(STD).double()
    return view.permute(2, 0, 1)[None].float()


def resize(scores: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(scores, (height, width), mode="bilinear", align_corners=True)


def assert_same_labels(train_ids: Pixels | Prediction, scores: Tensor) -> None:
    """Compare labels wherever the second best class is not within rounding of the best."""
    best = scores.topk(2, dim=0).values
    clear = (best[0] - best[1] > 1e-4).numpy()
    assert clear.mean() > 0.99
    assert np.array_equal(np.asarray(train_ids)[clear], scores.argmax(0).numpy()[clear])
