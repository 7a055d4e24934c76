"""``--protocol authors``: crops, flips, fusion and scales as in the authors' evaluation.

A tiny network replaces each registered one, so that large images are cheap. Its logits depend on
the whole tile, so that the labels depend on the position and padding of tiles. The expected mask is
computed from such logits as in the authors' code, tile by tile.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from authors_masks import (
    ADE20K,
    CAFFE,
    COINCHEUNG,
    IMAGENET,
    IMAGENET_255,
    OCNET,
    Mask,
    Network,
    Normalise,
    Size,
    bilinear,
    bisenet,
    by_cubes,
    draw_image,
    fraction_equal,
    infer,
    labels_of,
    shows_classes,
    to_tensor,
    torchvision_preset,
    views_of,
)
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from dseg.images import Pixels
from dseg.models import SegModel, find_class
from dseg.registry import MODELS

CLASSES = 7
SHARP, GLOBAL = 4.0, 8.0  # weights of its local and global features
TileScores = Callable[[Tensor], Tensor]


class TinyNetwork(SegModel):
    """Two strided convolutions to 1/8, and the mean over the whole tile."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=4, padding=1)
        self.context = nn.Conv2d(8, num_classes, 1, bias=False)
        self.classifier = nn.Conv2d(8, num_classes, 3, stride=2, padding=1)

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return the logits at 1/8."""
        x = self.stem(image).tanh()
        return [SHARP * self.classifier(x) + GLOBAL * self.context(x.mean((2, 3), keepdim=True))]


def make_tiny(read: Normalise, image: Pixels) -> TinyNetwork:
    """Return a stand-in whose classes all occur in the mask of an image."""
    torch.manual_seed(0)
    network = TinyNetwork(CLASSES).eval()
    view = read(image)
    with torch.no_grad():
        for weight in network.parameters():
            weight.normal_(std=weight[0].numel() ** -0.5)
        network.stem.weight /= view.std()
        network.classifier.bias -= network.logits(view)[0].mean((0, 2, 3)) / SHARP
    return network


def starts(length: int, crop: int, stride: int) -> list[int]:
    """Return where crops of a side start; the last may end beyond it."""
    return [stride * k for k in range(math.ceil(max(0, length - crop) / stride) + 1)]


def slide(
    view: Tensor, crop: int, scores_of: TileScores, *, shift: bool = True
) -> tuple[Tensor, Tensor]:
    """Sum the scores of crops that advance by two thirds.

    Args:
        shift: the last crops are shifted so that they end with the view; else they are smaller.

    Returns:
        The sums (1, K, H, W), and how many crops cover each pixel.
    """
    height, width = view.shape[-2:]
    most = (max(0, height - crop), max(0, width - crop)) if shift else (height, width)
    stride = math.ceil(crop * 2 / 3)
    total, counts = torch.zeros(1, CLASSES, height, width), torch.zeros(height, width)
    for down in starts(height, crop, stride):
        for right in starts(width, crop, stride):
            top, left = min(down, most[0]), min(right, most[1])
            place = ..., slice(top, top + crop), slice(left, left + crop)
            total[place] += scores_of(view[place])
            counts[place] += 1
    return total, counts


def upsampled(network: Network, tile: Tensor) -> Tensor:
    """Return the logits of a tile at its own size, as these authors' networks return them."""
    return bilinear(network(tile), tile.shape[-2:], corners=True)


def pad_centrally(view: Tensor, crop: int) -> tuple[Tensor, int, int]:
    """Pad a normalised view with zeros, the mean, on all sides; also return where it begins."""
    down, right = (max(0, crop - side) for side in view.shape[-2:])
    top, left = down // 2, right // 2
    return F.pad(view, (left, right - left, top, down - top)), top, left


def semseg(network: Network, image: Pixels, read: Normalise, *, crop: int, side: int) -> Pixels:
    """Evaluate as PSPNet and PSANet: average the softmax of each crop and of its flip."""
    height, width = image.shape[:2]
    rows, columns = (round(side / max(height, width) * length) for length in (height, width))
    view = read(bilinear(to_tensor(image), (rows, columns), corners=False))
    view, top, left = pad_centrally(view, crop)

    def scores_of(tile: Tensor) -> Tensor:
        flipped = upsampled(network, tile.flip(-1)).softmax(1).flip(-1)
        return (upsampled(network, tile).softmax(1) + flipped) / 2

    total, counts = slide(view, crop, scores_of)
    mean = (total / counts)[..., top : top + rows, left : left + columns]
    return labels_of(bilinear(mean, (height, width), corners=False))


def at_long_side_512(network: Network, image: Pixels, read: Normalise) -> Pixels:
    """Resize the image to that long side; resize its logits back as OpenCV does."""
    size = tuple(round(512 / max(image.shape[:2]) * length) for length in image.shape[:2])
    view = read(bilinear(to_tensor(image), size, corners=False))
    return labels_of(bilinear(upsampled(network, view), image.shape[:2], corners=False))


def danet(network: Network, image: Pixels, read: Normalise) -> Pixels:
    """Average exp(logits + flipped logits) of 768 crops, stride 512, the last padded with black."""
    height, width = image.shape[:2]
    factor = 2048 / max(height, width)
    rows, columns = int(height * factor + 0.5), int(width * factor + 0.5)
    view = bilinear(read(image), (rows, columns), corners=True)
    black = read(torch.zeros(1, 3, 1, 1))

    def padded(tile: Tensor) -> Tensor:
        down, right = (max(0, 768 - side) for side in tile.shape[-2:])
        return F.pad(tile - black, (0, right, 0, down)) + black

    def scores_of(tile: Tensor) -> Tensor:
        h, w = tile.shape[-2:]
        tile = padded(tile)
        both = upsampled(network, tile) + upsampled(network, tile.flip(-1)).flip(-1)
        return both.exp()[..., :h, :w]

    total, counts = slide(padded(view), 768, scores_of, shift=False)
    mean = (total / counts)[..., :rows, :columns]
    return labels_of(bilinear(mean, (height, width), corners=True))


def zero_padded(network: Network, image: Pixels, read: Normalise, *, crop: int) -> Pixels:
    """Evaluate as CCNet, GALD-Net, DGCNet: average logits; pad small images right and below."""
    height, width = image.shape[:2]
    view = F.pad(read(image), (0, max(0, crop - width), 0, max(0, crop - height)))
    total, counts = slide(view, crop, partial(upsampled, network))
    return labels_of((total / counts)[..., :height, :width])


def decouple(
    network: Network, image: Pixels, read: Normalise, scales: tuple[float, ...] = (1.0,)
) -> Pixels:
    """Evaluate as DeepLabV3+ and GFF: flip whole images; crops shrink to them, grow with scales."""
    height, width = image.shape[:2]
    total = torch.zeros(1, CLASSES, height, width)
    for scale in scales:
        sides = int(width * scale), int(height * scale)
        view = read(np.array(Image.fromarray(image).resize(sides, Image.Resampling.BILINEAR)))
        crop = int(832 * max(1.0, scale))
        for flipped in (False, True):
            scores, counts = slide(
                view.flip(-1) if flipped else view, crop, partial(upsampled, network)
            )
            scores = bilinear(scores / counts, (height, width), corners=False)
            total += scores.flip(-1) if flipped else scores
    return labels_of(total)


def dfn(
    network: Network,
    image: Pixels,
    read: Normalise,
    *,
    crop: int,
    scales: tuple[float, ...] = (1.0,),
) -> Pixels:
    """Evaluate as DFN: sum the softmax of crops; pad images smaller than the crop with the mean.

    An image with only one smaller side is padded with black. At several scales each crop is flipped
    too: log-probabilities are added, then exponentiated.
    """
    size = image.shape[:2]
    total = torch.zeros(1, CLASSES, *size)

    def scores_of(tile: Tensor) -> Tensor:
        scores = upsampled(network, tile).log_softmax(1)
        if len(scales) > 1:
            scores = scores + upsampled(network, tile.flip(-1)).log_softmax(1).flip(-1)
        return scores.exp()

    for scale in scales:
        height, width = (int(side * scale) for side in size)
        zero = torch.zeros(1, 3, 1, 1)
        fill = read(zero) if max(height, width) > crop else zero
        seen = bilinear(read(image), (height, width), corners=False)
        view, top, left = pad_centrally(seen - fill, crop)
        sums, _ = slide(view + fill, crop, scores_of)
        sums = sums[..., top : top + height, left : left + width]
        total += bilinear(sums, size, corners=False)
    return labels_of(total)


def ocnet(network: Network, image: Pixels, read: Normalise, scales: tuple[float, ...]) -> Pixels:
    """Resize the normalised image with align_corners; average logits of all scales and flips."""
    height, width = image.shape[:2]
    total = torch.zeros(1, CLASSES, height, width)
    for scale in scales:
        size = round(height * scale), round(width * scale)
        for flipped in views_of(bilinear(read(image), size, corners=True), len(scales) > 1):
            scores = bilinear(network(flipped[0]), (height, width), corners=True)
            total += scores.flip(-1) if flipped[1] else scores
    return labels_of(total)


LARGE, SMALL, LONG = (900, 1500), (120, 160), (150, 600)
TO_175 = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
PSP, PSA = partial(semseg, crop=713, side=2048), partial(semseg, crop=709, side=2048)
PSP_512, PSA_512 = partial(semseg, crop=473, side=512), partial(semseg, crop=465, side=512)
PLAIN = ("infer",)
SINGLE = ("infer", "--protocol", "authors")
SEVERAL = ("multiscale-infer", "--protocol", "authors")
CASES = [
    ("pspnet_r50", SINGLE, IMAGENET_255, PSP, SMALL),
    ("pspnet_r50", SINGLE, IMAGENET_255, PSP, LONG),
    ("psanet_r50", SINGLE, IMAGENET_255, PSA, SMALL),
    ("pspnet_r50_voc", SINGLE, IMAGENET_255, PSP_512, SMALL),
    ("psanet_r50_ade20k", SINGLE, IMAGENET_255, PSA_512, LARGE),
    ("danet_r50", SINGLE, IMAGENET, danet, SMALL),
    ("danet_r50", SINGLE, IMAGENET, danet, LONG),
    ("ccnet_r50", SINGLE, CAFFE, partial(zero_padded, crop=769), LARGE),
    ("ccnet_r50", SINGLE, CAFFE, partial(zero_padded, crop=769), SMALL),
    ("gald_r50", SINGLE, CAFFE, partial(zero_padded, crop=832), LARGE),
    ("dgcnet_r50", SINGLE, IMAGENET, partial(zero_padded, crop=832), (700, 1500)),
    ("deeplabv3plus_r50", SINGLE, IMAGENET, decouple, LARGE),
    ("gff_wr38", SINGLE, IMAGENET, decouple, (700, 1500)),
    ("deeplabv3plus_r50", SEVERAL, IMAGENET, partial(decouple, scales=(0.5, 1, 2)), (600, 900)),
    ("dfn_r50", SINGLE, IMAGENET, partial(dfn, crop=800), LARGE),
    ("dfn_r50", SINGLE, IMAGENET, partial(dfn, crop=800), SMALL),
    ("dfn_r50", SINGLE, IMAGENET, partial(dfn, crop=800), (600, 1000)),
    ("dfn_r50", SEVERAL, IMAGENET, partial(dfn, crop=800, scales=TO_175), (420, 600)),
    ("dfn_r101_voc", SINGLE, IMAGENET, partial(dfn, crop=512), (600, 700)),
    ("ocnet_base_r50", SINGLE, OCNET, partial(ocnet, scales=(1,)), SMALL),
    ("ocnet_base_r50", SEVERAL, OCNET, partial(ocnet, scales=(0.75, 1, 1.25)), SMALL),
    ("bisenetv1", SINGLE, COINCHEUNG, bisenet, SMALL),
    ("bisenetv1", SEVERAL, COINCHEUNG, partial(bisenet, scales=TO_175), SMALL),
    ("bisenetv2_ade20k", SINGLE, ADE20K, partial(bisenet, short=512), SMALL),
    ("bisenetv2_ade20k", SEVERAL, ADE20K, partial(bisenet, scales=TO_175, short=512), SMALL),
    # properties that these networks require
    ("pspnet_r50_voc", PLAIN, IMAGENET_255, at_long_side_512, SMALL),
    ("deeplabv3_r50_voc", PLAIN, IMAGENET, torchvision_preset, (180, 240)),
    ("deeplabv3_r50_voc", PLAIN, IMAGENET, torchvision_preset, (180, 238)),
    ("lraspp_mobilenetv3_voc", PLAIN, IMAGENET, torchvision_preset, (180, 238)),
    ("refinenet_r50", PLAIN, IMAGENET, by_cubes, SMALL),
    ("efficientvit_b0", PLAIN, IMAGENET, by_cubes, SMALL),
]
NAMES = [f"{name}-{' '.join(words)}-{size}" for name, words, _, _, size in CASES]


@pytest.mark.parametrize(("name", "words", "read", "mask_of", "size"), CASES, ids=NAMES)
def test_the_mask_is_what_the_authors_make_of_such_logits(
    name: str,
    words: tuple[str, ...],
    read: Normalise,
    mask_of: Mask,
    size: Size,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = draw_image(*size)
    network = make_tiny(read, image)
    torch.save(network.state_dict(), tmp_path / "tiny.pth")
    module = ModuleType("tiny_stand_in")
    real = find_class(name)
    resizing = {"align_corners": real.align_corners, "upsampling": real.upsampling}
    module.__dict__["Tiny"] = type("Tiny", (TinyNetwork,), resizing)
    monkeypatch.setitem(sys.modules, "dseg.models.tiny_stand_in", module)
    row = replace(MODELS[name], target="tiny_stand_in:Tiny", kwargs={}, num_classes=CLASSES)
    monkeypatch.setitem(MODELS, name, row)
    with torch.inference_mode():
        expected = mask_of(lambda view: network.logits(view)[0], image, read)
    assert shows_classes(expected)
    command, *options = words
    mask, _ = infer(tmp_path / "tiny.pth", image, "--model", name, *options, command=command)
    assert fraction_equal(mask, expected) >= 0.999


def test_every_protocol_of_the_table_is_compared() -> None:
    compared = {repr(MODELS[name].authors) for name, words, *_ in CASES if words == SINGLE}
    assert [
        n for n, spec in MODELS.items() if spec.authors and repr(spec.authors) not in compared
    ] == []
