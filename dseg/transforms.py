"""Augmentation: random scale, crop, mirror, colours and blur as one affine resample.

What is done to a sample is drawn first, as a ``View``, from a random generator that depends on
nothing but (seed, epoch, index); then it is applied, on any device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2.functional import gaussian_blur

from dseg.labels import IGNORE

LUMA = (0.299, 0.587, 0.114)  # Rec. 601


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What may happen to a sample; see the fields of the same names of ``Recipe``."""

    crop: tuple[int, int]
    short_side: int = 0
    scales: tuple[float, ...] = (1.0,)
    continuous: bool = False
    mirror: float = 0.0
    jitter: float = 0.0
    rotate: float = 0.0
    blur: float = 0.0


@dataclass(frozen=True, kw_only=True)
class View:
    """What happens to one sample.

    Attributes:
        scale: of both sides.
        top, left: the crop's corner in the scaled image, in pixels; negative where it is padded.
        mirrored: left and right are swapped.
        brightness, contrast, saturation: factors; 1 changes nothing.
        sigma: of the blur, in pixels of the crop; 0 for none.
        angle: degrees that the crop is turned clockwise about its centre.
    """

    scale: float
    top: int
    left: int
    mirrored: bool
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    sigma: float = 0.0
    angle: float = 0.0


def make_generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """Return the generator of one sample in one epoch: the same in any process, in any order."""
    return np.random.default_rng([seed, epoch, index])


def draw_view(
    augmentation: Augmentation, height: int, width: int, generator: np.random.Generator
) -> View:
    """Draw what happens to an image of ``height`` x ``width``.

    The crop lies anywhere within the scaled image; along a side that is shorter than the crop,
    the image lies anywhere within the crop.
    """
    scale = _draw_scale(augmentation, generator)
    if augmentation.short_side:
        scale *= augmentation.short_side / min(height, width)
    top = _draw_start(height * scale, augmentation.crop[0], generator)
    left = _draw_start(width * scale, augmentation.crop[1], generator)
    mirrored = bool(generator.random() < augmentation.mirror)
    jitter = generator.uniform(1 - augmentation.jitter, 1 + augmentation.jitter, 3)
    blurred = generator.random() < augmentation.blur
    radius = float(generator.random())
    turned = generator.random() < 0.5
    angle = float(generator.uniform(-augmentation.rotate, augmentation.rotate))
    return View(
        scale=scale,
        top=top,
        left=left,
        mirrored=mirrored,
        brightness=float(jitter[0]),
        contrast=float(jitter[1]),
        saturation=float(jitter[2]),
        sigma=radius if blurred else 0.0,
        angle=angle if turned else 0.0,
    )


def _draw_scale(augmentation: Augmentation, generator: np.random.Generator) -> float:
    if augmentation.continuous:
        return float(generator.uniform(min(augmentation.scales), max(augmentation.scales)))
    return augmentation.scales[int(generator.integers(len(augmentation.scales)))]


def _draw_start(scaled: float, crop: int, generator: np.random.Generator) -> int:
    spare = round(scaled) - crop
    return int(generator.integers(min(spare, 0), max(spare, 0) + 1))


def apply_views(
    images: Tensor,
    train_ids: Tensor,
    views: Sequence[View],
    crop: tuple[int, int],
    fill: Sequence[float],
) -> tuple[Tensor, Tensor]:
    """Cut one crop out of each image and its mask: bilinear for images, nearest for masks.

    Args:
        images: (N, 3, H, W) uint8.
        train_ids: (N, H, W) uint8.
        views: one a sample.
        crop: (height, width).
        fill: RGB of 0 to 255 outside of the image; masks hold ``IGNORE`` there.

    Returns:
        (N, 3, h, w) uint8 and (N, h, w) uint8, on the same device.
    """
    height, width = crop
    theta = _make_theta(views, images.shape[-2:], crop).to(images.device)
    grid = F.affine_grid(theta, [len(views), 1, height, width], align_corners=False)
    ground = torch.tensor(fill, dtype=torch.float32, device=images.device).view(3, 1, 1)
    seen = F.grid_sample(images.float() - ground, grid, mode="bilinear", align_corners=False)
    seen = _recolor(seen + ground, views, ground)
    marks = train_ids[:, None].float() + 1  # outside of the image grid_sample gives 0
    marks = F.grid_sample(marks, grid, mode="nearest", align_corners=False)[:, 0]
    ids = torch.where(marks == 0, float(IGNORE), marks - 1)
    return seen.round().clamp(0, 255).byte(), ids.byte()


def _make_theta(views: Sequence[View], size: torch.Size, crop: tuple[int, int]) -> Tensor:
    """Return (N, 2, 3): where each crop's pixels lie in the image, both from -1 to 1."""
    rows = []
    for view in views:
        height, width = view.scale * size[0], view.scale * size[1]
        y0 = (2 * view.top + crop[0]) / height - 1
        x0 = (2 * view.left + crop[1]) / width - 1
        cos, sin = math.cos(math.radians(view.angle)), math.sin(math.radians(view.angle))
        side = -crop[1] if view.mirrored else crop[1]
        rows.append(
            [
                [cos * side / width, sin * crop[0] / width, x0],
                [-sin * side / height, cos * crop[0] / height, y0],
            ]
        )
    return torch.tensor(rows, dtype=torch.float32)


def _recolor(images: Tensor, views: Sequence[View], ground: Tensor) -> Tensor:
    """Apply brightness, contrast, saturation and blur."""
    factors = torch.tensor(
        [[view.brightness, view.contrast, view.saturation] for view in views],
        device=images.device,
    )
    if bool((factors != 1).any()):
        brightness, contrast, saturation = factors.view(-1, 3, 1, 1, 1).unbind(1)
        luma = torch.tensor(LUMA, device=images.device).view(3, 1, 1)
        images = (images * brightness).clamp(0, 255)
        mean = (images * luma).sum(1, keepdim=True).mean((2, 3), keepdim=True)
        images = (mean + (images - mean) * contrast).clamp(0, 255)
        grey = (images * luma).sum(1, keepdim=True)
        images = grey + (images - grey) * saturation
    if any(view.sigma for view in views):
        images = torch.stack(
            [
                gaussian_blur(image, [7, 7], [max(view.sigma, 1e-3)] * 2) if view.sigma else image
                for image, view in zip(images, views, strict=True)
            ]
        )
    return images
