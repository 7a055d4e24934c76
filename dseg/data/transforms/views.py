"""Views: what is done to each sample, drawn at random from (seed, epoch, index)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What may happen to a sample; see the fields of the same names of ``Recipe``."""

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
    mirrored = bool(generator.random() < augmentation.flip)
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
