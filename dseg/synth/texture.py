"""Textures with perspective: noise at four scales, joints of slabs and bricks, and a shadow.

The position of each pixel on its surface is computed from the camera, so that textures are in
perspective.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dseg.images import Pixels
from dseg.synth.camera import NEAR, Camera, Floats

Whole = NDArray[np.integer[Any]]
TILE = 512  # side of the noise tile in texels
SHADE = (0.52, 0.55, 0.62)  # factors of red, green and blue in the shadow
CELLS = (0.004, 0.02, 0.09, 0.5)  # metres per texel at the four scales


class Surface(NamedTuple):
    """Plane of some pixels in the world.

    Attributes:
        kind: ``flat`` for the ground, ``along`` for planes along the street, ``front`` for planes
            that face the camera.
        start: Distance in metres for ``front``; metres to the right at z = 0 for ``along``.
        slope: Metres to the right per metre ahead for ``along``.
        texture: Key of ``TEXTURES``.
    """

    kind: str
    start: float
    slope: float
    texture: str


class Texture(NamedTuple):
    """Appearance of a material; strengths are fractions of the brightness.

    Attributes:
        noise: Strength of the noise at the four scales of ``CELLS``.
        block: Width and height of a slab or brick in metres, 0 for none.
        spread: Strength of the difference between blocks.
        joint: Darkening of the joints.
        hue: Strength of the shift from blue to red by the noise of the third scale.
        rise: Brightening per metre of height.
    """

    noise: tuple[float, float, float, float]
    block: tuple[float, float] = (0.0, 0.0)
    spread: float = 0.0
    joint: float = 0.0
    hue: float = 0.0
    rise: float = 0.0


TEXTURES: dict[str, Texture] = {
    "": Texture((0, 0, 0, 0)),
    "asphalt": Texture((0.08, 0.035, 0.025, 0.04), hue=0.01),
    "cobbles": Texture((0.06, 0.04, 0.03, 0.04), (0.16, 0.14), 0.09, 0.24, 0.015),
    "slabs": Texture((0.05, 0.03, 0.04, 0.04), (0.6, 0.45), 0.07, 0.2, 0.015),
    "bricks": Texture((0.04, 0.03, 0.03, 0.05), (0.26, 0.085), 0.09, -0.14, 0.02),
    "stones": Texture((0.05, 0.07, 0.06, 0.05), (0.7, 0.4), 0.13, 0.25, 0.03),
    "plaster": Texture((0.02, 0.02, 0.03, 0.06), hue=0.015),
    "panels": Texture((0.01, 0.015, 0.02, 0.04), (1.4, 1.1), 0.05, 0.15),
    "tiles": Texture((0.04, 0.05, 0.06, 0.05), (0.3, 0.22), 0.12, 0.2, 0.03),
    "boards": Texture((0.05, 0.06, 0.04, 0.04), (0.18, 9.0), 0.12, 0.3, 0.03),
    "grass": Texture((0.16, 0.12, 0.1, 0.12), hue=0.1),
    "gravel": Texture((0.14, 0.1, 0.08, 0.06), hue=0.03),
    "leaves": Texture((0.12, 0.17, 0.17, 0.1), hue=0.045),
    "bark": Texture((0.1, 0.14, 0.08, 0.0), hue=0.02),
    "far": Texture((0, 0, 0, 0.1), hue=0.02),
    "cloth": Texture((0.03, 0.06, 0.12, 0.0), hue=0.03, rise=0.05),
    "skin": Texture((0.02, 0.03, 0.05, 0.0), hue=0.02),
    "metal": Texture((0.02, 0.03, 0.06, 0.05)),
    "paint": Texture((0.01, 0.015, 0.05, 0.07), rise=0.16),
    "board": Texture((0.01, 0.02, 0.05, 0.06), rise=0.03),
    "glass": Texture((0.0, 0.02, 0.2, 0.2), hue=0.03, rise=0.05),
}


NAMES = tuple(TEXTURES)


SURFACE_KINDS = ("front", "along", "flat")


def add_texture(
    pixels: Pixels,
    numbers: Whole,
    surfaces: list[Surface],
    camera: Camera,
    shadow: float,
    grain: np.random.Generator,
) -> None:
    """Multiply an image by the textures of its surfaces, in place.

    Args:
        pixels: Image, (H, W, 3) uint8.
        numbers: Surface map, (H, W): 0 without texture, otherwise the index in ``surfaces`` plus 1.
        surfaces: Surfaces of the map.
        camera: Camera of the scene.
        shadow: See ``Daylight.shadow``.
        grain: Random generator for the offsets of the noise.
    """
    spots = np.flatnonzero(numbers)
    if not spots.size:
        return
    table = [Surface("front", 1.0, 0.0, ""), *surfaces]
    number = numbers.ravel()[spots]
    place = _places(spots, number, table, camera)
    look = np.array([NAMES.index(s.texture) for s in table], np.intp)[number]
    factor, hue = _factor(place, look, grain)
    flat = pixels.reshape(-1, 3)
    tint = np.stack((factor * (1 + hue), factor, factor * (1 - hue)), axis=1)
    if shadow:
        ground = np.array([s.kind == "flat" for s in table])[number]
        tint[_shaded(place, ground, shadow, grain)] *= np.array(SHADE, np.float32)
    flat[spots] = np.clip(flat[spots] * tint + 0.5, 0, 255).astype(np.uint8)


class SurfacePlaces(NamedTuple):
    """Positions of pixels on their surfaces, each (N,) float32.

    Attributes:
        p: First coordinate in metres: ahead on planes along the street, otherwise to the right.
        q: Second coordinate in metres: ahead on the ground, otherwise up.
        size: Metres covered by one pixel.
    """

    p: Floats
    q: Floats
    size: Floats


def _places(spots: Whole, number: Whole, table: list[Surface], camera: Camera) -> SurfacePlaces:
    kind = np.array([SURFACE_KINDS.index(s.kind) for s in table], np.uint8)[number]
    start = np.array([s.start for s in table], np.float32)[number]
    slope = np.array([s.slope for s in table], np.float32)[number]
    row, column = np.divmod(spots.astype(np.int32), np.int32(camera.width))
    right = (column.astype(np.float32) - np.float32(camera.center[0])) / np.float32(camera.focal)
    down = (row.astype(np.float32) - np.float32(camera.center[1])) / np.float32(camera.focal)
    flat, along = kind == 2, kind == 1
    eye = np.float32(camera.eye)
    z = np.where(flat, eye, start) / np.where(
        flat, np.maximum(down, np.float32(1e-3)), np.where(along, _away_from_0(right - slope), 1)
    )
    z = np.clip(z, np.float32(NEAR), np.float32(400))
    x = right * z + np.float32(camera.aside) - np.float32(camera.bend) * z * z
    size = z / np.float32(camera.focal)
    return SurfacePlaces(
        np.where(along, z, x), np.where(flat, z, eye - down * z), np.where(flat, size * 3, size)
    )


def _away_from_0(values: Floats) -> Floats:
    small = np.abs(values) < np.float32(1e-4)
    return np.where(small, np.float32(1e-4), values)


def _factor(place: SurfacePlaces, look: Whole, grain: np.random.Generator) -> tuple[Floats, Floats]:
    """Return a brightness factor for each position, about 1, and a shift from blue to red."""
    tile, shifts = _tile(), grain.integers(0, TILE, (5, 2))
    factor = np.ones_like(place.p)
    hue = np.zeros_like(place.p)
    hues = np.array([TEXTURES[name].hue for name in NAMES], np.float32)
    for scale, cell in enumerate(CELLS):
        strength = np.array([TEXTURES[name].noise[scale] for name in NAMES], np.float32)[look]
        step = np.float32(1 / cell)
        i = (place.p * step).astype(np.int32) + np.int32(shifts[scale, 0])
        j = (place.q * step).astype(np.int32) + np.int32(shifts[scale, 1])
        noise = tile.take((j % TILE) * TILE + i % TILE)
        # fade out the noise, which has features of 8 texels, where pixels are larger than these
        noise *= np.minimum(np.float32(8 * cell) / place.size, 1)
        factor += strength * noise
        if scale == 2:
            hue = hues[look] * noise
    _add_blocks(factor, place, look, shifts[4])
    rise = np.array([TEXTURES[name].rise for name in NAMES], np.float32)[look]
    return factor + rise * (np.clip(place.q, 0, 4) - 1), hue


def _add_blocks(factor: Floats, place: SurfacePlaces, look: Whole, shift: Whole) -> None:
    """Vary the brightness of slabs and bricks, and darken their joints, in place."""
    spots = np.flatnonzero(np.array([TEXTURES[name].block[0] > 0 for name in NAMES])[look])
    rows = np.array([(*t.block, t.spread, t.joint) for t in TEXTURES.values()], np.float32)
    wide, high, spread, joint = rows[look[spots]].T
    p, q, size = (values[spots] for values in place)
    down = q / high
    line = np.floor(down)
    right = p / wide + line * np.float32(0.5)
    column = np.floor(right)
    i, j = column.astype(np.int32) * 31 + int(shift[0]), line.astype(np.int32) * 17 + int(shift[1])
    value = _tile().take((j % TILE) * TILE + i % TILE)
    visible = np.minimum(high * np.float32(0.5) / size, 1)
    edge = np.maximum(np.float32(0.012), size * np.float32(0.6))
    in_joint = ((right - column) * wide < edge) | ((down - line) * high < edge)
    factor[spots] += visible * (spread * value - joint * in_joint)


def _shaded(
    place: SurfacePlaces, ground: NDArray[np.bool_], shadow: float, grain: np.random.Generator
) -> NDArray[np.bool_]:
    """Return which positions are on the ground in the shadow of a row of houses."""
    reach = (grain.random(64, np.float32) - np.float32(0.5)) * np.float32(4)
    edge = np.float32(shadow) + reach.take((place.q * np.float32(0.09)).astype(np.int32) & 63)
    inside = place.p < edge if shadow > 0 else place.p > edge
    shaded: NDArray[np.bool_] = ground & inside
    return shaded


@cache
def _tile() -> Floats:
    """Return seamless noise of mean 0 and standard deviation 1, (TILE * TILE,) float32."""
    rng = np.random.default_rng(20)
    total = np.zeros((TILE, TILE), np.float32)
    for coarse, weight in ((1, 0.35), (2, 0.5), (4, 0.8), (8, 1.0), (32, 0.5)):
        side, pad = TILE // coarse, 4
        small = np.pad(rng.random((side, side), np.float32) - np.float32(0.5), pad, "wrap")
        wide = (side + 2 * pad) * coarse
        smooth = Image.fromarray(small).resize((wide, wide), Image.Resampling.BICUBIC)
        part = np.asarray(smooth)[pad * coarse :, pad * coarse :][:TILE, :TILE]
        total += np.float32(weight) * part
    total -= total.mean()
    tile: Floats = (total / total.std()).ravel()
    return tile
