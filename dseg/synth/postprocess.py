"""Post-process a drawn scene: wet road, bonnet, lens and sensor."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from dseg.images import Ids, Pixels
from dseg.labels import Color
from dseg.synth.camera import LABEL_IDS, Floats
from dseg.synth.canvas import Scene

FLAT_IDS = (LABEL_IDS["road"], LABEL_IDS["sidewalk"], LABEL_IDS["rail track"])


@dataclass(frozen=True, kw_only=True)
class Sensor:
    """Properties of the camera's lens and sensor.

    Attributes:
        gains: Gains of the red, green and blue channel.
        contrast: Contrast factor relative to middle grey.
        gamma: Gamma value; values above 1 brighten dark areas.
        color: Saturation factor, 0 for grey and 1 for the drawn colours.
        blur: Blur radius in pixels for an image of 512 rows.
        vignette: Fraction of the brightness that is lost in the corners.
        noise: Standard deviation of the noise in grey levels.
    """

    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)
    contrast: float = 1.0
    gamma: float = 1.0
    color: float = 1.0
    blur: float = 0.0
    vignette: float = 0.0
    noise: float = 0.0


def draw_hood(scene: Scene, color: Color = (38, 40, 46), rise: float = 66 / 1024) -> None:
    """Draw the bonnet of the car that carries the camera.

    Args:
        rise: Height of the bonnet as a fraction of the image's height.
    """
    wide, low = scene.size
    arc = []
    for step in range(41):
        t = step / 20 - 1
        v = low - rise * low * math.sqrt(1 - t * t * 0.98)
        arc.append((wide / 2 + t * wide * 0.52, v))
    scene.polygon([*arc, (wide, low), (0, low)], scene.tone(color, 0), LABEL_IDS["ego"])
    edge = (color[0] + 66, color[1] + 70, color[2] + 74)
    scene.draw.line(arc, scene.tone(edge, 0), max(1, round(5 * low / 1024)))


def mark_border(scene: Scene, wide: int) -> None:
    """Label ``wide`` pixel columns at the left and right edge as out of the region of interest."""
    scale, (right, low) = scene.camera.scale, scene.size
    for left in (0, right - wide * scale):
        box = (left, 0, left + wide * scale - 1, low)
        scene.mark.rectangle(box, LABEL_IDS["out of roi"])


def add_reflections(pixels: Pixels, ids: Ids, horizon: float, strength: float) -> None:
    """Blend a reflection of the upper image into the wet ground, in place.

    Args:
        pixels: Image, (H, W, 3) uint8.
        ids: Label ids, (H, W).
        horizon: Row of the horizon.
        strength: Weight of the reflection, 0 to 1.
    """
    height, top = pixels.shape[0], max(1, min(pixels.shape[0] - 1, round(horizon)))
    rows = np.clip(2 * top - np.arange(top, height), 0, height - 1)
    reflection = Image.fromarray(pixels[rows]).filter(ImageFilter.GaussianBlur(height / 90))
    ground = pixels[top:]
    wet = np.isin(ids[top:], FLAT_IDS)[..., None] * np.float32(strength)
    ground[...] = (ground * (np.float32(1) - wet) + np.asarray(reflection) * wet).astype(np.uint8)


def develop(pixels: Pixels, sensor: Sensor, grain: np.random.Generator) -> Pixels:
    """Apply the lens and sensor to an image, (H, W, 3) uint8."""
    image = Image.fromarray(pixels)
    blur = sensor.blur * pixels.shape[0] / 512
    if blur > 0.15:
        image = image.filter(ImageFilter.GaussianBlur(blur))
    values = np.asarray(image, np.float32)
    if sensor.color != 1:
        grey = values.mean(axis=2, keepdims=True)
        values = grey + (values - grey) * np.float32(sensor.color)
    if sensor.vignette:
        values = values * _vignette(pixels.shape[0], pixels.shape[1], sensor.vignette)
    if sensor.noise:
        values = values + _noise(values.shape, sensor.noise, grain)
    levels = np.clip(values + np.float32(0.5), 0, 255).astype(np.uint8)
    return np.stack(
        [_curve(gain, sensor).take(levels[..., c]) for c, gain in enumerate(sensor.gains)], axis=2
    )


def _vignette(height: int, width: int, strength: float) -> Floats:
    v = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    u = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    light: Floats = np.float32(1) - np.float32(strength / 2) * (u * u + v * v)
    return light[..., None]


def _noise(shape: tuple[int, ...], deviation: float, grain: np.random.Generator) -> Floats:
    """Return noise with a part common to the channels and an equally strong part per channel."""
    common = grain.integers(-128, 128, (*shape[:2], 1), np.int8).astype(np.float32)
    single = grain.integers(-128, 128, shape, np.int8).astype(np.float32)
    noise: Floats = (common + single) * np.float32(deviation / 104)
    return noise


def _curve(gain: float, sensor: Sensor) -> Pixels:
    """Return the lookup table of one channel, (256,) uint8."""
    bright = [min(1.0, level * gain / 255) ** (1 / sensor.gamma) for level in range(256)]
    return np.array(
        [min(255, max(0, round(255 * (0.5 + (b - 0.5) * sensor.contrast)))) for b in bright],
        np.uint8,
    )
