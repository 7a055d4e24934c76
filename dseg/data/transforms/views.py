"""Views: the random augmentation of each sample, drawn from (seed, epoch, index)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Ranges of random augmentation; see the fields of ``Recipe`` with the same names."""

    crop: tuple[int, int]
    short_side: int = 0
    scales: tuple[float, ...] = (1.0,)
    continuous: bool = False
    flip: float = 0.0
    jitter: float = 0.0
    rotate: float = 0.0
    blur: float = 0.0


@dataclass(frozen=True, kw_only=True)
class View:
    """The augmentation of one sample.

    Attributes:
        scale: scale factor of the image's height and width.
        top, left: corner of the crop in the scaled image, in pixels; negative with padding.
        flipped: whether the crop is flipped horizontally.
        brightness, contrast, saturation: factors; 1 changes nothing.
        sigma: standard deviation of the blur in pixels of the crop; 0 for none.
        angle: clockwise rotation of the crop about its centre, in degrees.
    """

    scale: float
    top: int
    left: int
    flipped: bool
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    sigma: float = 0.0
    angle: float = 0.0


def make_generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """Return the generator of one sample in one epoch, the same in any process and order."""
    return np.random.default_rng([seed, epoch, index])


def draw_view(
    augmentation: Augmentation, height: int, width: int, generator: np.random.Generator
) -> View:
    """Draw the augmentation of an image of ``height`` x ``width``.

    The position of the crop is uniform within the scaled image; along a side that is shorter than
    the crop, the position of the image is uniform within the crop.
    """
    scale = _draw_scale(augmentation, generator)
    if augmentation.short_side:
        scale *= augmentation.short_side / min(height, width)
    top = _draw_start(height * scale, augmentation.crop[0], generator)
    left = _draw_start(width * scale, augmentation.crop[1], generator)
    flipped = bool(generator.random() < augmentation.flip)
    jitter = generator.uniform(1 - augmentation.jitter, 1 + augmentation.jitter, 3)
    blurred = generator.random() < augmentation.blur
    radius = float(generator.random())
    rotated = generator.random() < 0.5
    angle = float(generator.uniform(-augmentation.rotate, augmentation.rotate))
    return View(
        scale=scale,
        top=top,
        left=left,
        flipped=flipped,
        brightness=float(jitter[0]),
        contrast=float(jitter[1]),
        saturation=float(jitter[2]),
        sigma=radius if blurred else 0.0,
        angle=angle if rotated else 0.0,
    )


def _draw_scale(augmentation: Augmentation, generator: np.random.Generator) -> float:
    if augmentation.continuous:
        return float(generator.uniform(min(augmentation.scales), max(augmentation.scales)))
    return augmentation.scales[int(generator.integers(len(augmentation.scales)))]


def _draw_start(scaled: float, crop: int, generator: np.random.Generator) -> int:
    spare = round(scaled) - crop
    return int(generator.integers(min(spare, 0), max(spare, 0) + 1))
